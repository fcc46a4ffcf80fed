import { TrackerClient, TrackerError, waitForRun } from "../track/index.ts";
import type { LanguageModel } from "./model.ts";
import { ModelError } from "./phi3/config.ts";

/** A model in the registry. */
export interface RegisteredVersion {
  name: string;
  /** Counted from 1 for each name; `(rerun)` when nothing was registered. */
  version: string;
  runId: string;
  /** Page in the tracker. */
  url: string;
}

/**
 * Register the model that its last training logged, as a new version under a name. The tracker then shows its card and
 * can promote it. While a run is done again to compare its numbers, nothing is registered.
 * @param name letters, digits and `-_. `; a new name makes a new registered model
 * @throws ModelError when the model was not trained here; TrackerError when the tracker does not answer
 */
export async function registerModel(
  model: LanguageModel,
  name: string,
  options: { description?: string; tags?: Record<string, string> } = {},
): Promise<RegisteredVersion> {
  const { runId } = model;
  if (runId === undefined) throw new ModelError("This model was not trained in a tracked run; train it first.");
  await waitForRun(runId);
  const client = await TrackerClient.connect();
  const url = `${client.address.uri}/tracker/models/${encodeURIComponent(name)}`;
  const { ANNEAL_RERUN_OF } = process.env;
  if (ANNEAL_RERUN_OF) {
    process.stderr.write(`A rerun registers nothing: ${name} stays as run ${ANNEAL_RERUN_OF} registered it.\n`);
    return { name, version: "(rerun)", runId, url };
  }
  await client.call("POST", "registered-models/create", { name }).catch((error) => {
    if (!(error instanceof TrackerError && error.code === "RESOURCE_ALREADY_EXISTS")) throw error;
  });
  const { run } = await client.call<{ run: { info: { artifact_uri: string } } }>("GET", "runs/get", { run_id: runId });
  const { model_version } = await client.call<{ model_version: { version: string } }>("POST", "model-versions/create", {
    name,
    source: `${run.info.artifact_uri}/model`,
    run_id: runId,
    description: options.description,
    tags: Object.entries(options.tags ?? {}).map(([key, value]) => ({ key, value })),
  });
  return { name, version: model_version.version, runId, url };
}
