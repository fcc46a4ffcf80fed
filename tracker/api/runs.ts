import type { FastifyInstance } from "fastify";
import { currentPrincipal } from "../access/principal.ts";
import { checkDatasetSource } from "../artifacts/locations.ts";
import { invalid } from "../errors.ts";
import { listIn, parseJson } from "../json.ts";
import { int, limitOf, nameOf, startOf, tokenOf } from "../message.ts";
import { parseFilter, parseOrder, RUNS } from "../store/filter.ts";
import type { Metric, ModelMetric, Run } from "../store/types.ts";
import type { Tracker } from "../tracker.ts";
import type { RequestOf } from "./endpoints/endpoint.ts";
import { RUN_STATUSES, VIEWS } from "./endpoints/fields.ts";
import * as endpoints from "./endpoints/runs.ts";
import { checkLocationOf } from "./experiment-location.ts";
import { checkKey, checkName, param, runTag } from "./limits.ts";
import { randomRunName } from "./names.ts";
import { route } from "./route.ts";
import * as shapes from "./shapes.ts";

/** MLflow's limits for a batch. */
const MAX_BATCH = { metrics: 1000, params: 100, tags: 100, total: 1000, bytes: 1_048_576 };

/** Runs of one response: some 16 MB of text. */
const MAX_RUNS = 10_000;

/** Bytes of a request with data sets, which have schemas and profiles. */
const MAX_INPUTS = 4 * 1024 * 1024;

/** Returns the id of the request's run, which old clients send as run_uuid. */
export function runIdOf(message: { run_id?: string; run_uuid?: string }): string {
  const id = message.run_id || message.run_uuid;
  if (!id) throw invalid("Missing value for required parameter 'run_id'.");
  return id;
}

function toPoint(
  it: Omit<RequestOf<typeof endpoints.logMetric>, "run_id" | "run_uuid">,
): Metric & Partial<ModelMetric> {
  const point = {
    key: checkKey(it.key, "metric"),
    value: Number(it.value),
    timestamp: int(it.timestamp, "timestamp"),
    step: it.step === undefined ? 0 : int(it.step, "step"),
  };
  if (!it.model_id) return point;
  return {
    ...point,
    modelId: it.model_id,
    datasetName: it.dataset_name ?? null,
    datasetDigest: it.dataset_digest ?? null,
  };
}

