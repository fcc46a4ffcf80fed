import { Type } from "@sinclair/typebox";
import { endpoint, viewExperiment } from "./endpoint.ts";
import { Bool, Int, listOf, optional, PAGE, RUN, Text } from "./fields.ts";
import { Metric, object, pageOf, RunMetric } from "./schemas.ts";

export const getMetricHistory = endpoint({
  method: "GET",
  path: "/api/2.0/mlflow/metrics/get-history",
  summary: "All points of a metric, in pages.",
  request: Type.Object({ ...RUN, metric_key: Text, ...PAGE }),
  answer: pageOf("metrics", Metric),
  right: viewExperiment,
});

export const getMetricHistoryBulk = endpoint({
  method: "GET",
  path: "/api/2.0/mlflow/metrics/get-history-bulk",
  summary: "The points of a metric of several runs.",
  request: Type.Object({ run_id: optional(listOf(Text)), metric_key: optional(Text), max_results: optional(Int) }),
  answer: object({ metrics: listOf(RunMetric) }),
  right: viewExperiment,
});

export const getMetricSample = endpoint({
  method: "GET",
  path: "/api/2.0/mlflow/metrics/get-history-bulk-interval",
  summary: "A sample of a metric's points of several runs, for a chart.",
  request: Type.Object({
    run_ids: optional(listOf(Text)),
    metric_key: Text,
    start_step: optional(Int),
    end_step: optional(Int),
    max_results: optional(Int),
    /** Chooses the steps of each run by itself, instead of steps of all runs together as MLflow does. */
    each_run: optional(Bool),
  }),
  answer: object({ metrics: listOf(RunMetric) }),
  right: viewExperiment,
});
