import type { Artifacts } from "../artifacts/artifacts.ts";
import { locate } from "../artifacts/locate.ts";
import { TrackerError } from "../errors.ts";
import type { Clause } from "../store/filter.ts";
import type {
  ExperimentStore,
  LoggedModelStore,
  MetricStore,
  RegistryStore,
  RunStore,
  Search,
  Store,
  TraceStore,
} from "../store/store.ts";
import type { GrantKind, Role } from "../store/types.ts";
import { currentPrincipal, type Subject } from "./principal.ts";

/*
 * A store and artifacts that ask, at each call, whether the one in whose name it is made may do so. The routes know
 * nothing of it, so none of them can forget; and a function that is added to the store has to be added here to compile.
 */

const need = (role: Role, subject: Subject): void => currentPrincipal().need(role, subject);

/** Which experiment a run or logged model belongs to never changes, so it is asked once. */
function experimentsOf(find: (id: string) => Promise<{ experimentId: string }>): (id: string) => Promise<string> {
  const known = new Map<string, string>();
  return async (id) => {
    const found = known.get(id);
    if (found !== undefined) return found;
    const { experimentId } = await find(id);
    if (known.size >= 10_000) known.clear();
    known.set(id, experimentId);
    return experimentId;
  };
}

/** A search that finds only what may be seen. */
function narrowed<S extends Search>(search: S, kind: GrantKind, key: string): S {
  const { all, but } = currentPrincipal().seen(kind);
  if (all && but.length === 0) return search;
  const clause: Clause = { entity: "attribute", key, comparator: all ? "NOT IN" : "IN", value: but };
  return { ...search, filter: [...search.filter, clause] };
}

const seenExperiments = (ids: readonly string[]): string[] => {
  const principal = currentPrincipal();
  return ids.filter((experiment) => principal.may("viewer", { experiment }));
};

