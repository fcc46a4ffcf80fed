import { pairs } from "./api/caller.ts";
import type { TrackerClient } from "./client.ts";
import type { RemoteRun } from "./deliver.ts";
import { TrackerError } from "./error.ts";
import type { LoggedModelRecord } from "./records.ts";

/*
 * MLflow 3 keeps models as things of their own, which a run makes and a registered version comes from. Every call here
 * may be made twice; a server that knows no logged models has the files with its run, and nothing else.
 */

interface RemoteModel {
  info: { model_id: string; tags?: { key: string; value?: string }[] };
}

/** Metrics in one request, by MLflow's limit for a batch. */
const mostPoints = 1000;
const clientIdTag = "anneal.client_id";

/** Make the model at the tracker, as one of the run's outputs. */
export async function createModel(client: TrackerClient, run: RemoteRun, record: LoggedModelRecord): Promise<void> {
  let id = await findModel(client, run, record.model);
  if (id === undefined) {
    const made = await ifKnown(
      client.call<{ model: RemoteModel }>("POST", "logged-models", {
        experiment_id: run.experimentId,
        name: record.name,
        model_type: record.modelType,
        source_run_id: run.id,
        params: pairs(record.params),
        tags: pairs({ ...record.tags, [clientIdTag]: record.model }),
      }),
    );
    id = made?.model.info.model_id;
  }
  if (id === undefined) return;
  run.models.set(record.model, id);
  await client.call("POST", "runs/outputs", { run_id: run.id, models: [{ model_id: id, step: record.step }] });
}

/** The id that the tracker gave a model; undefined where it knows no models. */
export async function findModel(client: TrackerClient, run: RemoteRun, model: string): Promise<string | undefined> {
  const known = run.models.get(model);
  if (known !== undefined) return known;
  const found = await ifKnown(
    client.call<{ models?: RemoteModel[] }>("POST", "logged-models/search", {
      experiment_ids: [run.experimentId],
      filter: `source_run_id = '${run.id}'`,
      max_results: 50,
    }),
  );
  const isOurs = ({ info }: RemoteModel) =>
    info.tags?.some(({ key, value }) => key === clientIdTag && value === model) ?? false;
  const id = found?.models?.find(isOurs)?.info.model_id;
  if (id !== undefined) run.models.set(model, id);
  return id;
}

/** Its files are there: say so, and what the run has measured of it so far. */
export async function finishModel(client: TrackerClient, run: RemoteRun, model: string): Promise<void> {
  const model_id = await findModel(client, run, model);
  if (model_id === undefined) return;
  const { data } = await client.runs.get(run.id);
  const metrics = (data.metrics ?? [])
    .filter(({ key, value }) => !key.startsWith("system/") && Number.isFinite(value))
    .map((point) => ({ ...point, model_id }));
  for (let i = 0; i < metrics.length; i += mostPoints) {
    await client.call("POST", "runs/log-batch", { run_id: run.id, metrics: metrics.slice(i, i + mostPoints) });
  }
  await client.call("PATCH", `logged-models/${model_id}`, { model_id, status: "LOGGED_MODEL_READY" });
}

/** Undefined where the tracker, which has just answered, does not know such a call. */
async function ifKnown<T>(answer: Promise<T>): Promise<T | undefined> {
  try {
    return await answer;
  } catch (error) {
    const status = error instanceof TrackerError ? error.status : undefined;
    // One that knows models answers a missing one with another code; an older one has no such page at all.
    if (status === 405 || (status === 404 && (error as TrackerError).code !== "RESOURCE_DOES_NOT_EXIST"))
      return undefined;
    throw error;
  }
}
