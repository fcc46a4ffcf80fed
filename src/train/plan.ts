import { mkdir, rm, writeFile } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import type { AdapterConfig } from "../adapters/index.ts";
import type { CausalLM } from "../models/index.ts";
import { type Checkpoint, checkpointFolders, loadCheckpoint, newestCheckpoint } from "./checkpoint.ts";
import { TrainingError } from "./error.ts";
import type { Objective, Prepared } from "./objectives/objective.ts";
import { sft } from "./objectives/sft.ts";
import { changesSince, type ResolvedOptions, resolveOptions, type TrainOptions } from "./options.ts";

/** A training that was checked: nothing has been changed yet. */
export interface Plan {
  objective: Objective<unknown>;
  options: ResolvedOptions;
  data: Prepared<unknown>;
  evalData: Prepared<unknown> | undefined;
  /** Undefined for a folder of the run's own. */
  outputDir: string | undefined;
  checkpoint: Checkpoint | undefined;
  /** How the settings differ from the checkpoint's. */
  changes: readonly string[];
}

/**
 * Check everything that can be checked before anything is changed.
 * @throws TrainingError, DataError or AdapterError saying what is wrong
 */
export async function planTraining(model: CausalLM, given: TrainOptions): Promise<Plan> {
  const objective = (given.objective ?? sft()) as unknown as Objective<unknown>;
  const seed = given.seed ?? 42;
  const prepare = { ...(given.maxLength === undefined ? {} : { maxLength: given.maxLength }), seed };
  const data = objective.prepare(given.trainDataset, model, { ...prepare, packing: given.packing ?? false });
  tellDropped(data);
  if (data.rows.length === 0) throw new TrainingError(`The training data ${data.name} has nothing to learn from.`);
  const evalData = given.evalDataset
    ? objective.prepare(given.evalDataset, model, { ...prepare, maxLength: data.length, packing: false })
    : undefined;
  if (evalData) tellDropped(evalData);
  if (evalData?.rows.length === 0)
    throw new TrainingError(`The evaluation data ${evalData.name} has nothing to measure.`);

  const adapter = given.peftConfig ?? currentAdapter(model);
  const options = resolveOptions(given, {
    objective: objective.name,
    method: adapter?.peftType.toLowerCase() ?? "full",
    quantization: model.quantization,
    length: data.length,
    rows: data.rows.length,
  });
  await checkModel(model, given, options);

  // A run that is done again to compare begins at the first step, and leaves alone what the recorded one saved.
  const again = process.env.ANNEAL_RERUN_OF !== undefined;
  const { resumeFromCheckpoint: resume = false } = given;
  const named = typeof resume === "string" ? resolve(resume) : undefined;
  const asked = given.outputDir ?? (named === undefined ? undefined : dirname(named));
  if (resume && asked === undefined) {
    throw new TrainingError(
      "resumeFromCheckpoint: true needs the outputDir that holds the checkpoints; or name the folder of a checkpoint.",
    );
  }
  const outputDir = asked === undefined || again ? undefined : resolve(asked);
  const checkpoint = again
    ? undefined
    : named !== undefined
      ? await loadCheckpoint(named)
      : resume && outputDir
        ? await newestCheckpoint(outputDir)
        : undefined;
  if (outputDir) await checkOutput(outputDir, resume !== false);
  const changes = checkpoint ? agree(checkpoint, options, data, adapter) : [];
  return { objective, options, data, evalData, outputDir, checkpoint, changes };
}

const currentAdapter = (model: CausalLM): AdapterConfig | undefined =>
  model.activeAdapter === undefined ? undefined : model.adapters.get(model.activeAdapter)?.config;

function tellDropped({ name, dropped, rows }: Prepared<unknown>): void {
  for (const [reason, count] of Object.entries(dropped)) {
    process.stderr.write(`${name}: ${count} rows are left out (${reason}); ${rows.length} rows are used.\n`);
  }
}

async function checkModel(model: CausalLM, given: TrainOptions, options: ResolvedOptions): Promise<void> {
  if (options.method === "full" && model.quantization) {
    throw new TrainingError(
      "Quantised weights cannot be trained: give a peftConfig, or load the model without quantization.",
    );
  }
  if (given.peftConfig && model.activeAdapter !== undefined) {
    const same = JSON.stringify(given.peftConfig.toFile("")) === JSON.stringify(currentAdapter(model)?.toFile(""));
    if (!same) {
      throw new TrainingError(
        `The model uses the adapter ${model.activeAdapter}, which has other settings than peftConfig. Train it further without peftConfig, or take it off by mergeAndUnload() or deleteAdapter().`,
      );
    }
  }
  const { device } = await model.engine();
  if (options.precision === "int8" && device.name !== "cpu") {
    throw new TrainingError(`precision "int8" is for device "cpu"; this model is on ${device.name}.`);
  }
}

/** Find out before the first step whether checkpoints can be written. */
async function checkOutput(outputDir: string, resumes: boolean): Promise<void> {
  const there = await checkpointFolders(outputDir);
  if (there.length > 0 && !resumes) {
    throw new TrainingError(
      `${outputDir} holds checkpoints of another training (${there.at(-1)}). Go on from them by resumeFromCheckpoint: true, or choose another outputDir.`,
    );
  }
  const probe = join(outputDir, `.probe-${process.pid}`);
  try {
    await mkdir(outputDir, { recursive: true });
    await writeFile(probe, "");
    await rm(probe);
  } catch (error) {
    throw new TrainingError(`Checkpoints cannot be written to ${outputDir}: ${(error as Error).message}`);
  }
}

/** A checkpoint goes on with what it was made with; what may change is told. */
function agree(
  { folder, state }: Checkpoint,
  options: ResolvedOptions,
  data: Prepared<unknown>,
  adapter: AdapterConfig | undefined,
): string[] {
  const changes = changesSince(folder, state.options, options);
  if (state.dataDigest !== data.digest) {
    throw new TrainingError(
      `${folder} was trained on other data (digest ${state.dataDigest.slice(0, 12)}, now ${data.digest.slice(0, 12)}).`,
    );
  }
  const [before, now] = [state.adapter, adapter?.toFile("") ?? null].map((one) => JSON.stringify(one));
  if (before !== now) {
    throw new TrainingError(
      `${folder} was trained with the adapter ${before}, now it is ${now}; change it back, or train anew.`,
    );
  }
  if (state.step > options.totalSteps) {
    throw new TrainingError(
      `${folder} is of step ${state.step}, and ${options.totalSteps} steps are asked for: raise numTrainEpochs or maxSteps.`,
    );
  }
  return changes;
}
