import type { ExperimentStore, Store } from "../../store/store.ts";
import { currentPrincipal } from "../principal.ts";
import { type Checks, narrowed, need, seenExperiments, subjectOf } from "./checks.ts";

export function protectExperiments(store: Store, { own }: Checks): ExperimentStore {
  return {
    async create(experiment) {
      need("editor", "tracker");
      // Files of another experiment would be readable through a run that claims their place.
      const place = /^mlflow-artifacts:\/*(.*)$/.exec(experiment.artifactLocation ?? "")?.[1];
      if (place !== undefined) need("editor", subjectOf(place));
      const created = await store.experiments.create(experiment);
      await own("experiment", created.id);
      return created;
    },
    async get(id) {
      need("viewer", { experiment: id });
      return store.experiments.get(id);
    },
    async getByName(name) {
      const found = await store.experiments.getByName(name);
      need("viewer", { experiment: found.id });
      return found;
    },
    search: async (search) => store.experiments.search(narrowed(search, "experiment", "experiment_id")),
    async rename(id, name) {
      need("editor", { experiment: id });
      await store.experiments.rename(id, name);
    },
    async setLifecycle(id, lifecycle) {
      need("editor", { experiment: id });
      await store.experiments.setLifecycle(id, lifecycle);
    },
    async setTag(id, tag) {
      need("editor", { experiment: id });
      await store.experiments.setTag(id, tag);
    },
    async deleteTag(id, key) {
      need("editor", { experiment: id });
      await store.experiments.deleteTag(id, key);
    },
    async runCounts() {
      const principal = currentPrincipal();
      const counts = await store.experiments.runCounts();
      return new Map([...counts].filter(([experiment]) => principal.may("viewer", { experiment })));
    },
    keys: async (ids) => store.experiments.keys(seenExperiments(ids)),
  };
}
