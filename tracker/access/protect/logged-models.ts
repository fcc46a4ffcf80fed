import type { LoggedModelStore, Store } from "../../store/store.ts";
import { type Checks, checking, need, seenExperiments, unlessMissing } from "./checks.ts";

export function protectLoggedModels({ loggedModels: all, runs }: Store, { needModel }: Checks): LoggedModelStore {
  const editor = checking((id: string) => needModel("editor", id));
  return {
    async create(model) {
      need("editor", { experiment: model.experimentId });
      // The model counts as made by this run, and is judged by its metrics. An unknown run is only a name.
      const run = model.sourceRunId === null ? undefined : await runs.get(model.sourceRunId).catch(unlessMissing);
      if (run) need("editor", { experiment: run.experimentId });
      return all.create(model);
    },
    get: checking((id: string) => needModel("viewer", id))(all.get),
    search: async (search) => all.search({ ...search, experimentIds: seenExperiments(search.experimentIds) }),
    setStatus: editor(all.setStatus),
    remove: editor(all.remove),
    setTags: editor(all.setTags),
    deleteTag: editor(all.deleteTag),
    addParams: editor(all.addParams),
  };
}
