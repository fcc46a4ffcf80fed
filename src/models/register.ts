import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { addToRun, TrackerClient, TrackerError, waitForRun } from "../track/index.ts";
import type { CausalLM } from "./causal-lm.ts";
import { ModelError } from "./error.ts";

/** A registered model version. */
export interface RegisteredVersion {
  name: string;
  /** Starts at 1 for each name; `(rerun)` when nothing was registered. */
  version: string;
  runId: string;
  /** Its page in the tracker. */
  url: string;
}

/**
 * Registers the model that its last training run logged as a new version of a name. The tracker then shows its card and
 * can promote it. Nothing is registered during a rerun.
 * @param name letters, digits and `-_. `; an unused name creates a registered model
 * @param options.merge save and register the whole model with its adapter merged, instead of the adapter alone. Default
 * false
 * @throws ModelError when the model was not trained in a tracked run; TrackerError when the tracker does not respond
 */
export async function registerModel(
  model: CausalLM,
  name: string,
  options: { description?: string; tags?: Record<string, string>; merge?: boolean } = {},
): Promise<RegisteredVersion> {
  const { runId } = model;
  if (runId === undefined) throw new ModelError("This model was not trained in a tracked run; train it first.");
  const merge = (options.merge ?? false) && model.activeAdapter !== undefined;
  const { ANNEAL_RERUN_OF } = process.env;
  if (merge && !ANNEAL_RERUN_OF) await logMerged(model, runId);
  await waitForRun(runId);
  const client = await TrackerClient.connect();
  const url = `${client.address.uri}/tracker/models/${encodeURIComponent(name)}`;
  if (ANNEAL_RERUN_OF) {
    process.stderr.write(`A rerun registers nothing: ${name} remains as registered by run ${ANNEAL_RERUN_OF}.\n`);
    return { name, version: "(rerun)", runId, url };
  }
  await client.models.create(name).catch((error) => {
    if (!(error instanceof TrackerError && error.code === "RESOURCE_ALREADY_EXISTS")) throw error;
  });
  const { info } = await client.runs.get(runId);
  const source = `${info.artifact_uri}/${merge ? "merged" : "model"}`;
  const { description, tags } = options;
  const { version } = await client.models.createVersion(name, source, { runId, description, tags });
  return { name, version, runId, url };
}

/** Saves the model with its adapter merged, and logs it to the run. */
async function logMerged(model: CausalLM, runId: string): Promise<void> {
  const scratch = await mkdtemp(join(tmpdir(), "anneal-merged-"));
  try {
    await model.save(join(scratch, "merged"));
    await addToRun(runId, (run) => run.logModel(join(scratch, "merged"), "merged"));
  } finally {
    await rm(scratch, { recursive: true, force: true });
  }
}
