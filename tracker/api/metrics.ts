import type { FastifyInstance } from "fastify";
import { invalid } from "../errors.ts";
import { bool, int, limitOf } from "../message.ts";
import type { HistoryMark } from "../store/store.ts";
import type { RunMetric } from "../store/types.ts";
import type { Tracker } from "../tracker.ts";
import * as endpoints from "./endpoints/metrics.ts";
import { JsonText } from "./json-text.ts";
import { route } from "./route.ts";
import { runIdOf } from "./runs.ts";
import * as shapes from "./shapes.ts";

const MAX_RUNS = 100;
/** Points per run of a sample. */
const MAX_SAMPLE = 2500;

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
    const { run_id: ids = [], metric_key: key } = message;
    if (ids.length === 0) throw invalid("GetMetricHistoryBulk request must specify at least one run_id.");
    if (ids.length > MAX_RUNS) {
      throw invalid(
        `GetMetricHistoryBulk request cannot specify more than ${MAX_RUNS} run_ids. Received ${ids.length} run_ids.`,
      );
    }
    if (!key) throw invalid("GetMetricHistoryBulk request must specify a metric_key.");
    const metrics = await store.metrics.bulk(ids, key, limitOf(message.max_results, 25_000, 25_000));
    return { metrics: metrics.map(ofRun) };
  });

  route(app, endpoints.getMetricSample, async (message) => {
    const { run_ids: ids = [] } = message;
    if (ids.length === 0) throw invalid("Missing value for required parameter 'run_ids'.");
    if (ids.length > MAX_RUNS) {
      throw invalid(
        `GetMetricHistoryBulkInterval request must specify at most ${MAX_RUNS} run_ids. Received ${ids.length} run_ids.`,
      );
    }
    const count = message.max_results === undefined ? 320 : int(message.max_results, "max_results");
    if (count < 1 || count > MAX_SAMPLE) throw invalid(`max_results must be between 1 and ${MAX_SAMPLE}.`);
    const start = message.start_step === undefined ? undefined : int(message.start_step, "start_step");
    const end = message.end_step === undefined ? undefined : int(message.end_step, "end_step");
    if ((start === undefined) !== (end === undefined)) {
      throw invalid("If either start step or end step are specified, both must be specified.");
    }
    if (start !== undefined && end !== undefined && start > end) {
      throw invalid(`end_step must be greater than start_step. Found start_step=${start} and end_step=${end}.`);
    }
    const range = { ...(start === undefined ? {} : { start }), ...(end === undefined ? {} : { end }), count };
    const groups = bool(message.each_run ?? false) ? ids.map((id) => [id]) : [ids];
    const metrics: RunMetric[] = [];
    for (const group of groups) metrics.push(...(await store.metrics.sample(group, message.metric_key, range)));
    return { metrics: metrics.map(ofRun) };
  });
}
