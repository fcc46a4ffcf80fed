/** The things a tracker keeps, as the rooms of the tracker speak of them. Times are milliseconds since 1970. */

export type Lifecycle = "active" | "deleted";
/** Which lifecycle stages a search looks at. */
export type ViewType = "ACTIVE_ONLY" | "DELETED_ONLY" | "ALL";
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

/** One measured point. `value` may be NaN or infinite. */
export interface Metric {
  key: string;
  value: number;
  timestamp: number;
  step: number;
}

/** A point that belongs to a logged model and, perhaps, to a data set as well as to its run. */
export interface ModelMetric extends Metric {
  modelId: string;
  datasetName: string | null;
  datasetDigest: string | null;
  runId: string | null;
}

export interface RunMetric extends Metric {
  runId: string;
}

/** A run with what was logged to it: the latest point of every metric, its params and its tags. */
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
  status: "READY";
  tags: KeyValue[];
  aliases: string[];
}

export type GateOperator = "<" | "<=" | ">" | ">=";

/**
 * A condition for Production on a metric of a version's source run: against a fixed bound,
 * or against the same metric of the version that is in Production now.
 */
export interface Gate {
  metric: string;
  op: GateOperator;
  bound?: number;
  versus?: "production";
}

/** What one gate said of one version. */
export interface GateResult extends Gate {
  /** The version's own value; null where its source run has no such metric. */
  value: number | null;
  /** What it was compared with; null where there was nothing to compare with. */
  against: number | null;
  passed: boolean;
  why: string;
}

/** One change of a version's stage. `to` is "Deleted" where the version was removed. */
export interface StageChange {
  version: number;
  from: Stage;
  to: Stage | "Deleted";
  who: string;
  at: number;
  comment: string | null;
  gates: GateResult[];
}

/** What a person said in a model card. */
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

/** What somebody may do with an experiment, a model, or all that no grant speaks of. Each may all that those before it may. */
export type Role = "none" | "viewer" | "editor" | "admin";
/** What a token may be used for, at most: what its user may do beyond that, it may not. */
export type Scope = "read" | "write" | "admin";
export type GrantKind = "experiment" | "model";

export interface User {
  name: string;
  /** For everything that no grant speaks of. */
  role: Role;
  disabled: boolean;
  /** Who this is to the identity provider: its issuer and its subject there; null for somebody who signs in by tokens. */
  subject: string | null;
  createdAt: number;
}

export interface Token {
  id: string;
  user: string;
  label: string;
  scope: Scope;
  /** Made by signing in, and for the browser only. */
  session: boolean;
  createdAt: number;
  expiresAt: number | null;
  lastUsedAt: number | null;
}

/** A user's role for one experiment (by id) or registered model (by name), in place of the user's own. */
export interface Grant {
  user: string;
  kind: GrantKind;
  target: string;
  role: Role;
}

/** One change that somebody made, or tried to make. */
export interface AuditEntry {
  id: number;
  at: number;
  who: string;
  /** The request, such as `POST /api/2.0/mlflow/registered-models/create`. */
  action: string;
  /** What it named: ids, names, stages. */
  target: string;
  /** HTTP status of the answer. */
  status: number;
}

/** What webhooks can be told of; the last is ours, the others MLflow's. */
export type WebhookEvent =
  | "registered_model.created"
  | "model_version.created"
  | "model_version_tag.set"
  | "model_version_tag.deleted"
  | "model_version_alias.created"
  | "model_version_alias.deleted"
  | "model_version_stage.set";

export interface Webhook {
  id: string;
  name: string;
  description: string | null;
  url: string;
  events: WebhookEvent[];
  active: boolean;
  createdAt: number;
  updatedAt: number;
  /** How the last delivery ended; null where there was none. */
  last: { at: number; ok: boolean; why: string } | null;
}

export type TraceState = "STATE_UNSPECIFIED" | "OK" | "ERROR" | "IN_PROGRESS";

/** What is known of one traced request. */
export interface Trace {
  id: string;
  experimentId: string;
  clientRequestId: string | null;
  /** When it began. */
  requestTime: number;
  /** Milliseconds; null while it goes on. */
  duration: number | null;
  state: TraceState;
  /** The beginning of what was asked and answered. */
  requestPreview: string | null;
  responsePreview: string | null;
  metadata: KeyValue[];
  tags: KeyValue[];
  /** What people and judges said of it, as MLflow's JSON. */
  assessments: Record<string, unknown>[];
}

/** One step of a trace, as OpenTelemetry tells it. */
export interface Span {
  traceId: string;
  spanId: string;
  parentId: string | null;
  name: string;
  /** Nanoseconds since 1970, as digits: a number would lose the last of them. */
  start: string;
  end: string;
  failed: boolean;
  /** Values are JSON. */
  attributes: Record<string, unknown>;
  events: { name: string; time: string; attributes: Record<string, unknown> }[];
  statusMessage: string;
}
