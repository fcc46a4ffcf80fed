import { randomUUID } from "node:crypto";
import type { FastifyInstance } from "fastify";
import { currentPrincipal } from "../access/principal.ts";
import { unlessMissing } from "../access/protect/checks.ts";
import { locate } from "../artifacts/locations.ts";
import { invalid, TrackerError } from "../errors.ts";
import { int, limitOf, nameOf, startOf, tokenOf } from "../message.ts";
import { type Clause, parseFilter, parseOrder, TRACES } from "../store/filter.ts";
import type { NewTrace } from "../store/store.ts";
import type { KeyValue, Span, Trace } from "../store/types.ts";
import { correlation } from "../traces/correlation.ts";
import { spansIn } from "../traces/file.ts";
import { parseSpans } from "../traces/otlp.ts";
import { spanMessage } from "../traces/span-message.ts";
import type { Tracker } from "../tracker.ts";
import type { RequestOf } from "./endpoints/endpoint.ts";
import { TRACE_STATES } from "./endpoints/fields.ts";
import type * as schemas from "./endpoints/schemas.ts";
import * as endpoints from "./endpoints/traces.ts";
import { checkLocationOf } from "./experiment-location.ts";
import { checkKey, truncate } from "./limits.ts";
import { route } from "./route.ts";
import * as shapes from "./shapes.ts";

/** MLflow's limit for the values of tags and metadata. Longer ones are truncated. Characters. */
const MAX_VALUE = 8000;
/** The most traces with spans in one response; MLflow's client requests ten. */
const MAX_BATCH = 100;
/** Traces of one page of a search. */
export const MAX_RESULTS = 500;

type NewTraceInfo = RequestOf<typeof endpoints.createTrace>["trace"]["trace_info"];

export const tracePair = ({ key, value = "" }: { key: string; value?: string }): KeyValue => ({
  key: checkKey(key, "tag"),
  value: truncate(value, MAX_VALUE),
});
const pairsOf = (record: Record<string, string> = {}): KeyValue[] =>
  Object.entries(record).map(([key, value]) => tracePair({ key, value }));
const recordOf = (pairs: readonly KeyValue[]): Record<string, string> =>
  Object.fromEntries(pairs.map(({ key, value }) => [key, value]));

/** The tag that tells clients where a trace's files are. The store sets it. */
const PLACE = "mlflow.artifactLocation";

export function checkTraceTag(key: string): string {
  if (key === PLACE) throw invalid(`The tag ${PLACE} cannot be changed: clients read a trace's files there.`);
  return checkKey(key, "tag");
}

/** Parses a time: protobuf's JSON or milliseconds. */
function timeOf(time: string | number | undefined): number {
  if (time === undefined) return Date.now();
  const milliseconds = typeof time === "number" || /^\d+$/.test(time) ? Number(time) : Date.parse(time);
  if (!Number.isSafeInteger(milliseconds)) throw invalid(`Invalid value '${time}' for parameter 'request_time'.`);
  return milliseconds;
}

/** Parses a duration: protobuf's JSON such as `1.5s`, or milliseconds. */
function durationOf(duration: string | number | undefined): number | null {
  if (duration === undefined) return null;
  const seconds = /^(\d+(?:\.\d+)?)s$/.exec(String(duration))?.[1];
  const milliseconds = seconds === undefined ? Number(duration) : Math.round(Number(seconds) * 1000);
  if (!Number.isSafeInteger(milliseconds)) {
    throw invalid(`Invalid value '${duration}' for parameter 'execution_duration': expected seconds such as 1.5s.`);
  }
  return milliseconds;
}

function experimentOf(location: NewTraceInfo["trace_location"] | undefined): string {
  const id = location?.mlflow_experiment?.experiment_id;
  if (id === undefined) throw invalid("Missing value for required parameter 'trace_location.mlflow_experiment'.");
  return id;
}

function toTrace(it: NewTraceInfo): NewTrace {
  if (!/^[\w.:-]{1,100}$/.test(it.trace_id)) throw invalid(`Invalid trace id '${truncate(it.trace_id, 80)}'.`);
  return {
    id: it.trace_id,
    experimentId: experimentOf(it.trace_location),
    clientRequestId: it.client_request_id ?? null,
    requestTime: timeOf(it.request_time),
    duration: durationOf(it.execution_duration),
    state:
      it.state === undefined || it.state === "STATE_UNSPECIFIED" ? "STATE_UNSPECIFIED" : nameOf(TRACE_STATES, it.state),
    requestPreview: it.request_preview ?? it.request ?? null,
    responsePreview: it.response_preview ?? it.response ?? null,
    metadata: pairsOf(it.trace_metadata),
    tags: pairsOf(it.tags),
  };
}

