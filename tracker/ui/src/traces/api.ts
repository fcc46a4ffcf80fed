// API calls of the trace pages (MLflow 3 API).
import type { TraceInfo } from "../../../api/endpoints/schemas.ts";
import { call } from "../call.ts";

export type { PageSpan as Span, TraceInfo } from "../../../api/endpoints/schemas.ts";

export const traces = {
  search: (experiment_ids: string[], filter: string, page_token: string | undefined) =>
    call("POST /api/3.0/mlflow/traces/search", { experiment_ids, filter, max_results: 50, page_token }),
  get: async (trace_id: string) => (await call("GET /api/anneal/traces/:trace_id", { trace_id })).trace,
};

/** Duration of a trace in milliseconds; undefined while it is in progress. */
export const durationOf = ({ execution_duration }: TraceInfo): number | undefined =>
  execution_duration === undefined ? undefined : 1000 * Number.parseFloat(execution_duration);

export const nameOf = ({ tags, trace_id }: TraceInfo): string => tags["mlflow.traceName"] || trace_id;
