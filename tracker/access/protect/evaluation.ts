import type { EvaluationDatasetStore, ScorerStore, Store } from "../../store/store.ts";
import type { Role } from "../../store/types.ts";
import { currentPrincipal } from "../principal.ts";
import { checking, need, seenExperiments } from "./checks.ts";

/**
 * A data set may be of several experiments. Who may view one of them may view it; only who may change all of them may change
 * it. Without an experiment, it is the tracker's.
 */
export function protectEvaluationDatasets({ evaluationDatasets: all }: Store): EvaluationDatasetStore {
  const needAll = (role: Role, experimentIds: readonly string[]): void => {
    if (experimentIds.length === 0) need(role, "tracker");
    for (const experiment of experimentIds) need(role, { experiment });
  };
  const viewer = checking(async (id: string) => {
    const principal = currentPrincipal();
    if (principal.mayAll("viewer")) return;
    const { experimentIds } = await all.get(id);
    if (!experimentIds.some((experiment) => principal.may("viewer", { experiment }))) needAll("viewer", experimentIds);
  });
  const editor = checking(async (id: string) => {
    if (!currentPrincipal().mayAll("editor")) needAll("editor", (await all.get(id)).experimentIds);
  });
  return {
    async create(dataset) {
      needAll("editor", dataset.experimentIds);
      return all.create(dataset);
    },
    get: viewer(all.get),
    async search({ experimentIds, ...search }) {
      if (experimentIds) return all.search({ ...search, experimentIds: seenExperiments(experimentIds) });
      const { all: most, but } = currentPrincipal().visible("experiment");
      return all.search({ ...search, ...(most ? { except: but } : { experimentIds: but }) });
    },
    remove: editor(all.remove),
    setTags: editor(all.setTags),
    deleteTag: editor(all.deleteTag),
    addExperiments: editor(async (id, experimentIds, who) => {
      for (const experiment of experimentIds) need("editor", { experiment });
      return all.addExperiments(id, experimentIds, who);
    }),
    removeExperiments: editor(all.removeExperiments),
    upsert: editor(all.upsert),
    records: viewer(all.records),
    removeRecords: editor(all.removeRecords),
  };
}

export function protectScorers({ scorers: all }: Store): ScorerStore {
  const viewer = checking((experiment: string) => need("viewer", { experiment }));
  const editor = checking((experiment: string) => need("editor", { experiment }));
  return {
    async register(scorer) {
      need("editor", { experiment: scorer.experimentId });
      return all.register(scorer);
    },
    list: viewer(all.list),
    versions: viewer(all.versions),
    get: viewer(all.get),
    remove: editor(all.remove),
  };
}