const info = (it: Trace): schemas.TraceInfo => ({
  trace_id: it.id,
  ...(it.clientRequestId === null ? {} : { client_request_id: it.clientRequestId }),
  trace_location: { type: "MLFLOW_EXPERIMENT", mlflow_experiment: { experiment_id: it.experimentId } },
  request_time: new Date(it.requestTime).toISOString(),
  ...(it.duration === null ? {} : { execution_duration: `${it.duration / 1000}s` }),
  state: it.state,
  ...(it.requestPreview === null ? {} : { request_preview: it.requestPreview }),
  ...(it.responsePreview === null ? {} : { response_preview: it.responsePreview }),
  trace_metadata: recordOf(it.metadata),
  tags: recordOf(it.tags),
  ...(it.assessments.length > 0 ? { assessments: it.assessments as schemas.Assessment[] } : {}),
});

/** Converts a span to the form of the pages, with attributes by name. */
const plainSpan = (it: Span): schemas.PageSpan => ({
  trace_id: it.traceId,
  span_id: it.spanId,
  ...(it.parentId === null ? {} : { parent_span_id: it.parentId }),
  name: it.name,
  start_time_unix_nano: it.start,
  end_time_unix_nano: it.end,
  status: {
    code: it.failed ? "STATUS_CODE_ERROR" : "STATUS_CODE_OK",
    ...(it.statusMessage === "" ? {} : { message: it.statusMessage }),
  },
  attributes: it.attributes,
  ...(it.events.length > 0
    ? { events: it.events.map(({ time, ...event }) => ({ ...event, time_unix_nano: time })) }
    : {}),
});

/** Reads the spans of a trace from the store, or else from the trace's file among the artifacts. */
export async function spansOf({ store, artifacts }: Tracker, trace: Trace): Promise<Span[]> {
  const stored = await store.traces.spans(trace.id);
  const place = trace.tags.find(({ key }) => key === PLACE)?.value;
  if (stored.length > 0 || place === undefined) return stored;
  try {
    return await spansIn(await artifacts.get(`${locate(place)}/traces.json`), trace.id);
  } catch (error) {
    if (error instanceof TrackerError && error.code !== "INTERNAL_ERROR") return [];
    throw error;
  }
}

/** Removes traces with their files among the artifacts: by id, or the oldest up to a time. */
export async function removeTraces(
  { store, artifacts }: Tracker,
  message: {
    experiment_id: string;
    request_ids?: string[];
    trace_ids?: string[];
    max_timestamp_millis?: string | number;
    max_traces?: string | number;
  },
): Promise<{ traces_deleted: number }> {
  const ids = [...(message.request_ids ?? []), ...(message.trace_ids ?? [])];
  if (ids.length > 0 === (message.max_timestamp_millis !== undefined)) {
    throw invalid("Set either trace_ids or max_timestamp_millis, but not both.");
  }
  const until = message.max_timestamp_millis;
  const { artifactLocation } = await store.experiments.get(message.experiment_id);
  const deleted = await store.traces.remove(
    message.experiment_id,
    until === undefined
      ? { ids }
      : {
          until: int(until, "max_timestamp_millis"),
          limit: message.max_traces === undefined ? 1_000_000 : int(message.max_traces, "max_traces"),
        },
  );
  for (const id of deleted) {
    try {
      await artifacts.remove(locate(`${artifactLocation.replace(/\/+$/, "")}/traces/${id}`));
    } catch (error) {
      if (!(error instanceof TrackerError) || error.code === "INTERNAL_ERROR") throw error;
    }
  }
  return { traces_deleted: deleted.length };
}

/** Searches traces. @param shape converts a trace to the response's version of the protocol */
export async function searchTraces<T>(
  { store }: Tracker,
  message: Pick<RequestOf<typeof endpoints.searchTraces>, "filter" | "order_by" | "max_results" | "page_token">,
  experimentIds: string[],
  shape: (trace: Trace) => T,
) {
  const order = parseOrder(message.order_by, TRACES);
  const { items, next } = await store.traces.search({
    experimentIds,
    filter: parseFilter(message.filter, TRACES),
    order,
    ...startOf(message.page_token, order),
    limit: limitOf(message.max_results, 100, MAX_RESULTS),
  });
  return shapes.page("traces", items.map(shape), tokenOf(next, order));
}

