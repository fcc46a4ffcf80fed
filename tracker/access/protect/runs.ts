import { TrackerError } from "../../errors.ts";
import type { MetricStore, RunStore, Store } from "../../store/store.ts";
import { type Checks, checking, need, seenExperiments } from "./checks.ts";

export function protectRuns({ runs: all }: Store, { needRun, needRuns, needModel }: Checks): RunStore {
  const viewer = checking((id: string) => needRun("viewer", id));
  const editor = checking((id: string) => needRun("editor", id));
  return {
    async create(run) {
      need("editor", { experiment: run.experimentId });
      return all.create(run);
    },
    get: viewer(all.get),
    getData: viewer(all.getData),
    search: async (search) => all.search({ ...search, experimentIds: seenExperiments(search.experimentIds) }),
    table: async (search) => all.table({ ...search, experimentIds: seenExperiments(search.experimentIds) }),
    update: editor(all.update),
    beat: editor(all.beat),
    // Called by the tracker itself, not for requests.
    lose: async () => {
      throw new TrackerError("PERMISSION_DENIED", "This operation is not available to requests.");
    },
    rewind: editor(all.rewind),
    rewinds: viewer(all.rewinds),
    rewound: viewer(all.rewound),
    setLifecycle: editor(all.setLifecycle),
    log: editor(async (id, batch) => {
      for (const { modelId } of batch.metrics) if (modelId !== undefined) await needModel("editor", modelId);
      return all.log(id, batch);
    }),
    deleteTag: editor(all.deleteTag),
    logInputs: editor(all.logInputs),
    logOutputs: editor(all.logOutputs),
    inputs: checking((ids: string[]) => needRuns("viewer", ids))(all.inputs),
    datasets: async (experimentIds) => all.datasets(seenExperiments(experimentIds)),
  };
}

export function protectMetrics({ metrics: all }: Store, { needRun, needRuns }: Checks): MetricStore {
  const viewer = checking((ids: string[]) => needRuns("viewer", ids));
  return {
    history: checking((id: string) => needRun("viewer", id))(all.history),
    bulk: viewer(all.bulk),
    sample: viewer(all.sample),
  };
}
