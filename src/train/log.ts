import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Device, deviceTags } from "../engine/index.ts";
import { type CausalLM, toConfigFile } from "../models/index.ts";
import type { Run } from "../track/index.ts";
import { snakeCase } from "./names.ts";
import type { Plan } from "./plan.ts";

/** Logs a training run's setup, with all defaults resolved. */
export function logSetup(
  run: Run,
  model: CausalLM,
  { options, data, evalData }: Plan,
  { resumed, device }: { resumed: boolean; device: Device },
): void {
  const { total, trainable } = model.countParameters();
  run.setTags({
    ...deviceTags(device),
    "anneal.total_parameters": String(total),
    "anneal.trainable_parameters": String(trainable),
    "anneal.seeds": JSON.stringify({ seed: options.seed, model: model.seed }),
    ...(model.nameOrPath === undefined ? {} : { "anneal.base_model": model.nameOrPath }),
  });
  // A run's parameters can be written only once.
  if (resumed) return;
  const adapter = model.activeAdapter === undefined ? undefined : model.adapters.get(model.activeAdapter);
  run.logParams({
    ...Object.fromEntries(Object.entries(options).map(([key, value]) => [snakeCase(key), value])),
    ...adapter?.config.settings(),
    train_rows: data.rows.length,
    ...Object.fromEntries(
      Object.entries(toConfigFile(model.config))
        .filter(([, value]) => value !== null)
        .map(([key, value]) => [`model.${key}`, value]),
    ),
    "tokenizer.digest": model.tokenizer.digest(),
  });
  for (const [context, one] of Object.entries({ train: data, eval: evalData })) {
    if (!one) continue;
    const dropped = Object.values(one.dropped).reduce((a, b) => a + b, 0);
    // MLflow's digests have at most 36 characters; the profile has the full one.
    const profile = { ...one.profile, ...(dropped > 0 ? { dropped } : {}), sha256: one.digest };
    run.logDataset({ name: one.name, digest: one.digest.slice(0, 36), context, profile });
  }
}

/**
 * Logs the trained model: an adapter in PEFT's layout, or the whole model in Hugging Face's. A model with an adapter is not
 * merged.
 */
export async function logModel(run: Run, model: CausalLM): Promise<void> {
  const scratch = await mkdtemp(join(tmpdir(), "anneal-model-"));
  try {
    const folder = join(scratch, "model");
    if (model.activeAdapter === undefined) {
      await model.save(folder, { files: { MLmodel: mlmodel(run, "safetensors") } });
    } else {
      await model.saveAdapter(folder, { files: { ...model.tokenizer.files(), MLmodel: mlmodel(run, "peft") } });
    }
    const { total, trainable } = model.countParameters();
    run.logModel(folder, "model", {
      params: { architecture: "phi3", total_parameters: String(total), trainable_parameters: String(trainable) },
    });
  } finally {
    await rm(scratch, { recursive: true, force: true });
  }
}

/** Returns MLflow's description of a model folder: its format and signature. */
function mlmodel(run: Run, format: string): string {
  const column = (name: string) => JSON.stringify([{ type: "string", name, required: true }]);
  return [
    "artifact_path: model",
    "flavors:",
    "  anneal:",
    "    architecture: phi3",
    `    format: ${format}`,
    `run_id: ${run.id}`,
    "signature:",
    `  inputs: '${column("prompt")}'`,
    `  outputs: '${column("text")}'`,
    "",
  ].join("\n");
}
