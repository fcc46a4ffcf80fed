/** The tracker's data types. Times are milliseconds since 1970. */

export type Lifecycle = "active" | "deleted";
/** The lifecycle stages that a search includes. */
export type ViewType = "ACTIVE_ONLY" | "DELETED_ONLY" | "ALL";
/** A run went back to a step, and the points after it were taken back. */
export interface Rewind {
  id: string;
  step: number;
  /** Milliseconds since 1970. */
  at: number;
  /** The number of points that were taken back. */
  points: number;
}

export type RunStatus = "RUNNING" | "SCHEDULED" | "FINISHED" | "FAILED" | "KILLED";
export type Stage = "None" | "Staging" | "Production" | "Archived";

export interface KeyValue {
  key: string;
  value: string;
}

export interface Experiment {
  id: string;
  name: string;
  artifactLocation: string;
  lifecycle: Lifecycle;
  createdAt: number;
  updatedAt: number;
  tags: KeyValue[];
}

export interface Run {
  id: string;
  experimentId: string;
  name: string;
  userId: string;
  status: RunStatus;
  startTime: number;
  endTime: number | null;
  artifactUri: string;
  lifecycle: Lifecycle;
}

/** A point of a metric. `value` may be NaN or infinite. */
export interface Metric {
  key: string;
  value: number;
  timestamp: number;
  step: number;
}

/** A point of a metric of a logged model and optionally a data set. */
export interface ModelMetric extends Metric {
  modelId: string;
  datasetName: string | null;
  datasetDigest: string | null;
  runId: string | null;
}

export interface RunMetric extends Metric {
  runId: string;
}

/** A run with its params, its tags and the latest point of each metric. */
export interface RunData {
  run: Run;
  metrics: Metric[];
  params: KeyValue[];
  tags: KeyValue[];
}

export interface Dataset {
  name: string;
  digest: string;
  sourceType: string;
  source: string;
  schema: string | null;
  profile: string | null;
}

export interface DatasetInput {
  dataset: Dataset;
  tags: KeyValue[];
}

export interface ModelInput {
  modelId: string;
}

export interface ModelOutput {
  modelId: string;
  step: number;
}

export type LoggedModelStatus = "PENDING" | "READY" | "UPLOAD_FAILED";

export interface LoggedModel {
  id: string;
  experimentId: string;
  name: string;
  artifactUri: string;
  createdAt: number;
  updatedAt: number;
  status: LoggedModelStatus;
  statusMessage: string | null;
  modelType: string | null;
  sourceRunId: string | null;
  lifecycle: Lifecycle;
  tags: KeyValue[];
  params: KeyValue[];
  metrics: ModelMetric[];
}

export interface Alias {
  alias: string;
  version: number;
}

export interface RegisteredModel {
  name: string;
  description: string | null;
  createdAt: number;
  updatedAt: number;
  tags: KeyValue[];
  aliases: Alias[];
}

export interface ModelVersion {
  name: string;
  version: number;
  createdAt: number;
  updatedAt: number;
  description: string | null;
  userId: string | null;
  stage: Stage;
  source: string;
  runId: string | null;
  runLink: string | null;
  modelId: string | null;
  /** Where its files lie below the artifact root; null if this tracker does not store them. */
  root: string | null;
  /** Where clients find its files, if that is not its source: for a copy of a version whose files are not stored here. */
  location: string | null;
  /** The run of this tracker that made its files; null if unknown. Unlike `runId`, which is only what was claimed. */
  originRun: string | null;
  status: "READY";
  tags: KeyValue[];
  aliases: string[];
}

export type GateOperator = "<" | "<=" | ">" | ">=";

/**
 * A condition for Production on a metric of a version's source run, compared with a fixed bound or with the same metric of
 * the version in Production.
 */
export interface Gate {
  metric: string;
  op: GateOperator;
  bound?: number;
  versus?: "production";
}

/** The result of a gate for one version. */
export interface GateResult extends Gate {
  /** The version's value; null if its source run does not have the metric. */
  value: number | null;
  /** The value that it was compared with; null if there was none. */
  against: number | null;
  passed: boolean;
  why: string;
}

/** A change of a version's stage. `to` is "Deleted" if the version was deleted. */
export interface StageChange {
  version: number;
  from: Stage;
  to: Stage | "Deleted";
  who: string;
  at: number;
  comment: string | null;
  gates: GateResult[];
}

/** A statement of a model card, written by a user. */
export interface CardStatement {
  field: string;
  value: string;
  who: string;
  at: number;
}

export interface ArtifactRecord {
  path: string;
  size: number;
  sha256: string;
  createdAt: number;
}

