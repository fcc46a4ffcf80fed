import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { deviceTags } from "../engine/index.ts";
import { type LanguageModel, toConfigFile, writeFolder } from "../models/index.ts";
import type { Run } from "../track/index.ts";
import { changeable, type ResolvedOptions, type TrainOptions } from "./options.ts";

/** `learningRate` as `learning_rate`, the form in which settings are logged. */
export const snakeCase = (name: string) => name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);

/** Log all that a training is set up with: the resolved settings, not only those given. */
export function logSetup(
  run: Run,
  model: LanguageModel,
  given: TrainOptions,
  options: ResolvedOptions,
  rows: number,
  resumed: boolean,
): void {
  const { adapter, engine } = model;
  run.logParams({
    ...Object.fromEntries(
      Object.entries(options)
        // A run's parameters are written once; these may be others when it is resumed.
        .filter(([key]) => !resumed || !changeable.has(key as keyof ResolvedOptions))
        .map(([key, value]) => [snakeCase(key), value]),
    ),
    ...(adapter
      ? {
          lora_r: adapter.r,
          lora_alpha: adapter.loraAlpha,
          lora_dropout: 0,
          target_modules: adapter.targetModules.join(","),
          use_rslora: adapter.useRslora ?? false,
          use_dora: adapter.useDora ?? false,
        }
      : {}),
    train_rows: rows,
    ...Object.fromEntries(
      Object.entries(toConfigFile(model.config))
        .filter(([, value]) => value !== null)
        .map(([key, value]) => [`model.${key}`, value]),
    ),
    "tokenizer.digest": model.tokenizer.digest(),
  });
  const { total, trainable } = model.countParameters();
  run.setTags({
    ...deviceTags(engine.device),
    "anneal.total_parameters": String(total),
    "anneal.trainable_parameters": String(trainable),
    "anneal.seeds": JSON.stringify({ seed: options.seed, model: model.seed }),
  });
  for (const [context, data] of Object.entries({ train: given.trainData, eval: given.evalData })) {
    if (!data) continue;
    const tokens = data.examples.reduce((sum, { inputIds }) => sum + inputIds.length, 0);
    // MLflow keeps 36 characters of a digest; the whole stands in the profile.
    const profile = { rows: data.examples.length, tokens, sha256: data.digest };
    run.logDataset({ name: data.name, digest: data.digest.slice(0, 36), context, profile });
  }
}

/** Log the trained model: whole in Hugging Face's layout, and its adapter in PEFT's. */
export async function logModel(run: Run, model: LanguageModel): Promise<void> {
  const scratch = await mkdtemp(join(tmpdir(), "anneal-model-"));
  try {
    await writeFolder(join(scratch, "model"), { ...(await model.files()), MLmodel: mlmodel(run) });
    const { total, trainable } = model.countParameters();
    run.logModel(join(scratch, "model"), "model", {
      params: { architecture: "phi3", total_parameters: String(total), trainable_parameters: String(trainable) },
    });
    if (model.adapter) {
      await writeFolder(join(scratch, "adapter"), await model.adapterFiles());
      run.logArtifact(join(scratch, "adapter"), "adapter");
    }
  } finally {
    await rm(scratch, { recursive: true, force: true });
  }
}

/** MLflow's description of a model folder: what kind it is, and what goes in and comes out. */
function mlmodel(run: Run): string {
  const column = (name: string) => JSON.stringify([{ type: "string", name, required: true }]);
  return [
    "artifact_path: model",
    "flavors:",
    "  anneal:",
    "    architecture: phi3",
    "    format: safetensors",
    `run_id: ${run.id}`,
    "signature:",
    `  inputs: '${column("prompt")}'`,
    `  outputs: '${column("text")}'`,
    "",
  ].join("\n");
}
