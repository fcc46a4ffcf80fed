import { randomUUID } from "node:crypto";
import type { FastifyInstance } from "fastify";
import { invalid } from "../errors.ts";
import { versionsIn } from "../json.ts";
import { int, nameOf } from "../message.ts";
import type { KeyValue, Trace } from "../store/types.ts";
import { clientFile } from "../traces/client-file.ts";
import type { Tracker } from "../tracker.ts";
import { attachment } from "./artifacts.ts";
import { TRACE_STATES } from "./endpoints/fields.ts";
import type * as schemas from "./endpoints/schemas.ts";
import * as endpoints from "./endpoints/traces-v2.ts";
import { checkLocationOf } from "./experiment-location.ts";
import { route } from "./route.ts";
import { checkTraceTag, removeTraces, searchTraces, spansOf, tracePair } from "./traces.ts";

/** The tag that lists the versions of prompts that a trace used. */
const LINKED_PROMPTS = "mlflow.linkedPrompts";
/** Traces of one request to link them. */
const MAX_LINKED = 100;

const list = (name: "request_metadata" | "tags", pairs: KeyValue[]) => (pairs.length > 0 ? { [name]: pairs } : {});

const info = (it: Trace): schemas.TraceInfoV2 => ({
  request_id: it.id,
  experiment_id: it.experimentId,
  timestamp_ms: it.requestTime,
  ...(it.duration === null ? {} : { execution_time_ms: it.duration }),
  status: it.state === "STATE_UNSPECIFIED" ? "TRACE_STATUS_UNSPECIFIED" : it.state,
  ...list("request_metadata", it.metadata),
  ...list("tags", it.tags),
});

/** MLflow's traces, version 2, under /api/2.0/mlflow. */
export function traceV2Routes(app: FastifyInstance, tracker: Tracker): void {
  const { store, events } = tracker;
  const changed = ({ experimentId }: Trace): void =>
    events.publish({ type: "experiment", experimentId, change: "updated" });

  route(app, endpoints.startTrace, async ({ experiment_id, timestamp_ms, request_metadata = [], tags = [] }) => {
    await checkLocationOf(experiment_id, tracker);
    const trace = await store.traces.put({
      id: `tr-${randomUUID().replaceAll("-", "")}`,
      experimentId: experiment_id,
      clientRequestId: null,
      requestTime: int(timestamp_ms, "timestamp_ms"),
      duration: null,
      state: "IN_PROGRESS",
      requestPreview: null,
      responsePreview: null,
      metadata: request_metadata.map(tracePair),
      tags: tags.map(tracePair),
    });
    changed(trace);
    return { trace_info: info(trace) };
  });

  route(app, endpoints.endTrace, async ({ request_id, timestamp_ms, status, request_metadata = [], tags = [] }) => {
    const { assessments: _, ...begun } = await store.traces.get(request_id);
    const trace = await store.traces.put({
      ...begun,
      duration: int(timestamp_ms, "timestamp_ms") - begun.requestTime,
      state: nameOf(TRACE_STATES, status),
      metadata: request_metadata.map(tracePair),
      tags: tags.map(tracePair),
    });
    changed(trace);
    return { trace_info: info(trace) };
  });

  route(app, endpoints.getTraceInfoV2, async ({ request_id }) => ({
    trace_info: info(await store.traces.get(request_id)),
  }));

  route(app, endpoints.searchTracesV2, async (message) =>
    searchTraces(tracker, message, message.experiment_ids ?? [], info),
  );

  route(app, endpoints.deleteTracesV2, async (message) => removeTraces(tracker, message));

  route(app, endpoints.setTraceTagV2, async ({ request_id, key, value }) => {
    await store.traces.setTag(request_id, tracePair({ key: checkTraceTag(key), value }));
    return {};
  });

  route(app, endpoints.deleteTraceTagV2, async ({ request_id, key }) => {
    await store.traces.deleteTag(request_id, checkTraceTag(key));
    return {};
  });

  route(app, endpoints.linkTraces, async ({ trace_ids, run_id }) => {
    if (trace_ids.length > MAX_LINKED) {
      throw invalid(`Too many traces: ${trace_ids.length} sent, at most ${MAX_LINKED} can be linked to a run at once.`);
    }
    await store.traces.linkToRun(trace_ids, (await store.runs.get(run_id)).id);
    return {};
  });

  route(app, endpoints.linkPrompts, async ({ trace_id, prompt_versions = [] }) => {
    const { tags } = await store.traces.get(trace_id);
    const linked = versionsIn(tags.find(({ key }) => key === LINKED_PROMPTS)?.value);
    for (const { name, version } of prompt_versions) {
      if (!linked.some((it) => it.name === name && it.version === version)) linked.push({ name, version });
    }
    const value = JSON.stringify(linked);
    // The tag would be truncated, which would break the JSON.
    if (value.length > 8000) throw invalid(`Trace ${trace_id} has too many linked prompts.`);
    await store.traces.setTag(trace_id, { key: LINKED_PROMPTS, value });
    return {};
  });

  route(app, endpoints.getTraceFile, async ({ request_id }, _request, reply) => {
    const spans = await spansOf(tracker, await store.traces.get(request_id));
    return reply
      .type("application/json")
      .header("content-disposition", attachment("traces.json"))
      .header("x-content-type-options", "nosniff")
      .header("content-security-policy", "sandbox; default-src 'none'")
      .send(clientFile(spans));
  });
}
