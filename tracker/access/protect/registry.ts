import type { RegistryStore, Store } from "../../store/store.ts";
import { type Checks, checking, narrowed, need, subjectOf } from "./checks.ts";

const viewer = checking((model: string) => need("viewer", { model }));
const editor = checking((model: string) => need("editor", { model }));
const admin = checking((model: string) => need("admin", { model }));

export function protectRegistry(store: Store, { needRun, own }: Checks): RegistryStore {
  const { registry: all } = store;
  return {
    async createModel(model) {
      need("editor", "tracker");
      const created = await all.createModel(model);
      await own("model", created.name);
      return created;
    },
    getModel: viewer(all.getModel),
    searchModels: async (search) => all.searchModels(narrowed(search, "model", "name")),
    renameModel: admin(async (name, newName) => {
      need("editor", "tracker");
      return all.renameModel(name, newName);
    }),
    describeModel: editor(all.describeModel),
    deleteModel: admin(all.deleteModel),
    setModelTag: editor(all.setModelTag),
    deleteModelTag: editor(all.deleteModelTag),
    latestVersions: viewer(all.latestVersions),
    async createVersion(version) {
      need("editor", { model: version.name });
      // Readers of the model may read its files, so registering files requires the right to view them. The other references
      // of a version, such as its run_id, are never followed.
      if (version.originRun !== null) await needRun("viewer", version.originRun);
      if (version.root !== null) need("viewer", subjectOf(version.root));
      return all.createVersion(version);
    },
    getVersion: viewer(all.getVersion),
    searchVersions: async (search) => all.searchVersions(narrowed(search, "model", "name")),
    describeVersion: editor(all.describeVersion),
    deleteVersion: editor(all.deleteVersion),
    setVersionTag: editor(all.setVersionTag),
    deleteVersionTag: editor(all.deleteVersionTag),
    async transition(transition) {
      need("editor", { model: transition.name });
      return all.transition(transition);
    },
    hasRuns: async (folder) => {
      need("editor", subjectOf(folder));
      return all.hasRuns(folder);
    },
    files: viewer(all.files),
    production: viewer(all.production),
    setAlias: editor(all.setAlias),
    deleteAlias: editor(all.deleteAlias),
    getByAlias: viewer(all.getByAlias),
    gates: viewer(all.gates),
    // Users who promote versions must not be able to change the gates.
    setGates: admin(all.setGates),
    history: viewer(all.history),
    statements: viewer(all.statements),
    setStatements: editor(all.setStatements),
  };
}
