import { Type } from "@sinclair/typebox";
import { editExperiment, endpoint, viewExperiment } from "./endpoint.ts";
import { Int, listOf, oneOf, optional, SEARCH, Text, TRACE_STATES } from "./fields.ts";
import { Assessment, assessment, Done, MetricValue, object, PageSpan, pageOf, Span, TraceInfo } from "./schemas.ts";

const Location = Type.Object({
  type: optional(Type.Unknown()),
  mlflow_experiment: optional(Type.Object({ experiment_id: Text })),
});
const Pairs = optional(Type.Record(Text, Text));
const NewTraceInfo = Type.Object({
  trace_id: Text,
  client_request_id: optional(Text),
  trace_location: Location,
  request: optional(Text),
  response: optional(Text),
  request_preview: optional(Text),
  response_preview: optional(Text),
  request_time: optional(Type.Union([Text, Type.Number()])),
  execution_duration: optional(Type.Union([Text, Type.Number()])),
  state: optional(Type.Union([oneOf(TRACE_STATES), Type.Literal("STATE_UNSPECIFIED")])),
  trace_metadata: Pairs,
  tags: Pairs,
});

const BY_ID = { trace_id: Text };
const ById = Type.Object(BY_ID);
const ByIds = Type.Object({ trace_ids: optional(listOf(Text)), experiment_ids: optional(listOf(Text)) });
const Info = object({ trace: object({ trace_info: TraceInfo }) });

export const createTrace = endpoint({
  method: "POST",
  path: "/api/3.0/mlflow/traces",
  summary: "Create a trace.",
  request: Type.Object({ trace: Type.Object({ trace_info: NewTraceInfo }) }),
  answer: Info,
  right: editExperiment,
  audit: false,
});

export const getTrace = endpoint({
  method: "GET",
  path: "/api/3.0/mlflow/traces/get",
  summary: "A trace with its spans.",
  request: ById,
  answer: object({ trace: object({ trace_info: TraceInfo, spans: listOf(Span) }) }),
  right: viewExperiment,
});

export const getTraceForPages = endpoint({
  method: "GET",
  path: "/api/anneal/traces/:trace_id",
  summary: "A trace with its spans, whose attributes are by name.",
  request: ById,
  answer: object({ trace: object({ trace_info: TraceInfo, spans: listOf(PageSpan) }) }),
  right: viewExperiment,
});

export const getTraces = endpoint({
  method: "GET",
  path: "/api/3.0/mlflow/traces/batchGet",
  summary: "Traces with their spans, by id; ids that do not exist are omitted.",
  request: ByIds,
  answer: object({ traces: listOf(object({ trace_info: TraceInfo, spans: listOf(Span) })) }),
  right: viewExperiment,
});

export const getTraceInfo = endpoint({
  method: "GET",
  path: "/api/3.0/mlflow/traces/:trace_id",
  summary: "A trace without its spans.",
  request: ById,
  answer: Info,
  right: viewExperiment,
});

export const searchTraces = endpoint({
  method: "POST",
  path: "/api/3.0/mlflow/traces/search",
  summary: "Search traces with MLflow's filter language.",
  request: Type.Object({
    locations: optional(listOf(Location)),
    experiment_ids: optional(listOf(Text)),
    ...SEARCH,
  }),
  answer: pageOf("traces", TraceInfo),
  right: "filtered",
});

export const deleteTraces = endpoint({
  method: "POST",
  path: "/api/3.0/mlflow/traces/delete-traces",
  summary: "Delete traces.",
  request: Type.Object({
    experiment_id: Text,
    max_timestamp_millis: optional(Int),
    max_traces: optional(Int),
    request_ids: optional(listOf(Text)),
    trace_ids: optional(listOf(Text)),
  }),
  answer: object({ traces_deleted: Type.Integer() }),
  right: editExperiment,
});

export const setTraceTag = endpoint({
  method: "PATCH",
  path: "/api/3.0/mlflow/traces/:trace_id/tags",
  summary: "Set a tag of a trace.",
  request: Type.Object({ ...BY_ID, key: Text, value: optional(Text) }),
  answer: Done,
  right: editExperiment,
});

export const deleteTraceTag = endpoint({
  method: "DELETE",
  path: "/api/3.0/mlflow/traces/:trace_id/tags",
  summary: "Delete a tag of a trace.",
  request: Type.Object({ ...BY_ID, key: Text }),
  answer: Done,
  right: editExperiment,
});

const NewAssessment = Type.Object(assessment, { additionalProperties: true });
const BY_ASSESSMENT = { ...BY_ID, assessment_id: Text };
const OneAssessment = object({ assessment: Assessment });

export const createAssessment = endpoint({
  method: "POST",
  path: "/api/3.0/mlflow/traces/:trace_id/assessments",
  summary: "Add an assessment to a trace.",
  request: Type.Object({ ...BY_ID, assessment: NewAssessment }),
  answer: OneAssessment,
  right: editExperiment,
});

export const getAssessment = endpoint({
  method: "GET",
  path: "/api/3.0/mlflow/traces/:trace_id/assessments/:assessment_id",
  summary: "An assessment of a trace.",
  request: Type.Object(BY_ASSESSMENT),
  answer: OneAssessment,
  right: viewExperiment,
});

export const updateAssessment = endpoint({
  method: "PATCH",
  path: "/api/3.0/mlflow/traces/:trace_id/assessments/:assessment_id",
  summary: "Change an assessment of a trace.",
  // The mask has the names of the fields to change, joined by commas; without it, all that are sent are changed.
  request: Type.Object({ ...BY_ASSESSMENT, assessment: NewAssessment, update_mask: optional(Text) }),
  answer: OneAssessment,
  right: editExperiment,
});

export const deleteAssessment = endpoint({
  method: "DELETE",
  path: "/api/3.0/mlflow/traces/:trace_id/assessments/:assessment_id",
  summary: "Delete an assessment of a trace.",
  request: Type.Object(BY_ASSESSMENT),
  answer: Done,
  right: editExperiment,
});

export const correlateTraces = endpoint({
  method: "POST",
  path: "/api/3.0/mlflow/traces/calculate-filter-correlation",
  summary:
    "How strongly two filters of traces go together: their normalized pointwise mutual information, from -1 to 1.",
  request: Type.Object({
    experiment_ids: listOf(Text),
    filter_string1: Text,
    filter_string2: Text,
    base_filter: optional(Text),
  }),
  answer: object({
    npmi: MetricValue,
    npmi_smoothed: MetricValue,
    filter1_count: Type.Integer(),
    filter2_count: Type.Integer(),
    joint_count: Type.Integer(),
    total_count: Type.Integer(),
  }),
  right: viewExperiment,
  audit: false,
});

export const exportSpans = endpoint({
  method: "POST",
  path: "/v1/traces",
  summary:
    "Store the spans of an OpenTelemetry exporter, as Protocol Buffers or JSON. The header x-mlflow-experiment-id gives the experiment's id.",
  request: Type.Object({}),
  body: "application/x-protobuf",
  answer: "application/x-protobuf",
  right: editExperiment,
  audit: false,
});