/** Returns functions that read traces with their spans, each converted by `span`. */
function readerOf<S>(tracker: Tracker, span: (it: Span) => S) {
  const { store } = tracker;
  const whole = async (trace: Trace) => ({ trace_info: info(trace), spans: (await spansOf(tracker, trace)).map(span) });
  return {
    one: async ({ trace_id }: { trace_id: string }) => ({ trace: await whole(await store.traces.get(trace_id)) }),

    async several({ trace_ids = [], experiment_ids }: { trace_ids?: string[]; experiment_ids?: string[] }) {
      if (trace_ids.length > MAX_BATCH) {
        throw invalid(`Too many traces: ${trace_ids.length} requested, at most ${MAX_BATCH} are allowed per request.`);
      }
      const traces: Awaited<ReturnType<typeof whole>>[] = [];
      for (const id of trace_ids) {
        // A trace may have been deleted since the search.
        const trace = await store.traces.get(id).catch(unlessMissing);
        if (trace && (experiment_ids?.includes(trace.experimentId) ?? true)) traces.push(await whole(trace));
      }
      return { traces };
    },
  };
}

/** Traces with their spans, under /api/3.0/mlflow. */
export function spanRoutes(app: FastifyInstance, tracker: Tracker): void {
  const read = readerOf(tracker, spanMessage);

  route(app, endpoints.getTrace, read.one);
  route(app, endpoints.getTraces, read.several);
}

/** A trace for the pages, under /api/anneal, where attributes are by name instead of in the protocol's list. */
export function pageTraceRoute(app: FastifyInstance, tracker: Tracker): void {
  route(app, endpoints.getTraceForPages, readerOf(tracker, plainSpan).one);
}

/** MLflow's traces, version 3, under /api/3.0/mlflow and /ajax-api/3.0/mlflow. */
export function traceRoutes(app: FastifyInstance, tracker: Tracker): void {
  const { store, events } = tracker;
  const changed = ({ experimentId }: Trace): void =>
    events.publish({ type: "experiment", experimentId, change: "updated" });

  route(app, endpoints.createTrace, async ({ trace: { trace_info } }) => {
    await checkLocationOf(experimentOf(trace_info.trace_location), tracker);
    const trace = await store.traces.put(toTrace(trace_info));
    changed(trace);
    return { trace: { trace_info: info(trace) } };
  });

  route(app, endpoints.getTraceInfo, async ({ trace_id }) => ({
    trace: { trace_info: info(await store.traces.get(trace_id)) },
  }));

  route(app, endpoints.searchTraces, async (message) =>
    searchTraces(tracker, message, message.experiment_ids ?? (message.locations ?? []).map(experimentOf), info),
  );

  route(app, endpoints.deleteTraces, async (message) => removeTraces(tracker, message));

  route(app, endpoints.correlateTraces, async ({ experiment_ids, filter_string1, filter_string2, base_filter }) => {
    for (const experiment of experiment_ids) currentPrincipal().need("viewer", { experiment });
    const base = parseFilter(base_filter, TRACES);
    const [first, second] = [parseFilter(filter_string1, TRACES), parseFilter(filter_string2, TRACES)];
    const count = (...clauses: Clause[]) =>
      store.traces.count({ experimentIds: experiment_ids, filter: [...base, ...clauses] });
    const counts = {
      total: await count(),
      first: await count(...first),
      second: await count(...second),
      both: await count(...first, ...second),
    };
    const { npmi, smoothed } = correlation(counts);
    return {
      npmi: shapes.number(npmi),
      npmi_smoothed: shapes.number(smoothed),
      filter1_count: counts.first,
      filter2_count: counts.second,
      joint_count: counts.both,
      total_count: counts.total,
    };
  });

  route(app, endpoints.setTraceTag, async ({ trace_id, key, value }) => {
    await store.traces.setTag(trace_id, tracePair({ key: checkTraceTag(key), value }));
    return {};
  });

  route(app, endpoints.deleteTraceTag, async ({ trace_id, key }) => {
    await store.traces.deleteTag(trace_id, checkTraceTag(key));
    return {};
  });

  assessmentRoutes(app, tracker);
}

