import { pairs } from "./api/caller.ts";
import type { TrackerClient } from "./client.ts";
import type { RemoteRun } from "./deliver.ts";
import { TrackerError } from "./error.ts";
import type { LoggedModelRecord } from "./records.ts";

/*
 * MLflow 3 stores models as separate entities, which are outputs of runs and sources of registered versions. All calls here
 * are idempotent; a server without logged models stores only the run's files.
 */

interface RemoteModel {
  info: { model_id: string; tags?: { key: string; value?: string }[] };
}

/** Metrics per request: MLflow's limit for a batch. */
const maxPoints = 1000;
const clientIdTag = "anneal.client_id";

/** Creates the model at the tracker, as an output of the run. */
export async function createModel(client: TrackerClient, run: RemoteRun, record: LoggedModelRecord): Promise<void> {
  let id = await findModel(client, run, record.model);
  if (id === undefined) {
    const created = await ifSupported(
      client.call<{ model: RemoteModel }>("POST", "logged-models", {
        experiment_id: run.experimentId,
        name: record.name,
        model_type: record.modelType,
        source_run_id: run.id,
        params: pairs(record.params),
        tags: pairs({ ...record.tags, [clientIdTag]: record.model }),
      }),
    );
    id = created?.model.info.model_id;
  }
  if (id === undefined) return;
  run.models.set(record.model, id);
  await client.call("POST", "runs/outputs", { run_id: run.id, models: [{ model_id: id, step: record.step }] });
}

/** Returns the tracker's id of a model; undefined when the tracker has no logged models. */
export async function findModel(client: TrackerClient, run: RemoteRun, model: string): Promise<string | undefined> {
  const cachedId = run.models.get(model);
  if (cachedId !== undefined) return cachedId;
  const response = await ifSupported(
    client.call<{ models?: RemoteModel[] }>("POST", "logged-models/search", {
      experiment_ids: [run.experimentId],
      filter: `source_run_id = '${run.id}'`,
      max_results: 50,
    }),
  );
  const isOurs = ({ info }: RemoteModel) =>
    info.tags?.some(({ key, value }) => key === clientIdTag && value === model) ?? false;
  const id = response?.models?.find(isOurs)?.info.model_id;
  if (id !== undefined) run.models.set(model, id);
  return id;
}

/** Marks a model as complete after its files were sent, and logs the run's latest metrics to it. */
export async function finishModel(client: TrackerClient, run: RemoteRun, model: string): Promise<void> {
  const model_id = await findModel(client, run, model);
  if (model_id === undefined) return;
  const { data } = await client.runs.get(run.id);
  const metrics = (data.metrics ?? [])
    .filter(({ key, value }) => !key.startsWith("system/") && Number.isFinite(value))
    .map((point) => ({ ...point, model_id }));
  for (let i = 0; i < metrics.length; i += maxPoints) {
    await client.call("POST", "runs/log-batch", { run_id: run.id, metrics: metrics.slice(i, i + maxPoints) });
  }
  await client.call("PATCH", `logged-models/${model_id}`, { model_id, status: "LOGGED_MODEL_READY" });
}

/** Returns undefined when the tracker does not support the call. */
async function ifSupported<T>(answer: Promise<T>): Promise<T | undefined> {
  try {
    return await answer;
  } catch (error) {
    const status = error instanceof TrackerError ? error.status : undefined;
    // A tracker with logged models responds to a missing one with another code.
    if (status === 405 || (status === 404 && (error as TrackerError).code !== "RESOURCE_DOES_NOT_EXIST"))
      return undefined;
    throw error;
  }
}
