import { randomUUID } from "node:crypto";
import { Type } from "@sinclair/typebox";
import type { FastifyInstance } from "fastify";
import { invalid } from "../errors.ts";
import { Bool, bool, Int, limitOf, listOf, nameOf, offsetOf, oneOf, optional, pageToken, Text } from "../message.ts";
import { LOGGED_MODELS, parseFilter, parseOrder } from "../store/filter.ts";
import type { LoggedModelStatus } from "../store/types.ts";
import type { Tracker } from "../tracker.ts";
import { endpoint } from "./endpoint.ts";
import { Tag } from "./experiments.ts";
import { checkKey, checkName, otherTag, param } from "./limits.ts";
import { randomRunName } from "./names.ts";
import * as shapes from "./shapes.ts";

const STATUSES = [
  "LOGGED_MODEL_STATUS_UNSPECIFIED",
  "LOGGED_MODEL_PENDING",
  "LOGGED_MODEL_READY",
  "LOGGED_MODEL_UPLOAD_FAILED",
] as const;

const STATUS: ReadonlyMap<string, LoggedModelStatus> = new Map([
  ["LOGGED_MODEL_PENDING", "PENDING"],
  ["LOGGED_MODEL_READY", "READY"],
  ["LOGGED_MODEL_UPLOAD_FAILED", "UPLOAD_FAILED"],
]);

const ById = { model_id: Text };
const Param = Type.Object({ key: Text, value: optional(Text) });

export function loggedModelRoutes(app: FastifyInstance, { store }: Tracker): void {
  const { loggedModels } = store;

  endpoint(
    app,
    "POST",
    "/logged-models",
    Type.Object({
      experiment_id: Text,
      name: optional(Text),
      model_type: optional(Text),
      source_run_id: optional(Text),
      params: optional(listOf(Param)),
      tags: optional(listOf(Tag)),
    }),
    async (message) => {
      if (message.source_run_id) await store.runs.get(message.source_run_id);
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
    },
  );

  endpoint(
    app,
    "POST",
    "/logged-models/search",
    Type.Object({
      experiment_ids: optional(listOf(Text)),
      filter: optional(Text),
      max_results: optional(Int),
      order_by: optional(
        listOf(
          Type.Object({
            field_name: Text,
            ascending: optional(Bool),
            dataset_name: optional(Text),
            dataset_digest: optional(Text),
          }),
        ),
      ),
      page_token: optional(Text),
    }),
    async (message) => {
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
    },
  );

  endpoint(app, "GET", "/logged-models/:model_id", Type.Object(ById), async ({ model_id }) => ({
    model: shapes.loggedModel(await loggedModels.get(model_id)),
  }));

  endpoint(
    app,
    "PATCH",
    "/logged-models/:model_id",
    Type.Object({ ...ById, status: oneOf(STATUSES, 0), status_message: optional(Text) }),
    async (message) => {
      const status = STATUS.get(nameOf(STATUSES, message.status, 0));
      if (!status) throw invalid("Invalid status: expected LOGGED_MODEL_PENDING, _READY or _UPLOAD_FAILED.");
      return {
        model: shapes.loggedModel(
          await loggedModels.setStatus(message.model_id, status, message.status_message ?? null),
        ),
      };
    },
  );

  endpoint(app, "DELETE", "/logged-models/:model_id", Type.Object(ById), async ({ model_id }) => {
    await loggedModels.remove(model_id);
    return undefined;
  });

  endpoint(
    app,
    "PATCH",
    "/logged-models/:model_id/tags",
    Type.Object({ ...ById, tags: optional(listOf(Tag)) }),
    async ({ model_id, tags }) => ({
      model: shapes.loggedModel(await loggedModels.setTags(model_id, (tags ?? []).map(otherTag))),
    }),
  );

  endpoint(
    app,
    "DELETE",
    "/logged-models/:model_id/tags/:tag_key",
    Type.Object({ ...ById, tag_key: Text }),
    async ({ model_id, tag_key }) => {
      await loggedModels.deleteTag(model_id, checkKey(tag_key, "tag"));
      return undefined;
    },
  );

  endpoint(
    app,
    "POST",
    "/logged-models/:model_id/params",
    Type.Object({ ...ById, params: optional(listOf(Param)) }),
    async ({ model_id, params }) => {
      await loggedModels.addParams(model_id, (params ?? []).map(param));
      return undefined;
    },
  );
}