/** The rights for an experiment, a model or the tracker. Each role includes those before it. */
export type Role = "none" | "viewer" | "editor" | "admin";
/** The maximum rights of a token, whatever its user's role. */
export type Scope = "read" | "write" | "admin";
export type GrantKind = "experiment" | "model";

export interface User {
  name: string;
  /** The role for everything without a grant. */
  role: Role;
  disabled: boolean;
  /** The issuer and subject at the identity provider; null for a user who signs in with tokens. */
  subject: string | null;
  createdAt: number;
}

export interface Token {
  id: string;
  user: string;
  label: string;
  scope: Scope;
  /** Whether the token is a browser session, created by signing in. */
  session: boolean;
  createdAt: number;
  expiresAt: number | null;
  lastUsedAt: number | null;
}

/** A user's role for one experiment (by id) or registered model (by name), which overrides the user's own role. */
export interface Grant {
  user: string;
  kind: GrantKind;
  target: string;
  role: Role;
}

/** An entry of the audit log: a request to change data, successful or not. */
export interface AuditEntry {
  id: number;
  at: number;
  who: string;
  /** The request, such as `POST /api/2.0/mlflow/registered-models/create`. */
  action: string;
  /** The fields of the request: ids, names, stages. */
  target: string;
  /** The HTTP status of the response. */
  status: number;
}

/** The events of webhooks. The last one is Anneal's, the others are MLflow's. */
export type WebhookEvent =
  | "registered_model.created"
  | "model_version.created"
  | "model_version_tag.set"
  | "model_version_tag.deleted"
  | "model_version_alias.created"
  | "model_version_alias.deleted"
  | "model_version_stage.set"
  | "prompt.created"
  | "prompt_version.created"
  | "prompt_tag.set"
  | "prompt_tag.deleted"
  | "prompt_version_tag.set"
  | "prompt_version_tag.deleted"
  | "prompt_alias.created"
  | "prompt_alias.deleted";

export interface Webhook {
  id: string;
  name: string;
  description: string | null;
  url: string;
  events: WebhookEvent[];
  active: boolean;
  createdAt: number;
  updatedAt: number;
  /** The result of the last delivery; null before the first. */
  last: { at: number; ok: boolean; why: string } | null;
}

export type TraceState = "STATE_UNSPECIFIED" | "OK" | "ERROR" | "IN_PROGRESS";

/** A trace of a request. */
export interface Trace {
  id: string;
  experimentId: string;
  clientRequestId: string | null;
  /** The start time. */
  requestTime: number;
  /** Milliseconds; null while the request is in progress. */
  duration: number | null;
  state: TraceState;
  /** The beginning of the request and of the response. */
  requestPreview: string | null;
  responsePreview: string | null;
  metadata: KeyValue[];
  tags: KeyValue[];
  /** Assessments by people and judges, as MLflow's JSON. */
  assessments: Record<string, unknown>[];
}

/** A data set for evaluation, of any number of experiments. */
export interface EvaluationDataset {
  id: string;
  name: string;
  /** The types of its records' fields, as MLflow's JSON; null before the first record. */
  schema: string | null;
  createdAt: number;
  updatedAt: number;
  createdBy: string | null;
  updatedBy: string | null;
  /** The number of its records. */
  records: number;
  tags: KeyValue[];
  experimentIds: string[];
}

export interface NewEvaluationRecord {
  inputs: Record<string, unknown>;
  outputs?: unknown;
  expectations?: Record<string, unknown>;
  tags?: Record<string, string>;
  source?: { source_type: string; source_data: Record<string, unknown> };
}

/** A record of a data set for evaluation. Its inputs are unique in the data set. */
export interface EvaluationRecord {
  id: string;
  inputs: Record<string, unknown>;
  /** JSON; null if there is none. */
  outputs: unknown;
  expectations: Record<string, unknown> | null;
  tags: Record<string, string>;
  source: NonNullable<NewEvaluationRecord["source"]> | null;
  createdAt: number;
  updatedAt: number;
  createdBy: string;
  updatedBy: string;
}

/** A version of a scorer, which judges traces. */
export interface Scorer {
  id: string;
  experimentId: string;
  name: string;
  version: number;
  /** What the client wrote of it. */
  serialized: string;
  createdAt: number;
}

/** A span of a trace, as defined by OpenTelemetry. */
export interface Span {
  traceId: string;
  spanId: string;
  parentId: string | null;
  name: string;
  /** Nanoseconds since 1970, as a string because a number would lose precision. */
  start: string;
  end: string;
  failed: boolean;
  /** Attributes by name. Values are JSON. */
  attributes: Record<string, unknown>;
  events: { name: string; time: string; attributes: Record<string, unknown> }[];
  statusMessage: string;
}
