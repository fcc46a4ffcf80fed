import type { RegistryStore, Store } from "../../store/store.ts";
import type { Role } from "../../store/types.ts";
import { type Checks, narrowed, need } from "./checks.ts";

/** A function of the registry whose first argument names the model that it is about. */
const of =
  <A extends unknown[], R>(role: Role, work: (name: string, ...rest: A) => Promise<R>) =>
  async (name: string, ...rest: A): Promise<R> => {
    need(role, { model: name });
    return work(name, ...rest);
  };

export function protectRegistry(store: Store, { needRun, needModel, needSource, own }: Checks): RegistryStore {
  const { registry: all } = store;
  return {
    async createModel(model) {
      need("editor", "tracker");
      const created = await all.createModel(model);
      await own("model", created.name);
      return created;
    },
    getModel: of("viewer", all.getModel),
    searchModels: async (search) => all.searchModels(narrowed(search, "model", "name")),
    renameModel: of("admin", async (name, newName) => {
      need("editor", "tracker");
      return all.renameModel(name, newName);
    }),
    describeModel: of("editor", all.describeModel),
    deleteModel: of("admin", all.deleteModel),
    setModelTag: of("editor", all.setModelTag),
    deleteModelTag: of("editor", all.deleteModelTag),
    latestVersions: of("viewer", all.latestVersions),
    async createVersion(version) {
      need("editor", { model: version.name });
      if (version.runId !== null) await needRun("viewer", version.runId);
      if (version.modelId !== null) await needModel("viewer", version.modelId);
      // Readers of the model may read its files: whoever gives them must be able to.
      await needSource(version.source);
      return all.createVersion(version);
    },
    getVersion: of("viewer", all.getVersion),
    searchVersions: async (search) => all.searchVersions(narrowed(search, "model", "name")),
    describeVersion: of("editor", all.describeVersion),
    deleteVersion: of("editor", all.deleteVersion),
    setVersionTag: of("editor", all.setVersionTag),
    deleteVersionTag: of("editor", all.deleteVersionTag),
    async transition(transition) {
      need("editor", { model: transition.name });
      return all.transition(transition);
    },
    setAlias: of("editor", all.setAlias),
    deleteAlias: of("editor", all.deleteAlias),
    getByAlias: of("viewer", all.getByAlias),
    gates: of("viewer", all.gates),
    // Gates that whoever is to pass them can open are none.
    setGates: of("admin", all.setGates),
    history: of("viewer", all.history),
    statements: of("viewer", all.statements),
    setStatements: of("editor", all.setStatements),
  };
}
