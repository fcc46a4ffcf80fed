import type { Store, TraceStore } from "../../store/store.ts";
import type { Role } from "../../store/types.ts";
import { currentPrincipal } from "../principal.ts";
import { type Checks, checking, need, seenExperiments, unlessMissing } from "./checks.ts";

/** The metadata and attribute that names the run of a trace. */
const SOURCE_RUN = "mlflow.sourceRun";

export function protectTraces({ traces: all, runs }: Store, { needRun }: Checks): TraceStore {
  // Not cached: a trace can be deleted, and its id used again in another experiment.
  const needTrace = async (role: Role, id: string): Promise<void> => {
    if (!currentPrincipal().mayAll(role)) need(role, { experiment: (await all.get(id)).experimentId });
  };
  /** Checks the traces that are written: an existing one may belong to another experiment. */
  const needIfThere = async (ids: Iterable<string>): Promise<void> => {
    if (currentPrincipal().mayAll("editor")) return;
    for (const id of ids) {
      const trace = await all.get(id).catch(unlessMissing);
      if (trace) need("editor", { experiment: trace.experimentId });
    }
  };
  /** Checks the run that a trace is shown with. A run that is not of this tracker is only a name. */
  const needSourceRun = async (run: string | undefined): Promise<void> => {
    const known = run && (await runs.get(run).catch(unlessMissing));
    if (known) need("editor", { experiment: known.experimentId });
  };
  const viewer = checking((id: string) => needTrace("viewer", id));
  const editor = checking((id: string) => needTrace("editor", id));
  return {
    async put(trace) {
      need("editor", { experiment: trace.experimentId });
      await needIfThere([trace.id]);
      await needSourceRun(trace.metadata.find(({ key }) => key === SOURCE_RUN)?.value);
      return all.put(trace);
    },
    async logSpans(experimentId, spans) {
      need("editor", { experiment: experimentId });
      await needIfThere(new Set(spans.map(({ traceId }) => traceId)));
      for (const run of new Set(spans.map(({ attributes }) => attributes[SOURCE_RUN]))) {
        if (typeof run === "string") await needSourceRun(run);
      }
      return all.logSpans(experimentId, spans);
    },
    get: viewer(all.get),
    spans: viewer(all.spans),
    search: async (search) => all.search({ ...search, experimentIds: seenExperiments(search.experimentIds) }),
    count: async (search) => all.count({ ...search, experimentIds: seenExperiments(search.experimentIds) }),
    setTag: editor(all.setTag),
    deleteTag: editor(all.deleteTag),
    assess: editor(all.assess),
    async linkToRun(ids, runId) {
      await needRun("editor", runId);
      for (const id of ids) await needTrace("editor", id);
      await all.linkToRun(ids, runId);
    },
    remove: checking((experiment: string) => need("editor", { experiment }))(all.remove),
  };
}
