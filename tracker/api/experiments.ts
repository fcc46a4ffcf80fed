import { Type } from "@sinclair/typebox";
import type { FastifyInstance } from "fastify";
import { missing } from "../errors.ts";
import { Int, limitOf, listOf, nameOf, offsetOf, oneOf, optional, pageToken, Text } from "../message.ts";
import { EXPERIMENTS, parseFilter, parseOrder } from "../store/filter.ts";
import type { ViewType } from "../store/types.ts";
import type { Tracker } from "../tracker.ts";
import { endpoint } from "./endpoint.ts";
import { checkKey, checkName, otherTag } from "./limits.ts";
import * as shapes from "./shapes.ts";

export const Tag = Type.Object({ key: Text, value: optional(Text) });
export const VIEWS = ["ACTIVE_ONLY", "DELETED_ONLY", "ALL"] as const satisfies readonly ViewType[];
export const View = oneOf(VIEWS);

const MAX_NAME = 500;

export function experimentRoutes(app: FastifyInstance, { store, events }: Tracker): void {
  const ById = Type.Object({ experiment_id: Text });
  const changed = (experimentId: string, change: "created" | "updated" | "deleted"): void =>
    events.publish({ type: "experiment", experimentId, change });

  endpoint(
    app,
    "POST",
    "/experiments/create",
    Type.Object({ name: Text, artifact_location: optional(Text), tags: optional(listOf(Tag)) }),
    async ({ name, artifact_location, tags }) => {
      const experiment = await store.experiments.create({
        name: checkName(name, "experiment", MAX_NAME),
        tags: (tags ?? []).map(otherTag),
        ...(artifact_location ? { artifactLocation: artifact_location } : {}),
      });
      changed(experiment.id, "created");
      return { experiment_id: experiment.id };
    },
  );

  endpoint(app, "GET", "/experiments/get", ById, async ({ experiment_id }) => ({
    experiment: shapes.experiment(await store.experiments.get(experiment_id)),
  }));

  endpoint(app, "GET", "/experiments/get-by-name", Type.Object({ experiment_name: Text }), async (message) => {
    const experiment = await store.experiments.getByName(message.experiment_name);
    // A client that was told of a deleted one could not make runs in it, and would not know why.
    if (experiment.lifecycle === "deleted") throw missing(`Experiment '${message.experiment_name}' is deleted.`);
    return { experiment: shapes.experiment(experiment) };
  });

  const Search = Type.Object({
    view_type: optional(View),
    max_results: optional(Int),
    page_token: optional(Text),
    filter: optional(Text),
    order_by: optional(listOf(Text)),
  });
  for (const path of ["/experiments/search", "/experiments/list"]) {
    endpoint(app, ["GET", "POST"], path, Search, async (message) => {
      const offset = offsetOf(message.page_token);
      const limit = limitOf(message.max_results, 1000, 50_000);
      const { items, more } = await store.experiments.search({
        view: nameOf(VIEWS, message.view_type ?? "ACTIVE_ONLY"),
        filter: parseFilter(message.filter, EXPERIMENTS),
        order: parseOrder(message.order_by, EXPERIMENTS),
        offset,
        limit,
      });
      return shapes.page("experiments", items.map(shapes.experiment), more ? pageToken(offset + limit) : undefined);
    });
  }

  endpoint(
    app,
    "POST",
    "/experiments/update",
    Type.Object({ experiment_id: Text, new_name: optional(Text) }),
    async ({ experiment_id, new_name }) => {
      if (new_name === undefined) return undefined;
      await store.experiments.rename(experiment_id, checkName(new_name, "experiment", MAX_NAME));
      changed(experiment_id, "updated");
      return undefined;
    },
  );

  endpoint(app, "POST", "/experiments/delete", ById, async ({ experiment_id }) => {
    await store.experiments.setLifecycle(experiment_id, "deleted");
    changed(experiment_id, "deleted");
    return undefined;
  });

  endpoint(app, "POST", "/experiments/restore", ById, async ({ experiment_id }) => {
    await store.experiments.setLifecycle(experiment_id, "active");
    changed(experiment_id, "created");
    return undefined;
  });

  endpoint(
    app,
    "POST",
    "/experiments/set-experiment-tag",
    Type.Object({ experiment_id: Text, key: Text, value: Text }),
    async ({ experiment_id, key, value }) => {
      await store.experiments.setTag(experiment_id, otherTag({ key, value }));
      changed(experiment_id, "updated");
      return undefined;
    },
  );

  endpoint(
    app,
    "POST",
    "/experiments/delete-experiment-tag",
    Type.Object({ experiment_id: Text, key: Text }),
    async ({ experiment_id, key }) => {
      await store.experiments.deleteTag(experiment_id, checkKey(key, "tag"));
      changed(experiment_id, "updated");
      return undefined;
    },
  );
}
