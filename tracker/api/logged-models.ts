import { randomUUID } from "node:crypto";
import type { FastifyInstance } from "fastify";
import { invalid } from "../errors.ts";
import { bool, limitOf, nameOf, offsetOf, pageToken } from "../message.ts";
import { LOGGED_MODELS, parseFilter, parseOrder } from "../store/filter.ts";
import type { LoggedModelStatus } from "../store/types.ts";
import type { Tracker } from "../tracker.ts";
import { LOGGED_MODEL_STATUSES } from "./endpoints/fields.ts";
import * as endpoints from "./endpoints/logged-models.ts";
import { checkKey, checkName, otherTag, param } from "./limits.ts";
import { randomRunName } from "./names.ts";
import { route } from "./route.ts";
import * as shapes from "./shapes.ts";

const STATUS: ReadonlyMap<string, LoggedModelStatus> = new Map([
  ["LOGGED_MODEL_PENDING", "PENDING"],
  ["LOGGED_MODEL_READY", "READY"],
  ["LOGGED_MODEL_UPLOAD_FAILED", "UPLOAD_FAILED"],
]);

export function loggedModelRoutes(app: FastifyInstance, { store, locations }: Tracker): void {
  const { loggedModels } = store;

  route(app, endpoints.createLoggedModel, async (message) => {
    if (message.source_run_id) {
      const { experimentId } = await store.runs.get(message.source_run_id);
      if (experimentId !== message.experiment_id) {
        throw invalid(
          `Run ${message.source_run_id} is in experiment ${experimentId}: a logged model is in the experiment of its source run, not in ${message.experiment_id}.`,
        );
      }
    }
    locations.check((await store.experiments.get(message.experiment_id)).artifactLocation, "artifact_location");
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
    const offset = offsetOf(message.page_token);
    const limit = limitOf(message.max_results, 50, 1000);
    const order = (message.order_by ?? []).map(
      (by) => `${by.field_name} ${bool(by.ascending ?? true) ? "ASC" : "DESC"}`,
    );
    const { items, more } = await loggedModels.search({
      experimentIds: message.experiment_ids ?? [],
      filter: parseFilter(message.filter, LOGGED_MODELS),
      order: parseOrder(order, LOGGED_MODELS),
      offset,
      limit,
    });
    return shapes.page("models", items.map(shapes.loggedModel), more ? pageToken(offset + limit) : undefined);
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
