import type { LoggedModelStore, Store } from "../../store/store.ts";
import { type Checks, need, seenExperiments } from "./checks.ts";

export function protectLoggedModels(store: Store, { needModel }: Checks): LoggedModelStore {
  return {
    async create(model) {
      need("editor", { experiment: model.experimentId });
      return store.loggedModels.create(model);
    },
    async get(id) {
      await needModel("viewer", id);
      return store.loggedModels.get(id);
    },
    search: async (search) =>
      store.loggedModels.search({ ...search, experimentIds: seenExperiments(search.experimentIds) }),
    async setStatus(id, status, message) {
      await needModel("editor", id);
      return store.loggedModels.setStatus(id, status, message);
    },
    async remove(id) {
      await needModel("editor", id);
      await store.loggedModels.remove(id);
    },
    async setTags(id, tags) {
      await needModel("editor", id);
      return store.loggedModels.setTags(id, tags);
    },
    async deleteTag(id, key) {
      await needModel("editor", id);
      await store.loggedModels.deleteTag(id, key);
    },
    async addParams(id, params) {
      await needModel("editor", id);
      await store.loggedModels.addParams(id, params);
    },
  };
}