export function runRoutes(app: FastifyInstance, tracker: Tracker): void {
  const { store, locations, events } = tracker;
  /** Experiments whose location is allowed. It never changes. */
  const allowed = new Set<string>();
  const changed = (run: Run, change: "created" | "updated" | "deleted"): void =>
    events.publish({ type: "run", experimentId: run.experimentId, runId: run.id, change });
  const measured = (run: Run, keys: Iterable<string>): void =>
    events.publish({ type: "metrics", experimentId: run.experimentId, runId: run.id, keys: [...new Set(keys)] });

  route(app, endpoints.createRun, async (message) => {
    const tags = (message.tags ?? []).map(runTag);
    const tagged = (key: string): string | undefined => tags.find((tag) => tag.key === key)?.value || undefined;
    const nameTag = tagged("mlflow.runName");
    if (message.run_name && nameTag && message.run_name !== nameTag) {
      throw invalid(
        `Both 'run_name' argument ('${message.run_name}') and 'mlflow.runName' tag ('${nameTag}') are specified, but with different values.`,
      );
    }
    const clientId = tagged("anneal.client_id");
    const experimentId = message.experiment_id || "0";
    // Before what is known of the experiment, so that the answer does not tell whether it exists.
    currentPrincipal().need("editor", { experiment: experimentId });
    if (!allowed.has(experimentId)) {
      // An experiment may be older than the list of allowed locations.
      await checkLocationOf(experimentId, { store, locations });
      allowed.add(experimentId);
    }
    const { data, created } = await store.runs.create({
      experimentId,
      name: message.run_name || nameTag || randomRunName(),
      userId: message.user_id || tagged("mlflow.user") || currentPrincipal().name,
      startTime: message.start_time === undefined ? Date.now() : int(message.start_time, "start_time"),
      tags,
      ...(clientId === undefined ? {} : { clientId }),
    });
    if (created) changed(data.run, "created");
    return { run: shapes.run(data) };
  });

  route(app, endpoints.getRun, async (message) => {
    const id = runIdOf(message);
    const data = await store.runs.getData(id);
    return { run: shapes.run(data, (await store.runs.inputs([id])).get(id)) };
  });

  route(app, endpoints.updateRun, async (message) => {
    const run = await store.runs.update(runIdOf(message), {
      ...(message.status === undefined ? {} : { status: nameOf(RUN_STATUSES, message.status) }),
      ...(message.end_time === undefined ? {} : { endTime: int(message.end_time, "end_time") }),
      ...(message.run_name ? { name: checkName(message.run_name, "run", 8000) } : {}),
    });
    changed(run, "updated");
    return { run_info: shapes.runInfo(run) };
  });

  route(app, endpoints.deleteRun, async (message) => {
    changed(await store.runs.setLifecycle(runIdOf(message), "deleted"), "deleted");
    return {};
  });

  route(app, endpoints.restoreRun, async (message) => {
    changed(await store.runs.setLifecycle(runIdOf(message), "active"), "created");
    return {};
  });

  route(app, endpoints.searchRuns, async (message) => {
    const order = parseOrder(message.order_by, RUNS);
    // As MLflow's server, this one accepts 50 000. It answers with fewer and a token for the rest.
    const limit = Math.min(limitOf(message.max_results, 1000, 50_000), MAX_RUNS);
    const { items, next } = await store.runs.search({
      experimentIds: message.experiment_ids ?? [],
      view: nameOf(VIEWS, message.run_view_type ?? "ACTIVE_ONLY"),
      filter: parseFilter(message.filter, RUNS),
      order,
      ...startOf(message.page_token, order),
      limit,
    });
    const inputs = await store.runs.inputs(items.map(({ run }) => run.id));
    return shapes.pageText("runs", items, (data) => shapes.run(data, inputs.get(data.run.id)), tokenOf(next, order));
  });

  route(app, endpoints.logMetric, async (message) => {
    const point = toPoint(message);
    measured(await store.runs.log(runIdOf(message), { metrics: [point], params: [], tags: [] }), [point.key]);
    return {};
  });

  route(app, endpoints.logParameter, async (it) => {
    changed(await store.runs.log(runIdOf(it), { metrics: [], params: [param(it)], tags: [] }), "updated");
    return {};
  });

  route(
    app,
    endpoints.logBatch,
    async (message) => {
      const { metrics = [], params = [], tags = [] } = message;
      const refuse = (name: string, count: number, limit: number): void => {
        if (count > limit)
          throw invalid(
            `A batch logging request can contain at most ${limit} ${name}. Got ${count} ${name}: send several requests.`,
          );
      };
      refuse("metrics", metrics.length, MAX_BATCH.metrics);
      refuse("params", params.length, MAX_BATCH.params);
      refuse("tags", tags.length, MAX_BATCH.tags);
      refuse("metrics, params and tags", metrics.length + params.length + tags.length, MAX_BATCH.total);
      const run = await store.runs.log(runIdOf(message), {
        metrics: metrics.map(toPoint),
        params: params.map(param),
        tags: tags.map(runTag),
      });
      if (params.length + tags.length > 0) changed(run, "updated");
      if (metrics.length > 0)
        measured(
          run,
          metrics.map(({ key }) => key),
        );
      return {};
    },
    { bodyLimit: MAX_BATCH.bytes },
  );

  route(app, endpoints.setRunTag, async (message) => {
    changed(await store.runs.log(runIdOf(message), { metrics: [], params: [], tags: [runTag(message)] }), "updated");
    return {};
  });

  route(app, endpoints.deleteRunTag, async (message) => {
    changed(await store.runs.deleteTag(runIdOf(message), checkKey(message.key, "tag")), "updated");
    return {};
  });

  route(
    app,
    endpoints.logInputs,
    async (message) => {
      const run = await store.runs.logInputs(runIdOf(message), {
        datasets: (message.datasets ?? []).map(({ dataset, tags }) => ({
          tags: (tags ?? []).map(({ key, value }) => ({ key: checkName(key, "input tag", 255), value: value ?? "" })),
          dataset: {
            name: checkName(dataset.name, "dataset", 500),
            digest: checkName(dataset.digest, "dataset digest", 36),
            sourceType: dataset.source_type ?? "",
            source: checkDatasetSource(dataset.source ?? ""),
            schema: dataset.schema ?? null,
            profile: dataset.profile ?? null,
          },
        })),
        models: (message.models ?? []).map(({ model_id }) => ({ modelId: model_id })),
      });
      changed(run, "updated");
      return {};
    },
    { bodyLimit: MAX_INPUTS },
  );

  route(app, endpoints.logOutputs, async (message) => {
    const run = await store.runs.logOutputs(
      runIdOf(message),
      (message.models ?? []).map(({ model_id, step }) => ({ modelId: model_id, step: int(step ?? 0, "step") })),
    );
    changed(run, "updated");
    return {};
  });

  route(app, endpoints.logModel, async (message) => {
    // Clients older than MLflow 3 store their logged models as a list in one tag.
    const id = runIdOf(message);
    const model = parseJson(message.model_json, "The model's info");
    const key = "mlflow.log-model.history";
    const { tags } = await store.runs.getData(id);
    const models = [...listIn(tags.find((tag) => tag.key === key)?.value), model];
    // Tags are truncated, which would break the JSON, so the oldest entries are removed.
    while (models.length > 1 && JSON.stringify(models).length > 8000) models.shift();
    const value = JSON.stringify(models);
    changed(await store.runs.log(id, { metrics: [], params: [], tags: [{ key, value }] }), "updated");
    return {};
  });
}