export function protectStore(store: Store): Store {
  const experimentOfRun = experimentsOf(store.runs.get);
  const experimentOfModel = experimentsOf(store.loggedModels.get);
  const needRun = async (role: Role, id: string): Promise<void> => {
    if (!currentPrincipal().mayAll(role)) need(role, { experiment: await experimentOfRun(id) });
  };
  const needRuns = async (role: Role, ids: readonly string[]): Promise<void> => {
    for (const id of ids) await needRun(role, id);
  };
  const needModel = async (role: Role, id: string): Promise<void> => {
    if (!currentPrincipal().mayAll(role)) need(role, { experiment: await experimentOfModel(id) });
  };

  const experiments: ExperimentStore = {
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

  /** Whoever makes something may say who else may use it. */
  async function own(kind: GrantKind, target: string): Promise<void> {
    const { name, role, owner } = currentPrincipal();
    if (owner || role === "admin") return;
    await store.access.setGrant({ user: name, kind, target, role: "admin" });
  }

  const runs: RunStore = {
    async create(run) {
      need("editor", { experiment: run.experimentId });
      return store.runs.create(run);
    },
    async get(id) {
      await needRun("viewer", id);
      return store.runs.get(id);
    },
    async getData(id) {
      await needRun("viewer", id);
      return store.runs.getData(id);
    },
    search: async (search) => store.runs.search({ ...search, experimentIds: seenExperiments(search.experimentIds) }),
    table: async (search) => store.runs.table({ ...search, experimentIds: seenExperiments(search.experimentIds) }),
    async update(id, change) {
      await needRun("editor", id);
      return store.runs.update(id, change);
    },
    async setLifecycle(id, lifecycle) {
      await needRun("editor", id);
      return store.runs.setLifecycle(id, lifecycle);
    },
    async log(id, batch) {
      await needRun("editor", id);
      for (const { modelId } of batch.metrics) if (modelId !== undefined) await needModel("editor", modelId);
      return store.runs.log(id, batch);
    },
    async deleteTag(id, key) {
      await needRun("editor", id);
      return store.runs.deleteTag(id, key);
    },
    async logInputs(id, inputs) {
      await needRun("editor", id);
      return store.runs.logInputs(id, inputs);
    },
    async logOutputs(id, models) {
      await needRun("editor", id);
      return store.runs.logOutputs(id, models);
    },
    async inputs(ids) {
      await needRuns("viewer", ids);
      return store.runs.inputs(ids);
    },
    datasets: async (experimentIds) => store.runs.datasets(seenExperiments(experimentIds)),
  };

  const metrics: MetricStore = {
    async history(runId, key, page) {
      await needRun("viewer", runId);
      return store.metrics.history(runId, key, page);
    },
    async bulk(runIds, key, limit) {
      await needRuns("viewer", runIds);
      return store.metrics.bulk(runIds, key, limit);
    },
    async sample(runIds, key, range) {
      await needRuns("viewer", runIds);
      return store.metrics.sample(runIds, key, range);
    },
  };

  const loggedModels: LoggedModelStore = {
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

  // Not remembered, as a run's is: a trace can be deleted at any time, and its id come again elsewhere.
  const needTrace = async (role: Role, id: string): Promise<void> => {
    if (!currentPrincipal().mayAll(role)) need(role, { experiment: (await store.traces.get(id)).experimentId });
  };
  const traces: TraceStore = {
    async put(trace) {
      need("editor", { experiment: trace.experimentId });
      // One that is there already may be another's.
      if (!currentPrincipal().mayAll("editor")) {
        const known = await store.traces.get(trace.id).catch(() => undefined);
        if (known) need("editor", { experiment: known.experimentId });
      }
      return store.traces.put(trace);
    },
    async logSpans(experimentId, spans) {
      need("editor", { experiment: experimentId });
      if (!currentPrincipal().mayAll("editor")) {
        for (const id of new Set(spans.map(({ traceId }) => traceId))) {
          const known = await store.traces.get(id).catch(() => undefined);
          if (known) need("editor", { experiment: known.experimentId });
        }
      }
      return store.traces.logSpans(experimentId, spans);
    },
    async get(id) {
      await needTrace("viewer", id);
      return store.traces.get(id);
    },
    async spans(id) {
      await needTrace("viewer", id);
      return store.traces.spans(id);
    },
    search: async (search) => store.traces.search({ ...search, experimentIds: seenExperiments(search.experimentIds) }),
    async setTag(id, tag) {
      await needTrace("editor", id);
      await store.traces.setTag(id, tag);
    },
    async deleteTag(id, key) {
      await needTrace("editor", id);
      await store.traces.deleteTag(id, key);
    },
    async assess(id, assessmentId, assessment) {
      await needTrace("editor", id);
      await store.traces.assess(id, assessmentId, assessment);
    },
    async linkToRun(ids, runId) {
      await needRun("editor", runId);
      for (const id of ids) await needTrace("editor", id);
      await store.traces.linkToRun(ids, runId);
    },
    async remove(experimentId, which) {
      need("editor", { experiment: experimentId });
      return store.traces.remove(experimentId, which);
    },
  };

  /** A function of the registry whose first argument names the model that it is about. */
  const of =
    <A extends unknown[], R>(role: Role, work: (name: string, ...rest: A) => Promise<R>) =>
    async (name: string, ...rest: A): Promise<R> => {
      need(role, { model: name });
      return work(name, ...rest);
    };

  const { registry: all } = store;
  const registry: RegistryStore = {
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

  async function needSource(source: string): Promise<void> {
    const path = await locate(store, source).catch(() => undefined);
    // What lies elsewhere is read there, with what that place asks for.
    if (path !== undefined) need("viewer", subjectOf(path));
  }

  return {
    experiments,
    runs,
    metrics,
    loggedModels,
    registry,
    // Only the artifacts below use it, after their own check.
    artifacts: store.artifacts,
    garbage: refuseAll(store.garbage),
    // Its routes check for themselves: who may speak for whom is no matter of roles alone.
    access: store.access,
    webhooks: onlyFor("admin", store.webhooks),
    traces,
    close: store.close,
  };
}

/** All of this needs a role for the tracker as a whole. */
function onlyFor<T extends object>(role: Role, part: T): T {
  return new Proxy(part, {
    get(target, name, self) {
      need(role, "tracker");
      return Reflect.get(target, name, self);
    },
  });
}

/** Nothing of this is for requests. */
function refuseAll<T extends object>(part: T): T {
  return new Proxy(part, {
    get() {
      throw new TrackerError("PERMISSION_DENIED", "This cannot be done by a request.");
    },
  });
}

/** Whose a path of the artifacts is: the experiment's whose number is its first part, else the tracker's as a whole. */
export function subjectOf(path: string): Subject {
  const [first = ""] = path.split("/", 1);
  return /^\d+$/.test(first) ? { experiment: first } : "tracker";
}

export function protectArtifacts(artifacts: Artifacts): Artifacts {
  const { uploads } = artifacts;
  const needUpload = async (id: string): Promise<void> => need("editor", subjectOf(await uploads.pathOf(id)));
  return {
    async put(path, content, expected) {
      need("editor", subjectOf(path));
      return artifacts.put(path, content, expected);
    },
    async get(path) {
      need("viewer", subjectOf(path));
      return artifacts.get(path);
    },
    async list(path) {
      need("viewer", subjectOf(path));
      return artifacts.list(path);
    },
    async remove(path) {
      need("editor", subjectOf(path));
      await artifacts.remove(path);
    },
    async copy(from, path) {
      need("viewer", subjectOf(from.path));
      need("editor", subjectOf(path));
      return artifacts.copy(from, path);
    },
    uploads: {
      async begin(path, key) {
        need("editor", subjectOf(path));
        return uploads.begin(path, key);
      },
      async pathOf(id) {
        await needUpload(id);
        return uploads.pathOf(id);
      },
      async parts(id) {
        await needUpload(id);
        return uploads.parts(id);
      },
      async putPart(id, number, content, expected) {
        await needUpload(id);
        return uploads.putPart(id, number, content, expected);
      },
      async complete(id, parts, expected) {
        await needUpload(id);
        await uploads.complete(id, parts, expected);
      },
      async abort(id) {
        await needUpload(id);
        await uploads.abort(id);
      },
      async sweep() {
        throw new TrackerError("PERMISSION_DENIED", "This cannot be done by a request.");
      },
    },
    close: artifacts.close,
  };
}
