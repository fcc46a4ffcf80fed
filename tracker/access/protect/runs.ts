import type { MetricStore, RunStore, Store } from "../../store/store.ts";
import { type Checks, need, seenExperiments } from "./checks.ts";

export function protectRuns(store: Store, { needRun, needRuns, needModel }: Checks): RunStore {
  return {
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
}

export function protectMetrics(store: Store, { needRun, needRuns }: Checks): MetricStore {
  return {
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
}
