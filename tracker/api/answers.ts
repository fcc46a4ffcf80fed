import { type TProperties, Type } from "@sinclair/typebox";

/*
 * The shapes of the tracker's answers, as its API document tells them and its tests check them. What has a title here
 * is a type of its own in the document, and in the client whose types are made from it.
 */

const text = Type.String();
const optional = Type.Optional;
/** Nothing that is not told here may be answered. */
const exact = <P extends TProperties>(title: string, properties: P) =>
  Type.Object(properties, { title, additionalProperties: false });
const time = Type.Number({ description: "Milliseconds since 1970." });
const value = Type.Union([Type.Number(), Type.Literal("NaN"), Type.Literal("Infinity"), Type.Literal("-Infinity")], {
  title: "MetricValue",
  description: "A number; JSON has no other way to write what is not finite.",
});
const lifecycle = Type.Union([Type.Literal("active"), Type.Literal("deleted")]);

export const KeyValue = exact("KeyValue", { key: text, value: text });
const pairs = optional(Type.Array(KeyValue));

export const Experiment = exact("Experiment", {
  experiment_id: text,
  name: text,
  artifact_location: text,
  lifecycle_stage: lifecycle,
  last_update_time: time,
  creation_time: time,
  tags: pairs,
});

export const RunInfo = exact("RunInfo", {
  run_uuid: text,
  run_id: text,
  run_name: text,
  experiment_id: text,
  user_id: text,
  status: Type.Union(["RUNNING", "SCHEDULED", "FINISHED", "FAILED", "KILLED"].map((name) => Type.Literal(name))),
  start_time: time,
  end_time: optional(time),
  artifact_uri: text,
  lifecycle_stage: lifecycle,
});

const point = { key: text, value, timestamp: time, step: Type.Integer() };
export const Metric = exact("Metric", point);
export const RunMetric = exact("RunMetric", { ...point, run_id: text });

const Dataset = exact("Dataset", {
  name: text,
  digest: text,
  source_type: text,
  source: text,
  schema: optional(text),
  profile: optional(text),
});
const DatasetInput = exact("DatasetInput", { tags: pairs, dataset: Dataset });
const ModelInput = exact("ModelInput", { model_id: text });
const ModelOutput = exact("ModelOutput", { model_id: text, step: Type.Integer() });

export const Run = exact("Run", {
  info: RunInfo,
  data: Type.Object(
    { metrics: optional(Type.Array(Metric)), params: pairs, tags: pairs },
    { additionalProperties: false },
  ),
  inputs: Type.Object(
    { dataset_inputs: optional(Type.Array(DatasetInput)), model_inputs: optional(Type.Array(ModelInput)) },
    { additionalProperties: false },
  ),
  outputs: optional(Type.Object({ model_outputs: optional(Type.Array(ModelOutput)) }, { additionalProperties: false })),
});

export const FileInfo = exact("FileInfo", {
  path: text,
  is_dir: Type.Boolean(),
  file_size: optional(Type.Integer({ description: "Bytes." })),
});

export const ModelVersion = exact("ModelVersion", {
  name: text,
  version: text,
  creation_timestamp: time,
  last_updated_timestamp: time,
  current_stage: text,
  source: text,
  status: text,
  user_id: optional(text),
  description: optional(text),
  run_id: optional(text),
  run_link: optional(text),
  model_id: optional(text),
  tags: pairs,
  aliases: optional(Type.Array(text)),
});

const Alias = exact("Alias", { alias: text, version: text });
export const RegisteredModel = exact("RegisteredModel", {
  name: text,
  creation_timestamp: time,
  last_updated_timestamp: time,
  description: optional(text),
  latest_versions: optional(Type.Array(ModelVersion)),
  tags: pairs,
  aliases: optional(Type.Array(Alias)),
});

const LoggedModelMetric = exact("LoggedModelMetric", {
  ...point,
  model_id: text,
  dataset_name: optional(text),
  dataset_digest: optional(text),
  run_id: optional(text),
});
export const LoggedModel = exact("LoggedModel", {
  info: exact("LoggedModelInfo", {
    model_id: text,
    experiment_id: text,
    name: text,
    creation_timestamp_ms: time,
    last_updated_timestamp_ms: time,
    artifact_uri: text,
    status: Type.Union(
      ["LOGGED_MODEL_PENDING", "LOGGED_MODEL_READY", "LOGGED_MODEL_UPLOAD_FAILED"].map((name) => Type.Literal(name)),
    ),
    status_message: optional(text),
    model_type: optional(text),
    source_run_id: optional(text),
    tags: pairs,
  }),
  data: Type.Object(
    { params: pairs, metrics: optional(Type.Array(LoggedModelMetric)) },
    { additionalProperties: false },
  ),
});

export const Webhook = exact("Webhook", {
  id: text,
  webhook_id: text,
  name: text,
  description: optional(text),
  url: text,
  events: Type.Array(Type.Object({ entity: text, action: text }, { additionalProperties: false })),
  status: Type.Union([Type.Literal("ACTIVE"), Type.Literal("DISABLED")]),
  creation_timestamp: time,
  last_updated_timestamp: time,
  last_delivery: optional(
    Type.Object(
      { time, success: Type.Boolean(), message: Type.Union([text, Type.Null()]) },
      { additionalProperties: false },
    ),
  ),
});

/** How every refusal is answered. */
export const ApiError = Type.Object(
  {
    error_code: Type.String({ description: "One of MLflow's codes, such as RESOURCE_DOES_NOT_EXIST." }),
    message: Type.String({ description: "What was wrong, with the value, and what to do." }),
  },
  { title: "ApiError" },
);

/** Every shape with a name, by its name. */
export const named = Object.fromEntries(
  [
    value,
    KeyValue,
    Experiment,
    RunInfo,
    Metric,
    RunMetric,
    Dataset,
    DatasetInput,
    ModelInput,
    ModelOutput,
    Run,
    FileInfo,
    ModelVersion,
    Alias,
    RegisteredModel,
    LoggedModelMetric,
    LoggedModel.properties.info,
    LoggedModel,
    Webhook,
    ApiError,
  ].map((schema) => [schema.title ?? "", schema]),
);
