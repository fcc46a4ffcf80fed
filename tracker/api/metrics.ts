import type { FastifyInstance } from "fastify";
import { invalid } from "../errors.ts";
import { int, limitOf } from "../message.ts";
import type { HistoryMark } from "../store/store.ts";
import type { RunMetric } from "../store/types.ts";
import type { Tracker } from "../tracker.ts";
import * as endpoints from "./endpoints/metrics.ts";
import { JsonText } from "./json-text.ts";
import { route } from "./route.ts";
import { runIdOf } from "./runs.ts";
import * as shapes from "./shapes.ts";

const MAX_RUNS = 100;

/** Encodes a position in a history as an opaque page token. */
const tokenOf = ({ step, timestamp, isNan, value }: HistoryMark): string =>
  Buffer.from(JSON.stringify([step, timestamp, isNan, value])).toString("base64");

/** @throws INVALID_PARAMETER_VALUE if the token is invalid */
function markOf(token: string | undefined): HistoryMark | undefined {
  if (token === undefined || token === "") return undefined;
  try {
    const list: unknown = JSON.parse(Buffer.from(token, "base64").toString());
    if (Array.isArray(list) && list.length === 4 && list.every((it) => typeof it === "number")) {
      const [step, timestamp, isNan, value] = list as number[];
      return { step, timestamp, isNan, value };
    }
  } catch {
    // The error is thrown below.
  }
  throw invalid(`Invalid page_token '${token}': use the next_page_token of the previous response.`);
}

export function metricRoutes(app: FastifyInstance, { store }: Tracker): void {
  const ofRun = (it: RunMetric) => ({ ...shapes.metric(it), run_id: it.runId });
  const checkRuns = (ids: string[]): string[] => {
    if (ids.length === 0) throw invalid("Missing value for required parameter 'run_ids'.");
    if (ids.length > MAX_RUNS)
      throw invalid(`Too many runs: ${ids.length} requested, at most ${MAX_RUNS} are allowed per request.`);
    return ids;
  };

  route(app, endpoints.getMetricHistory, async (message) => {
    const run = await store.runs.get(runIdOf(message));
    const after = markOf(message.page_token);
    const { next, json } = await store.metrics.history(run.id, message.metric_key, {
      ...(after ? { after } : {}),
      limit: limitOf(message.max_results, 25_000, 25_000),
    });
    const token = next ? `,"next_page_token":"${tokenOf(next)}"` : "";
    return new JsonText(json === "" ? "{}" : `{"metrics":[${json}]${token}}`);
  });

  route(app, endpoints.getMetricHistoryBulk, async (message) => {
    const limit = limitOf(message.max_results, 25_000, 25_000);
    const metrics = await store.metrics.bulk(checkRuns(message.run_id ?? []), message.metric_key, limit);
    return { metrics: metrics.map(ofRun) };
  });

  route(app, endpoints.getMetricSample, async (message) => {
    const start = message.start_step === undefined ? undefined : int(message.start_step, "start_step");
    const end = message.end_step === undefined ? undefined : int(message.end_step, "end_step");
    if ((start === undefined) !== (end === undefined)) {
      throw invalid("start_step and end_step must be set together: only one of them was sent.");
    }
    if (start !== undefined && end !== undefined && start > end) {
      throw invalid(`end_step (${end}) must not be less than start_step (${start}).`);
    }
    const metrics = await store.metrics.sample(checkRuns(message.run_ids ?? []), message.metric_key, {
      ...(start === undefined ? {} : { start }),
      ...(end === undefined ? {} : { end }),
      count: limitOf(message.max_results, 320, 2500),
    });
    return { metrics: metrics.map(ofRun) };
  });
}
