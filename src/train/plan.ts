import { mkdir, rm, writeFile } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import type { AdapterConfig } from "../adapters/index.ts";
import type { CausalLM } from "../models/index.ts";
import { type Checkpoint, checkpointFolders, loadCheckpoint, newestCheckpoint } from "./checkpoint.ts";
import { TrainingError } from "./error.ts";
import type { Objective, Prepared } from "./objectives/objective.ts";
import { sft } from "./objectives/sft.ts";
import { changesSince, type ResolvedOptions, resolveOptions, type TrainOptions } from "./options.ts";

/** A validated training run. Nothing has been changed yet. */
export interface Plan {
  objective: Objective<unknown>;
  options: ResolvedOptions;
  data: Prepared<unknown>;
  evalData: Prepared<unknown> | undefined;
  /** Undefined for the run's default folder. */
  outputDir: string | undefined;
  checkpoint: Checkpoint | undefined;
  /** Differences between the options and those of the checkpoint. */
  changes: readonly string[];
}

/**
 * Checks everything that can be checked before anything is changed.
 * @throws TrainingError, DataError or AdapterError when a check fails
 */
export async function planTraining(model: CausalLM, trainOptions: TrainOptions): Promise<Plan> {
  const objective = (trainOptions.objective ?? sft()) as unknown as Objective<unknown>;
  const seed = trainOptions.seed ?? 42;
  const prepare = { ...(trainOptions.maxLength === undefined ? {} : { maxLength: trainOptions.maxLength }), seed };
  const data = objective.prepare(trainOptions.trainDataset, model, {
    ...prepare,
    packing: trainOptions.packing ?? false,
  });
  warnDropped(data);
  if (data.rows.length === 0)
    throw new TrainingError(`The training data ${data.name} has no rows with a token to learn.`);
  const evalData = trainOptions.evalDataset
    ? objective.prepare(trainOptions.evalDataset, model, { ...prepare, maxLength: data.length, packing: false })
    : undefined;
  if (evalData) warnDropped(evalData);
  if (evalData?.rows.length === 0)
    throw new TrainingError(`The evaluation data ${evalData.name} has no rows with a token to predict.`);

  const adapter = trainOptions.peftConfig ?? currentAdapter(model);
  const options = resolveOptions(trainOptions, {
    objective: objective.name,
    method: adapter?.peftType.toLowerCase() ?? "full",
    quantization: model.quantization,
    length: data.length,
    rows: data.rows.length,
  });
  await checkModel(model, trainOptions, options);

  // A rerun starts at the first step, and does not touch the recorded run's checkpoints.
  const isRerun = process.env.ANNEAL_RERUN_OF !== undefined;
  const { resumeFromCheckpoint: resume = false } = trainOptions;
  const named = typeof resume === "string" ? resolve(resume) : undefined;
  const requestedDir = trainOptions.outputDir ?? (named === undefined ? undefined : dirname(named));
  if (resume && requestedDir === undefined) {
    throw new TrainingError(
      "resumeFromCheckpoint: true needs the outputDir that holds the checkpoints; or pass the folder of a checkpoint.",
    );
  }
  const outputDir = requestedDir === undefined || isRerun ? undefined : resolve(requestedDir);
  const checkpoint = isRerun
    ? undefined
    : named !== undefined
      ? await loadCheckpoint(named)
      : resume && outputDir
        ? await newestCheckpoint(outputDir)
        : undefined;
  if (outputDir) await checkOutput(outputDir, resume !== false);
  const changes = checkpoint ? checkCheckpoint(checkpoint, options, data, adapter) : [];
  return { objective, options, data, evalData, outputDir, checkpoint, changes };
}

const currentAdapter = (model: CausalLM): AdapterConfig | undefined =>
  model.activeAdapter === undefined ? undefined : model.adapters.get(model.activeAdapter)?.config;

function warnDropped({ name, dropped, rows }: Prepared<unknown>): void {
  for (const [reason, count] of Object.entries(dropped)) {
    process.stderr.write(`${name}: ${count} rows are skipped (${reason}); ${rows.length} rows are used.\n`);
  }
}

async function checkModel(model: CausalLM, trainOptions: TrainOptions, options: ResolvedOptions): Promise<void> {
  if (options.method === "full" && model.quantization) {
    throw new TrainingError(
      "Quantized weights cannot be trained: pass a peftConfig, or load the model without quantization.",
    );
  }
  if (trainOptions.peftConfig && model.activeAdapter !== undefined) {
    const same =
      JSON.stringify(trainOptions.peftConfig.toFile("")) === JSON.stringify(currentAdapter(model)?.toFile(""));
    if (!same) {
      throw new TrainingError(
        `The model's active adapter ${model.activeAdapter} has other settings than peftConfig. Train it further without peftConfig, or remove it with mergeAndUnload() or deleteAdapter().`,
      );
    }
  }
  const { device } = await model.engine();
  if (options.precision === "int8" && device.name !== "cpu") {
    throw new TrainingError(`precision "int8" needs device "cpu"; this model is on ${device.name}.`);
  }
}

/** Checks before the first step that checkpoints can be written. */
async function checkOutput(outputDir: string, resumes: boolean): Promise<void> {
  const existing = await checkpointFolders(outputDir);
  if (existing.length > 0 && !resumes) {
    throw new TrainingError(
      `${outputDir} holds checkpoints of another training run (${existing.at(-1)}). Resume from them with resumeFromCheckpoint: true, or choose another outputDir.`,
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

/** Checks that a checkpoint matches the options, data and adapter. Returns the options that changed. */
function checkCheckpoint(
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
      `${folder} was trained with the adapter ${before}, now it is ${now}; change it back, or start a new run.`,
    );
  }
  if (state.step > options.totalSteps) {
    throw new TrainingError(
      `${folder} is of step ${state.step}, but training ends at step ${options.totalSteps}: raise numTrainEpochs or maxSteps.`,
    );
  }
  return changes;
}
