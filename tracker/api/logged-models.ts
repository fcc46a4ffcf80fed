import { randomUUID } from "node:crypto";
import type { FastifyInstance } from "fastify";
import { invalid } from "../errors.ts";
import { bool, limitOf, nameOf, startOf, tokenOf } from "../message.ts";
import { orNull } from "../registry/origin.ts";
import {
  type Clause,
  type DatasetName,
  LOGGED_MODELS,
  type OrderClause,
  parseFilter,
  parseOrder,
} from "../store/filter.ts";
import type { LoggedModelStatus } from "../store/types.ts";
import type { Tracker } from "../tracker.ts";
import { LOGGED_MODEL_STATUSES } from "./endpoints/fields.ts";
import * as endpoints from "./endpoints/logged-models.ts";
import { checkLocationOf } from "./experiment-location.ts";
import { checkKey, checkName, otherTag, param } from "./limits.ts";
import { randomRunName } from "./names.ts";
import { route } from "./route.ts";
import * as shapes from "./shapes.ts";

const STATUS: ReadonlyMap<string, LoggedModelStatus> = new Map([
  ["LOGGED_MODEL_PENDING", "PENDING"],
  ["LOGGED_MODEL_READY", "READY"],
  ["LOGGED_MODEL_UPLOAD_FAILED", "UPLOAD_FAILED"],
]);

/** Data sets of one search. */
const MAX_DATASETS = 50;

const datasetOf = (name: string, digest: string | undefined): DatasetName => ({
  name,
  ...(digest ? { digest } : {}),
});

export function loggedModelRoutes(app: FastifyInstance, { store, locations }: Tracker): void {
  const { loggedModels } = store;

  route(app, endpoints.createLoggedModel, async (message) => {
    if (message.source_run_id) {
      // A run that does not exist here may be one of another tracking server.
      const run = await orNull(store.runs.get(message.source_run_id));
      if (run && run.experimentId !== message.experiment_id) {
        throw invalid(
          `Run ${message.source_run_id} is in experiment ${run.experimentId}: a logged model is in the experiment of its source run, not in ${message.experiment_id}.`,
        );
      }
    }
    await checkLocationOf(message.experiment_id, { store, locations });
    const model = await loggedModels.create({
      id: `m-${randomUUID().replaceAll("-", "")}`,
      experimentId: message.experiment_id,
      name: message.name ? checkName(message.name, "logged model", 500) : randomRunName(),
      modelType: message.model_type ?? null,
      sourceRunId: message.source_run_id || null,
      tags: (message.tags ?? []).map(otherTag),
      params: (message.params ?? []).map(param),
    });
    return { model: shapes.loggedModel(model) };
  });

  route(app, endpoints.searchLoggedModels, async (message) => {
    const limit = limitOf(message.max_results, 50, 1000);
    const datasets = (message.datasets ?? []).map(({ dataset_name, dataset_digest }) =>
      datasetOf(dataset_name, dataset_digest),
    );
    if (datasets.length > MAX_DATASETS) {
      throw invalid(`Too many data sets: ${datasets.length} requested, at most ${MAX_DATASETS} are allowed.`);
    }
    const written = message.order_by ?? [];
    const order = parseOrder(
      written.map((by) => `${by.field_name} ${bool(by.ascending ?? true) ? "ASC" : "DESC"}`),
      LOGGED_MODELS,
    ).map((clause, index): OrderClause => {
      const { dataset_name, dataset_digest } = written[index] ?? {};
      if (dataset_name === undefined) return clause;
      if (clause.entity !== "metric") throw invalid(`Only a metric can be of a data set, not ${clause.key}.`);
      return { ...clause, datasets: [datasetOf(dataset_name, dataset_digest)] };
    });
    const { items, next } = await loggedModels.search({
      experimentIds: message.experiment_ids ?? [],
      datasets,
      filter: parseFilter(message.filter, LOGGED_MODELS).map(
        (clause): Clause => (clause.entity === "metric" && datasets.length > 0 ? { ...clause, datasets } : clause),
      ),
      order,
      ...startOf(message.page_token, order),
      limit,
    });
    return shapes.page("models", items.map(shapes.loggedModel), tokenOf(next, order));
  });

  route(app, endpoints.getLoggedModel, async ({ model_id }) => ({
    model: shapes.loggedModel(await loggedModels.get(model_id)),
  }));

  route(app, endpoints.finishLoggedModel, async (message) => {
    const status = STATUS.get(nameOf(LOGGED_MODEL_STATUSES, message.status, 0));
    if (!status) throw invalid("Invalid status: expected LOGGED_MODEL_PENDING, _READY or _UPLOAD_FAILED.");
    return {
      model: shapes.loggedModel(await loggedModels.setStatus(message.model_id, status, message.status_message ?? null)),
    };
  });

  route(app, endpoints.deleteLoggedModel, async ({ model_id }) => {
    await loggedModels.remove(model_id);
    return {};
  });

  route(app, endpoints.setLoggedModelTags, async ({ model_id, tags }) => ({
    model: shapes.loggedModel(await loggedModels.setTags(model_id, (tags ?? []).map(otherTag))),
  }));

  route(app, endpoints.deleteLoggedModelTag, async ({ model_id, tag_key }) => {
    await loggedModels.deleteTag(model_id, checkKey(tag_key, "tag"));
    return {};
  });

  route(app, endpoints.addLoggedModelParams, async ({ model_id, params }) => {
    await loggedModels.addParams(model_id, (params ?? []).map(param));
    return {};
  });
}
