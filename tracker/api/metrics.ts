import { Type } from "@sinclair/typebox";
import type { FastifyInstance } from "fastify";
import { invalid } from "../errors.ts";
import type { RunMetric } from "../store/types.ts";
import type { Tracker } from "../tracker.ts";
import { endpoint, Int, int, limitOf, listOf, offsetOf, optional, pageToken, Text } from "./message.ts";
import { runIdOf } from "./runs.ts";
import * as shapes from "./shapes.ts";

const MAX_RUNS = 100;

export function metricRoutes(app: FastifyInstance, { store }: Tracker): void {
  const ofRun = (it: RunMetric) => ({ ...shapes.metric(it), run_id: it.runId });
  const checkRuns = (ids: string[]): string[] => {
    if (ids.length === 0) throw invalid("Missing value for required parameter 'run_ids'.");
    if (ids.length > MAX_RUNS)
      throw invalid(`${ids.length} runs were asked for; at most ${MAX_RUNS} at once are answered.`);
    return ids;
  };

  endpoint(
    app,
    "GET",
    "/metrics/get-history",
    Type.Object({
      run_id: optional(Text),
      run_uuid: optional(Text),
      metric_key: Text,
      max_results: optional(Int),
      page_token: optional(Text),
    }),
    async (message) => {
      const run = await store.runs.get(runIdOf(message));
      const offset = offsetOf(message.page_token);
      const limit = limitOf(message.max_results, 25_000, 25_000);
      const { items, more } = await store.metrics.history(run.id, message.metric_key, { offset, limit });
      return shapes.page("metrics", items.map(shapes.metric), more ? pageToken(offset + limit) : undefined);
    },
  );

  endpoint(
    app,
    "GET",
    "/metrics/get-history-bulk",
    Type.Object({ run_id: optional(listOf(Text)), metric_key: Text, max_results: optional(Int) }),
    async (message) => {
      const limit = limitOf(message.max_results, 25_000, 25_000);
      const metrics = await store.metrics.bulk(checkRuns(message.run_id ?? []), message.metric_key, limit);
      return { metrics: metrics.map(ofRun) };
    },
  );

  endpoint(
    app,
    "GET",
    "/metrics/get-history-bulk-interval",
    Type.Object({
      run_ids: optional(listOf(Text)),
      metric_key: Text,
      start_step: optional(Int),
      end_step: optional(Int),
      max_results: optional(Int),
    }),
    async (message) => {
      const start = message.start_step === undefined ? undefined : int(message.start_step, "start_step");
      const end = message.end_step === undefined ? undefined : int(message.end_step, "end_step");
      if ((start === undefined) !== (end === undefined)) {
        throw invalid("start_step and end_step must be given both, or neither.");
      }
      if (start !== undefined && end !== undefined && start > end) {
        throw invalid(`end_step (${end}) must not be below start_step (${start}).`);
      }
      const metrics = await store.metrics.sample(checkRuns(message.run_ids ?? []), message.metric_key, {
        ...(start === undefined ? {} : { start }),
        ...(end === undefined ? {} : { end }),
        count: limitOf(message.max_results, 320, 2500),
      });
      return { metrics: metrics.map(ofRun) };
    },
  );
}
