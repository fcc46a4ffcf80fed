import type {
  DatasetInput,
  Experiment,
  KeyValue,
  LoggedModel,
  Metric,
  ModelInput,
  ModelMetric,
  ModelOutput,
  ModelVersion,
  RegisteredModel,
  Run,
  RunData,
} from "../store/types.ts";
import { inTurn } from "../turn.ts";
import type * as schemas from "./endpoints/schemas.ts";
import { JsonText } from "./json-text.ts";

/*
 * Converts the tracker's types to MLflow's protocol. As in MLflow, empty lists and unset fields are omitted.
 */

/** Converts a number to JSON. NaN and infinities become strings, as in MLflow's protocol. */
export const number = (value: number): schemas.MetricValue =>
  Number.isFinite(value) ? value : Number.isNaN(value) ? "NaN" : value > 0 ? "Infinity" : "-Infinity";

const list = <const Name extends string, T>(name: Name, items: readonly T[]) =>
  (items.length > 0 ? { [name]: items } : {}) as { [K in Name]?: T[] };

const set = <T extends object>(fields: T) =>
  Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== null && value !== undefined)) as {
    [K in keyof T]?: NonNullable<T[K]>;
  };

const pair = ({ key, value }: KeyValue) => ({ key, value });

export const page = <const Name extends string, T>(name: Name, items: readonly T[], next: string | undefined) => ({
  ...list(name, items),
  ...(next === undefined ? {} : { next_page_token: next }),
});

/** Items of a page that are written at once. */
const PIECE = 100;

/** The text of a page that may have many items, which is written in pieces. */
export async function pageText<T>(
  name: string,
  items: readonly T[],
  shape: (item: T) => object,
  next: string | undefined,
): Promise<JsonText> {
  const pieces: string[] = [];
  for (let at = 0; at < items.length; at += PIECE) {
    pieces.push(await inTurn(() => JSON.stringify(items.slice(at, at + PIECE).map(shape)).slice(1, -1)));
  }
  const fields = [
    ...(pieces.length === 0 ? [] : [`"${name}":[${pieces.join(",")}]`]),
    ...(next === undefined ? [] : [`"next_page_token":${JSON.stringify(next)}`]),
  ];
  return new JsonText(`{${fields.join(",")}}`);
}

export const experiment = (it: Experiment): schemas.Experiment => ({
  experiment_id: it.id,
  name: it.name,
  artifact_location: it.artifactLocation,
  lifecycle_stage: it.lifecycle,
  last_update_time: it.updatedAt,
  creation_time: it.createdAt,
  ...list("tags", it.tags.map(pair)),
});

export const runInfo = (it: Run): schemas.RunInfo => ({
  run_uuid: it.id,
  run_id: it.id,
  run_name: it.name,
  experiment_id: it.experimentId,
  user_id: it.userId,
  status: it.status,
  start_time: it.startTime,
  ...set({ end_time: it.endTime }),
  artifact_uri: it.artifactUri,
  lifecycle_stage: it.lifecycle,
});

export const metric = (it: Metric): schemas.Metric => ({
  key: it.key,
  value: number(it.value),
  timestamp: it.timestamp,
  step: it.step,
});

const modelMetric = (it: ModelMetric) => ({
  ...metric(it),
  model_id: it.modelId,
  ...set({ dataset_name: it.datasetName, dataset_digest: it.datasetDigest, run_id: it.runId }),
});

export interface RunInputs {
  datasets: DatasetInput[];
  models: ModelInput[];
  outputs: ModelOutput[];
}

export function run(it: RunData, inputs?: RunInputs): schemas.Run {
  return {
    info: runInfo(it.run),
    data: {
      ...list("metrics", it.metrics.map(metric)),
      ...list("params", it.params.map(pair)),
      ...list("tags", it.tags.map(pair)),
    },
    inputs: {
      ...list("dataset_inputs", (inputs?.datasets ?? []).map(datasetInput)),
      ...list(
        "model_inputs",
        (inputs?.models ?? []).map(({ modelId }) => ({ model_id: modelId })),
      ),
    },
    ...(inputs && inputs.outputs.length > 0
      ? {
          outputs: list(
            "model_outputs",
            inputs.outputs.map(({ modelId, step }) => ({ model_id: modelId, step })),
          ),
        }
      : {}),
  };
}

const datasetInput = ({ dataset, tags }: DatasetInput): schemas.DatasetInput => ({
  ...list("tags", tags.map(pair)),
  dataset: {
    name: dataset.name,
    digest: dataset.digest,
    source_type: dataset.sourceType,
    source: dataset.source,
    ...set({ schema: dataset.schema, profile: dataset.profile }),
  },
});

const LOGGED_MODEL_STATUS = {
  PENDING: "LOGGED_MODEL_PENDING",
  READY: "LOGGED_MODEL_READY",
  UPLOAD_FAILED: "LOGGED_MODEL_UPLOAD_FAILED",
} as const;

export const loggedModel = (it: LoggedModel): schemas.LoggedModel => ({
  info: {
    model_id: it.id,
    experiment_id: it.experimentId,
    name: it.name,
    creation_timestamp_ms: it.createdAt,
    last_updated_timestamp_ms: it.updatedAt,
    artifact_uri: it.artifactUri,
    status: LOGGED_MODEL_STATUS[it.status],
    ...set({ status_message: it.statusMessage, model_type: it.modelType, source_run_id: it.sourceRunId }),
    ...list("tags", it.tags.map(pair)),
  },
  data: {
    ...list("params", it.params.map(pair)),
    ...list("metrics", it.metrics.map(modelMetric)),
  },
});

export const modelVersion = (it: ModelVersion): schemas.ModelVersion => ({
  name: it.name,
  version: String(it.version),
  creation_timestamp: it.createdAt,
  last_updated_timestamp: it.updatedAt,
  current_stage: it.stage,
  source: it.source,
  status: it.status,
  ...set({
    user_id: it.userId,
    description: it.description,
    run_id: it.runId,
    run_link: it.runLink,
    model_id: it.modelId,
  }),
  ...list("tags", it.tags.map(pair)),
  ...list("aliases", it.aliases),
});

export const registeredModel = (it: RegisteredModel, latest: ModelVersion[]): schemas.RegisteredModel => ({
  name: it.name,
  creation_timestamp: it.createdAt,
  last_updated_timestamp: it.updatedAt,
  ...set({ description: it.description }),
  ...list("latest_versions", latest.map(modelVersion)),
  ...list("tags", it.tags.map(pair)),
  ...list(
    "aliases",
    it.aliases.map(({ alias, version }) => ({ alias, version: String(version) })),
  ),
});