/** Assessments of traces by people and judges. */
function assessmentRoutes(app: FastifyInstance, { store }: Tracker): void {
  const getAssessment = async (trace_id: string, assessment_id: string): Promise<schemas.Assessment> => {
    const trace = await store.traces.get(trace_id);
    const assessment = trace.assessments.find((it) => it.assessment_id === assessment_id);
    // The fields were validated when the assessment was stored.
    if (assessment) return assessment as schemas.Assessment;
    throw new TrackerError(
      "RESOURCE_DOES_NOT_EXIST",
      `Assessment with ID '${assessment_id}' not found for trace '${trace_id}'.`,
    );
  };
  const now = (): string => new Date().toISOString();
  /** An overridden assessment with its new validity, for the store; nothing if it does not exist. */
  const overridden = async (trace_id: string, id: string | undefined, valid: boolean) => {
    const found = id === undefined ? undefined : await getAssessment(trace_id, id).catch(unlessMissing);
    return found && id !== undefined ? { [id]: { ...found, valid } } : {};
  };

  route(app, endpoints.createAssessment, async ({ trace_id, assessment }) => {
    if (!assessment.assessment_name) throw invalid("Missing value for required parameter 'assessment_name'.");
    if (assessment.overrides) await getAssessment(trace_id, assessment.overrides);
    const assessment_id = `a-${randomUUID().replaceAll("-", "")}`;
    const time = now();
    const given = { create_time: time, last_update_time: time, valid: true, ...serialized(assessment) };
    const created = { ...given, assessment_id, trace_id };
    await store.traces.assess(trace_id, {
      [assessment_id]: created,
      ...(await overridden(trace_id, assessment.overrides, false)),
    });
    return { assessment: created };
  });

  route(app, endpoints.getAssessment, async ({ trace_id, assessment_id }) => ({
    assessment: await getAssessment(trace_id, assessment_id),
  }));

  route(app, endpoints.updateAssessment, async ({ trace_id, assessment_id, assessment, update_mask }) => {
    const current = await getAssessment(trace_id, assessment_id);
    const { metadata, ...change } = masked(serialized(assessment), update_mask);
    for (const [kind, other] of [
      ["feedback", "expectation"],
      ["expectation", "feedback"],
    ] as const) {
      if (change[kind] && current[other]) throw invalid(`Assessment ${assessment_id} is ${other}, not ${kind}.`);
    }
    const merged = metadata ? { metadata: { ...current.metadata, ...metadata } } : {};
    const next = { ...current, ...change, ...merged, assessment_id, trace_id, last_update_time: now() };
    await store.traces.assess(trace_id, { [assessment_id]: next });
    return { assessment: next };
  });

  route(app, endpoints.deleteAssessment, async ({ trace_id, assessment_id }) => {
    const { overrides } = await getAssessment(trace_id, assessment_id);
    await store.traces.assess(trace_id, {
      [assessment_id]: undefined,
      ...(await overridden(trace_id, overrides, true)),
    });
    return {};
  });
}

type Assessed = RequestOf<typeof endpoints.createAssessment>["assessment"];

/** As in MLflow, an expectation that is no text, number or boolean is JSON in another field. */
function serialized(assessment: Assessed): Assessed {
  const value = assessment.expectation?.value;
  if (typeof value !== "object" || value === null) return assessment;
  const serialized_value = { serialization_format: "JSON_FORMAT", value: JSON.stringify(value) };
  return { ...assessment, expectation: { serialized_value } as Assessed["expectation"] };
}

/** Only the fields of a mask such as `assessmentName,feedback`. */
function masked(assessment: Assessed, mask: string | undefined): Assessed {
  if (mask === undefined) return assessment;
  const names = mask.split(",").map((name) => name.trim().replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`));
  return Object.fromEntries(Object.entries(assessment).filter(([name]) => names.includes(name)));
}

/** The limit for an OpenTelemetry request. Bytes. */
const OTLP_LIMIT = 16 * 2 ** 20;

/**
 * `POST /v1/traces`: receives spans from OpenTelemetry exporters. The header `x-mlflow-experiment-id` gives the experiment;
 * the default is the experiment Default. Register it in a separate scope that reads bodies as bytes.
 */
export function otlpRoutes(app: FastifyInstance, tracker: Tracker): void {
  const { store, events } = tracker;
  app.removeAllContentTypeParsers();
  app.addContentTypeParser("*", { parseAs: "buffer" }, (_request, body, done) => done(null, body));

  route(
    app,
    endpoints.exportSpans,
    async (_message, request, reply) => {
      const { "content-type": type = "", "content-encoding": encoding = "" } = request.headers;
      const experimentId = request.headers["x-mlflow-experiment-id"] ?? "0";
      if (Array.isArray(experimentId))
        throw invalid("The header x-mlflow-experiment-id is set more than once: send it once.");
      // Before the body is parsed, which takes longer than anything else here.
      currentPrincipal().need("editor", { experiment: experimentId });
      await checkLocationOf(experimentId, tracker);
      const body = Buffer.isBuffer(request.body) ? request.body : Buffer.alloc(0);
      const spans = await parseSpans(body, { type, encoding });
      const traces = await store.traces.logSpans(experimentId, spans);
      for (const id of new Set(traces.map((trace) => trace.experimentId))) {
        events.publish({ type: "experiment", experimentId: id, change: "updated" });
      }
      // An empty ExportTraceServiceResponse: all spans were accepted.
      return type.startsWith("application/json") ? reply.send({}) : reply.type("application/x-protobuf").send("");
    },
    { bodyLimit: OTLP_LIMIT },
  );
}
