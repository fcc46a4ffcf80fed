// Made by scripts/api-types.js from the tracker's API document.

export type MetricValue = number | "NaN" | "Infinity" | "-Infinity";

export interface KeyValue {
  key: string;
  value: string;
}
export interface Experiment {
  experiment_id: string;
  name: string;
  artifact_location: string;
  lifecycle_stage: "active" | "deleted";
  /**
   * Milliseconds since 1970.
   */
  last_update_time: number;
  /**
   * Milliseconds since 1970.
   */
  creation_time: number;
  tags?: KeyValue[];
}
export interface RunInfo {
  run_uuid: string;
  run_id: string;
  run_name: string;
  experiment_id: string;
  user_id: string;
  status: "RUNNING" | "SCHEDULED" | "FINISHED" | "FAILED" | "KILLED";
  /**
   * Milliseconds since 1970.
   */
  start_time: number;
  /**
   * Milliseconds since 1970.
   */
  end_time?: number;
  artifact_uri: string;
  lifecycle_stage: "active" | "deleted";
}
export interface Metric {
  key: string;
  value: MetricValue;
  /**
   * Milliseconds since 1970.
   */
  timestamp: number;
  step: number;
}
export interface RunMetric {
  key: string;
  value: MetricValue;
  /**
   * Milliseconds since 1970.
   */
  timestamp: number;
  step: number;
  run_id: string;
}
export interface Dataset {
  name: string;
  digest: string;
  source_type: string;
  source: string;
  schema?: string;
  profile?: string;
}
export interface DatasetInput {
  tags?: KeyValue[];
  dataset: Dataset;
}
export interface ModelInput {
  model_id: string;
}
export interface ModelOutput {
  model_id: string;
  step: number;
}
export interface Run {
  info: RunInfo;
  data: {
    metrics?: Metric[];
    params?: KeyValue[];
    tags?: KeyValue[];
  };
  inputs: {
    dataset_inputs?: DatasetInput[];
    model_inputs?: ModelInput[];
  };
  outputs?: {
    model_outputs?: ModelOutput[];
  };
}
export interface FileInfo {
  path: string;
  is_dir: boolean;
  /**
   * Bytes.
   */
  file_size?: number;
}
export interface ModelVersion {
  name: string;
  version: string;
  /**
   * Milliseconds since 1970.
   */
  creation_timestamp: number;
  /**
   * Milliseconds since 1970.
   */
  last_updated_timestamp: number;
  current_stage: string;
  source: string;
  status: string;
  user_id?: string;
  description?: string;
  run_id?: string;
  run_link?: string;
  model_id?: string;
  tags?: KeyValue[];
  aliases?: string[];
}
export interface Alias {
  alias: string;
  version: string;
}
export interface RegisteredModel {
  name: string;
  /**
   * Milliseconds since 1970.
   */
  creation_timestamp: number;
  /**
   * Milliseconds since 1970.
   */
  last_updated_timestamp: number;
  description?: string;
  latest_versions?: ModelVersion[];
  tags?: KeyValue[];
  aliases?: Alias[];
}
export interface LoggedModelMetric {
  key: string;
  value: MetricValue;
  /**
   * Milliseconds since 1970.
   */
  timestamp: number;
  step: number;
  model_id: string;
  dataset_name?: string;
  dataset_digest?: string;
  run_id?: string;
}
export interface LoggedModelInfo {
  model_id: string;
  experiment_id: string;
  name: string;
  /**
   * Milliseconds since 1970.
   */
  creation_timestamp_ms: number;
  /**
   * Milliseconds since 1970.
   */
  last_updated_timestamp_ms: number;
  artifact_uri: string;
  status: "LOGGED_MODEL_PENDING" | "LOGGED_MODEL_READY" | "LOGGED_MODEL_UPLOAD_FAILED";
  status_message?: string;
  model_type?: string;
  source_run_id?: string;
  tags?: KeyValue[];
}
export interface LoggedModel {
  info: LoggedModelInfo;
  data: {
    params?: KeyValue[];
    metrics?: LoggedModelMetric[];
  };
}
export interface Webhook {
  id: string;
  webhook_id: string;
  name: string;
  description?: string;
  url: string;
  events: {
    entity: string;
    action: string;
  }[];
  status: "ACTIVE" | "DISABLED";
  /**
   * Milliseconds since 1970.
   */
  creation_timestamp: number;
  /**
   * Milliseconds since 1970.
   */
  last_updated_timestamp: number;
  last_delivery?: {
    /**
     * Milliseconds since 1970.
     */
    time: number;
    success: boolean;
    message: string | null;
  };
}
export interface ApiError {
  /**
   * One of MLflow's codes, such as RESOURCE_DOES_NOT_EXIST.
   */
  error_code: string;
  /**
   * What was wrong, with the value, and what to do.
   */
  message: string;
  [k: string]: unknown;
}
