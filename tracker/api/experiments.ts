import type { FastifyInstance } from "fastify";
import { currentPrincipal } from "../access/principal.ts";
import { invalid } from "../errors.ts";
import { limitOf, nameOf, startOf, tokenOf } from "../message.ts";
import { EXPERIMENTS, parseFilter, parseOrder } from "../store/filter.ts";
import type { Tracker } from "../tracker.ts";
import * as endpoints from "./endpoints/experiments.ts";
import { VIEWS } from "./endpoints/fields.ts";
import { checkKey, checkName, otherTag } from "./limits.ts";
import { route } from "./route.ts";
import * as shapes from "./shapes.ts";

const MAX_NAME = 500;
/** Experiments of one search for data sets. */
const MAX_EXPERIMENTS = 20;

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

  // Also a deleted one: MLflow's clients then say that it is deleted, instead of using the experiment Default.
  route(app, endpoints.getExperimentByName, async ({ experiment_name }) => ({
    experiment: shapes.experiment(await store.experiments.getByName(experiment_name)),
  }));

  route(app, endpoints.searchExperiments, async (message) => {
    const order = parseOrder(message.order_by, EXPERIMENTS);
    const limit = limitOf(message.max_results, 1000, 50_000);
    const { items, next } = await store.experiments.search({
      view: nameOf(VIEWS, message.view_type ?? "ACTIVE_ONLY"),
      filter: parseFilter(message.filter, EXPERIMENTS),
      order,
      ...startOf(message.page_token, order),
      limit,
    });
    return shapes.pageText("experiments", items, shapes.experiment, tokenOf(next, order));
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

  route(app, endpoints.setExperimentTag, async ({ experiment_id, ...tag }) => {
    await store.experiments.setTag(experiment_id, otherTag(tag));
    publish(experiment_id, "updated");
    return {};
  });

  route(app, endpoints.deleteExperimentTag, async ({ experiment_id, key }) => {
    await store.experiments.deleteTag(experiment_id, checkKey(key, "tag"));
    publish(experiment_id, "updated");
    return {};
  });

  route(app, endpoints.searchDatasets, async ({ experiment_ids = [] }) => {
    if (experiment_ids.length === 0) {
      throw invalid("SearchDatasets request must specify at least one experiment_id.");
    }
    if (experiment_ids.length > MAX_EXPERIMENTS) {
      throw invalid(
        `SearchDatasets request cannot specify more than ${MAX_EXPERIMENTS} experiment_ids. Received ${experiment_ids.length} experiment_ids.`,
      );
    }
    return {
      dataset_summaries: (await store.runs.datasets(experiment_ids)).map((it) => ({
        experiment_id: it.experimentId,
        name: it.name,
        digest: it.digest,
        context: it.context,
      })),
    };
  });
}
