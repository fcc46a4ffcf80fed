import { pathOf } from "../../artifacts/locations.ts";
import type { ExperimentStore, Store } from "../../store/store.ts";
import { currentPrincipal } from "../principal.ts";
import { type Checks, checking, folderCheck, narrowed, need, seenExperiments } from "./checks.ts";

const editor = checking((experiment: string) => need("editor", { experiment }));

export function protectExperiments({ experiments: all }: Store, { own }: Checks): ExperimentStore {
  const needFolder = folderCheck(all);
  return {
    async create(experiment) {
      need("editor", "tracker");
      // Otherwise an experiment could use another's folder and make its files readable.
      const place = pathOf(experiment.artifactLocation ?? "");
      if (place !== undefined) await needFolder(place);
      const created = await all.create(experiment);
      await own("experiment", created.id);
      return created;
    },
    get: checking((experiment: string) => need("viewer", { experiment }))(all.get),
    async getByName(name) {
      const experiment = await all.getByName(name);
      need("viewer", { experiment: experiment.id });
      return experiment;
    },
    search: async (search) => all.search(narrowed(search, "experiment", "experiment_id")),
    rename: editor(all.rename),
    setLifecycle: editor(all.setLifecycle),
    setTag: editor(all.setTag),
    deleteTag: editor(all.deleteTag),
    async runCounts() {
      const principal = currentPrincipal();
      const counts = await all.runCounts();
      return new Map([...counts].filter(([experiment]) => principal.may("viewer", { experiment })));
    },
    keys: async (ids) => all.keys(seenExperiments(ids)),
  };
}
