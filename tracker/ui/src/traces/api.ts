import { send } from "../api.ts";

/** What the traces' pages ask of the tracker, by MLflow's API of version 3. */

export interface TraceInfo {
  trace_id: string;
  trace_location: { mlflow_experiment: { experiment_id: string } };
  request_time: string;
  /** Seconds, such as `1.5s`. */
  execution_duration?: string;
  state: "OK" | "ERROR" | "IN_PROGRESS" | "STATE_UNSPECIFIED";
  request_preview?: string;
  response_preview?: string;
  trace_metadata: Record<string, string>;
  tags: Record<string, string>;
  assessments?: Assessment[];
}

export interface Assessment {
  assessment_id: string;
  assessment_name: string;
  source?: { source_type?: string; source_id?: string };
  feedback?: { value?: unknown };
  expectation?: { value?: unknown };
  rationale?: string;
}

export interface Span {
  span_id: string;
  parent_span_id?: string;
  name: string;
  start_time_unix_nano: string;
  end_time_unix_nano: string;
  status: { code: string; message?: string };
  attributes: Record<string, unknown>;
  events?: { name: string; time_unix_nano: string; attributes: Record<string, unknown> }[];
}

const V3 = "/ajax-api/3.0/mlflow/traces";

export const traces = {
  search: (experiment_ids: string[], filter: string, page_token: string | undefined) =>
    send<{ traces?: TraceInfo[]; next_page_token?: string }>("POST", `${V3}/search`, {
      experiment_ids,
      filter,
      max_results: 50,
      ...(page_token ? { page_token } : {}),
    }),
  get: async (trace_id: string) =>
    (
      await send<{ trace: { trace_info: TraceInfo; spans: Span[] } }>(
        "GET",
        `${V3}/get?${new URLSearchParams({ trace_id })}`,
      )
    ).trace,
};

/** Milliseconds of a trace; undefined while it goes on. */
export const durationOf = ({ execution_duration }: TraceInfo): number | undefined =>
  execution_duration === undefined ? undefined : 1000 * Number.parseFloat(execution_duration);

export const nameOf = ({ tags, trace_id }: TraceInfo): string => tags["mlflow.traceName"] || trace_id;
