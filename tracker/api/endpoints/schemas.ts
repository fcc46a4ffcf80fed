import { type Static, type TProperties, type TSchema, Type } from "@sinclair/typebox";
import { RUN_STATUSES, TRACE_STATES, WEBHOOK_STATUSES } from "./fields.ts";

/*
 * The schemas of the tracker's responses. A schema with a title becomes a named type in the OpenAPI document and in the
 * generated client types.
 */

const text = Type.String();
const optional = Type.Optional;
export const orNull = <S extends TSchema>(schema: S) => Type.Union([schema, Type.Null()]);
/** An object with exactly these fields. */
export const object = <P extends TProperties>(properties: P) =>
  Type.Object(properties, { additionalProperties: false });
/** An object with exactly these fields and a title. */
export const named = <P extends TProperties>(title: string, properties: P) =>
  Type.Object(properties, { title, additionalProperties: false });
/** One of some names. */
export const enumOf = <const Names extends readonly string[]>(names: Names) =>
  Type.Unsafe<Names[number]>(Type.Union(names.map((name) => Type.Literal(name))));
export const texts = Type.Record(text, text);
export const time = Type.Number({ description: "Milliseconds since 1970." });

/** `{}`: a response without data. */
export const Done = Type.Unsafe<Record<string, never>>(object({}));

/** A page of search results. An empty list is omitted. */
export const pageOf = <const Name extends string, S extends TSchema>(name: Name, item: S) =>
  Type.Unsafe<{ [K in Name]?: Static<S>[] } & { next_page_token?: string }>(
    object({ [name]: optional(Type.Array(item)), next_page_token: optional(text) }),
  );

export const MetricValue = Type.Union(
  [Type.Number(), Type.Literal("NaN"), Type.Literal("Infinity"), Type.Literal("-Infinity")],
  { title: "MetricValue", description: "A number. JSON cannot represent NaN and infinities, so they are strings." },
);
const lifecycle = enumOf(["active", "deleted"]);

export const KeyValue = named("KeyValue", { key: text, value: text });
const pairs = optional(Type.Array(KeyValue));

export const Experiment = named("Experiment", {
  experiment_id: text,
  name: text,
  artifact_location: text,
  lifecycle_stage: lifecycle,
  last_update_time: time,
  creation_time: time,
  tags: pairs,
});

export const RunInfo = named("RunInfo", {
  run_uuid: text,
  run_id: text,
  run_name: text,
  experiment_id: text,
  user_id: text,
  status: enumOf(RUN_STATUSES),
  start_time: time,
  end_time: optional(time),
  artifact_uri: text,
  lifecycle_stage: lifecycle,
});

const point = { key: text, value: MetricValue, timestamp: time, step: Type.Integer() };
export const Metric = named("Metric", point);
export const RunMetric = named("RunMetric", { ...point, run_id: text });

const Dataset = named("Dataset", {
  name: text,
  digest: text,
  source_type: text,
  source: text,
  schema: optional(text),
  profile: optional(text),
});
export const DatasetInput = named("DatasetInput", { tags: pairs, dataset: Dataset });
const ModelInput = named("ModelInput", { model_id: text });
const ModelOutput = named("ModelOutput", { model_id: text, step: Type.Integer() });

export const Run = named("Run", {
  info: RunInfo,
  data: object({ metrics: optional(Type.Array(Metric)), params: pairs, tags: pairs }),
  inputs: object({
    dataset_inputs: optional(Type.Array(DatasetInput)),
    model_inputs: optional(Type.Array(ModelInput)),
  }),
  outputs: optional(object({ model_outputs: optional(Type.Array(ModelOutput)) })),
});

export const FileInfo = named("FileInfo", {
  path: text,
  is_dir: Type.Boolean(),
  file_size: optional(Type.Integer({ description: "Bytes." })),
});

