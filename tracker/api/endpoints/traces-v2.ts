import { Type } from "@sinclair/typebox";
import { editExperiment, endpoint, viewExperiment } from "./endpoint.ts";
import { Int, listOf, oneOf, optional, SEARCH, Tag, Text, TRACE_STATES } from "./fields.ts";
import { Done, object, pageOf, TraceInfoV2 } from "./schemas.ts";

/*
 * Version 2 of MLflow's trace API. Its clients still use it to set tags, to delete and to link traces.
 */

const BY_ID = { request_id: Text };
const PAIRS = { request_metadata: optional(listOf(Tag)), tags: optional(listOf(Tag)) };
const Info = object({ trace_info: TraceInfoV2 });

export const startTrace = endpoint({
  method: "POST",
  path: "/api/2.0/mlflow/traces",
  summary: "Start a trace.",
  request: Type.Object({ experiment_id: Text, timestamp_ms: Int, ...PAIRS }),
  answer: Info,
  right: editExperiment,
  audit: false,
});

export const endTrace = endpoint({
  method: "PATCH",
  path: "/api/2.0/mlflow/traces/:request_id",
  summary: "End a trace.",
  request: Type.Object({ ...BY_ID, timestamp_ms: Int, status: oneOf(TRACE_STATES), ...PAIRS }),
  answer: Info,
  right: editExperiment,
  audit: false,
});

export const getTraceInfoV2 = endpoint({
  method: "GET",
  path: "/api/2.0/mlflow/traces/:request_id/info",
  summary: "A trace without its spans.",
  request: Type.Object(BY_ID),
  answer: Info,
  right: viewExperiment,
});

export const searchTracesV2 = endpoint({
  method: "GET",
  path: "/api/2.0/mlflow/traces",
  summary: "Search traces with MLflow's filter language.",
  request: Type.Object({ experiment_ids: optional(listOf(Text)), ...SEARCH }),
  answer: pageOf("traces", TraceInfoV2),
  right: "filtered",
});

export const deleteTracesV2 = endpoint({
  method: "POST",
  path: "/api/2.0/mlflow/traces/delete-traces",
  summary: "Delete traces.",
  request: Type.Object({
    experiment_id: Text,
    max_timestamp_millis: optional(Int),
    max_traces: optional(Int),
    request_ids: optional(listOf(Text)),
  }),
  answer: object({ traces_deleted: Type.Integer() }),
  right: editExperiment,
});

export const setTraceTagV2 = endpoint({
  method: "PATCH",
  path: "/api/2.0/mlflow/traces/:request_id/tags",
  summary: "Set a tag of a trace.",
  request: Type.Object({ ...BY_ID, key: Text, value: optional(Text) }),
  answer: Done,
  right: editExperiment,
});

export const deleteTraceTagV2 = endpoint({
  method: "DELETE",
  path: "/api/2.0/mlflow/traces/:request_id/tags",
  summary: "Delete a tag of a trace.",
  request: Type.Object({ ...BY_ID, key: Text }),
  answer: Done,
  right: editExperiment,
});

export const linkTraces = endpoint({
  method: "POST",
  path: "/api/2.0/mlflow/traces/link-to-run",
  summary: "Link traces to a run.",
  request: Type.Object({ trace_ids: listOf(Text), run_id: Text }),
  answer: Done,
  right: editExperiment,
});

export const linkPrompts = endpoint({
  method: "POST",
  path: "/api/2.0/mlflow/traces/link-prompts",
  summary: "Link versions of prompts to a trace.",
  request: Type.Object({
    trace_id: Text,
    prompt_versions: optional(listOf(Type.Object({ name: Text, version: Text }))),
  }),
  answer: Done,
  right: editExperiment,
});

export const getTraceFile = endpoint({
  method: "GET",
  path: "/api/2.0/mlflow/get-trace-artifact",
  summary: "Download a trace's spans as MLflow's clients write them to a file.",
  request: Type.Object(BY_ID),
  answer: "application/octet-stream",
  right: viewExperiment,
});
