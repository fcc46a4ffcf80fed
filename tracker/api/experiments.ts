import type { FastifyInstance } from "fastify";
import { currentPrincipal } from "../access/principal.ts";
import { missing } from "../errors.ts";
import { limitOf, nameOf, offsetOf, pageToken } from "../message.ts";
import { EXPERIMENTS, parseFilter, parseOrder } from "../store/filter.ts";
import type { Tracker } from "../tracker.ts";
import * as endpoints from "./endpoints/experiments.ts";
import { VIEWS } from "./endpoints/fields.ts";
import { checkKey, checkName, otherTag } from "./limits.ts";
import { route } from "./route.ts";
import * as shapes from "./shapes.ts";

const MAX_NAME = 500;

export function experimentRoutes(app: FastifyInstance, { store, locations, events }: Tracker): void {
  const publish = (experimentId: string, change: "created" | "updated" | "deleted"): void =>
    events.publish({ type: "experiment", experimentId, change });

  route(app, endpoints.createExperiment, async ({ name, artifact_location, tags }) => {
    const experiment = await store.experiments.create({
      name: checkName(name, "experiment", MAX_NAME),
      tags: (tags ?? []).map(otherTag),
      ...(artifact_location ? { artifactLocation: locations.check(artifact_location, "artifact_location") } : {}),
    });
    publish(experiment.id, "created");
    return { experiment_id: experiment.id };
  });

  route(app, endpoints.getExperiment, async ({ experiment_id }) => ({
    experiment: shapes.experiment(await store.experiments.get(experiment_id)),
  }));

  route(app, endpoints.getExperimentByName, async (message) => {
    const experiment = await store.experiments.getByName(message.experiment_name);
    // A client could not create runs in a deleted experiment, so the error says that it is deleted.
    if (experiment.lifecycle === "deleted") throw missing(`Experiment '${message.experiment_name}' is deleted.`);
    return { experiment: shapes.experiment(experiment) };
  });

  route(app, endpoints.searchExperiments, async (message) => {
    const offset = offsetOf(message.page_token);
    const limit = limitOf(message.max_results, 1000, 50_000);
    const { items, more } = await store.experiments.search({
      view: nameOf(VIEWS, message.view_type ?? "ACTIVE_ONLY"),
      filter: parseFilter(message.filter, EXPERIMENTS),
      order: parseOrder(message.order_by, EXPERIMENTS),
      offset,
      limit,
    });
    return shapes.pageText("experiments", items, shapes.experiment, more ? pageToken(offset + limit) : undefined);
  });

  route(app, endpoints.updateExperiment, async ({ experiment_id, new_name }) => {
    if (new_name === undefined) {
      await store.experiments.get(experiment_id);
      currentPrincipal().need("editor", { experiment: experiment_id });
      return {};
    }
    await store.experiments.rename(experiment_id, checkName(new_name, "experiment", MAX_NAME));
    publish(experiment_id, "updated");
    return {};
  });

  route(app, endpoints.deleteExperiment, async ({ experiment_id }) => {
    await store.experiments.setLifecycle(experiment_id, "deleted");
    publish(experiment_id, "deleted");
    return {};
  });

  route(app, endpoints.restoreExperiment, async ({ experiment_id }) => {
    await store.experiments.setLifecycle(experiment_id, "active");
    publish(experiment_id, "created");
    return {};
  });

  route(app, endpoints.setExperimentTag, async ({ experiment_id, key, value }) => {
    await store.experiments.setTag(experiment_id, otherTag({ key, value }));
    publish(experiment_id, "updated");
    return {};
  });

  route(app, endpoints.deleteExperimentTag, async ({ experiment_id, key }) => {
    await store.experiments.deleteTag(experiment_id, checkKey(key, "tag"));
    publish(experiment_id, "updated");
    return {};
  });

  route(app, endpoints.searchDatasets, async ({ experiment_ids }) => ({
    dataset_summaries: (await store.runs.datasets(experiment_ids ?? [])).map((it) => ({
      experiment_id: it.experimentId,
      name: it.name,
      digest: it.digest,
      context: it.context,
    })),
  }));
}