export const ModelVersion = named("ModelVersion", {
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

const Alias = named("Alias", { alias: text, version: text });
export const RegisteredModel = named("RegisteredModel", {
  name: text,
  creation_timestamp: time,
  last_updated_timestamp: time,
  description: optional(text),
  latest_versions: optional(Type.Array(ModelVersion)),
  tags: pairs,
  aliases: optional(Type.Array(Alias)),
});

const LoggedModelMetric = named("LoggedModelMetric", {
  ...point,
  model_id: text,
  dataset_name: optional(text),
  dataset_digest: optional(text),
  run_id: optional(text),
});
export const LoggedModel = named("LoggedModel", {
  info: named("LoggedModelInfo", {
    model_id: text,
    experiment_id: text,
    name: text,
    creation_timestamp_ms: time,
    last_updated_timestamp_ms: time,
    artifact_uri: text,
    status: enumOf(["LOGGED_MODEL_PENDING", "LOGGED_MODEL_READY", "LOGGED_MODEL_UPLOAD_FAILED"]),
    status_message: optional(text),
    model_type: optional(text),
    source_run_id: optional(text),
    tags: pairs,
  }),
  data: object({ params: pairs, metrics: optional(Type.Array(LoggedModelMetric)) }),
});

export const Webhook = named("Webhook", {
  id: text,
  webhook_id: text,
  name: text,
  description: optional(text),
  url: text,
  events: Type.Array(object({ entity: text, action: text })),
  status: enumOf(WEBHOOK_STATUSES),
  creation_timestamp: time,
  last_updated_timestamp: time,
  last_delivery: optional(object({ time, success: Type.Boolean(), message: orNull(text) })),
});

/** The result of a test request to a webhook. */
export const WebhookResult = object({
  success: Type.Boolean(),
  response_status: optional(Type.Integer()),
  response_body: optional(text),
  error_message: optional(text),
  response_time_ms: Type.Number(),
});

export const DatasetSummary = object({ experiment_id: text, name: text, digest: text, context: orNull(text) });

const OptionalValue = optional(Type.Object({ value: optional(Type.Unknown()) }));
/** An assessment of a trace by a client, which may add other fields. */
export const assessment = {
  assessment_name: optional(text),
  feedback: OptionalValue,
  expectation: OptionalValue,
  rationale: optional(text),
  metadata: optional(Type.Record(text, Type.Unknown())),
  valid: optional(Type.Boolean({ description: "False if another assessment overrides it." })),
  overrides: optional(Type.String({ description: "The id of the assessment that this one replaces." })),
};
export const Assessment = Type.Object(
  { ...assessment, assessment_id: text, trace_id: text },
  { title: "Assessment", description: "Includes any other fields that the client sent." },
);
export const TraceInfo = named("TraceInfo", {
  trace_id: text,
  client_request_id: optional(text),
  trace_location: object({ type: text, mlflow_experiment: object({ experiment_id: text }) }),
  request_time: Type.String({ description: "ISO 8601." }),
  execution_duration: optional(Type.String({ description: "Seconds, such as 1.5s." })),
  state: enumOf([...TRACE_STATES, "STATE_UNSPECIFIED"]),
  request_preview: optional(text),
  response_preview: optional(text),
  trace_metadata: texts,
  tags: texts,
  assessments: optional(Type.Array(Assessment)),
});

export const EvaluationDataset = named("EvaluationDataset", {
  dataset_id: text,
  name: text,
  tags: Type.String({ description: "A JSON object." }),
  schema: optional(text),
  profile: optional(text),
  digest: text,
  created_time: time,
  last_update_time: time,
  created_by: optional(text),
  last_updated_by: optional(text),
  experiment_ids: optional(Type.Array(text)),
});

export const Scorer = named("Scorer", {
  experiment_id: Type.Integer(),
  scorer_name: text,
  scorer_version: Type.Integer(),
  serialized_scorer: text,
  creation_time: time,
  scorer_id: text,
});

/** A trace in version 2 of the API. */
export const TraceInfoV2 = named("TraceInfoV2", {
  request_id: text,
  experiment_id: text,
  timestamp_ms: time,
  execution_time_ms: optional(Type.Number()),
  status: enumOf([...TRACE_STATES, "TRACE_STATUS_UNSPECIFIED"]),
  request_metadata: pairs,
  tags: pairs,
});

const span = {
  trace_id: text,
  span_id: text,
  parent_span_id: optional(text),
  name: text,
  start_time_unix_nano: text,
  end_time_unix_nano: text,
};
const Attribute = named("SpanAttribute", {
  key: text,
  value: Type.Object({}, { description: "OpenTelemetry's AnyValue, such as { string_value }." }),
});
/** A span in OpenTelemetry's format, as MLflow's clients read it. */
export const Span = named("Span", {
  ...span,
  attributes: Type.Array(Attribute),
  events: Type.Array(object({ name: text, time_unix_nano: text, attributes: Type.Array(Attribute) })),
  status: object({ code: text, message: text }),
});
const attributes = Type.Record(text, Type.Unknown());
/** A span with its attributes by name, as the pages read it. */
export const PageSpan = named("PageSpan", {
  ...span,
  attributes,
  events: optional(Type.Array(object({ name: text, time_unix_nano: text, attributes }))),
  status: object({ code: text, message: optional(text) }),
});

/** The body of every error response. */
export const ApiError = Type.Object(
  {
    error_code: Type.String({ description: "One of MLflow's codes, such as RESOURCE_DOES_NOT_EXIST." }),
    message: Type.String({ description: "What was wrong, including the value, and what to do." }),
  },
  { title: "ApiError" },
);

export type KeyValue = Static<typeof KeyValue>;
export type MetricValue = Static<typeof MetricValue>;
export type Experiment = Static<typeof Experiment>;
export type RunInfo = Static<typeof RunInfo>;
export type Metric = Static<typeof Metric>;
export type RunMetric = Static<typeof RunMetric>;
export type DatasetInput = Static<typeof DatasetInput>;
export type Run = Static<typeof Run>;
export type FileInfo = Static<typeof FileInfo>;
export type ModelVersion = Static<typeof ModelVersion>;
export type RegisteredModel = Static<typeof RegisteredModel>;
export type LoggedModel = Static<typeof LoggedModel>;
export type Webhook = Static<typeof Webhook>;
export type Assessment = Static<typeof Assessment>;
export type TraceInfo = Static<typeof TraceInfo>;
export type TraceInfoV2 = Static<typeof TraceInfoV2>;
export type EvaluationDataset = Static<typeof EvaluationDataset>;
export type Scorer = Static<typeof Scorer>;
export type Span = Static<typeof Span>;
export type PageSpan = Static<typeof PageSpan>;
