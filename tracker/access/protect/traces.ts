import type { Store, TraceStore } from "../../store/store.ts";
import type { Role } from "../../store/types.ts";
import { currentPrincipal } from "../principal.ts";
import { type Checks, checking, need, seenExperiments } from "./checks.ts";

export function protectTraces({ traces: all }: Store, { needRun }: Checks): TraceStore {
  // Not cached: a trace can be deleted, and its id used again in another experiment.
  const needTrace = async (role: Role, id: string): Promise<void> => {
    if (!currentPrincipal().mayAll(role)) need(role, { experiment: (await all.get(id)).experimentId });
  };
  /** Checks the traces that are written: an existing one may belong to another experiment. */
  const needIfThere = async (ids: Iterable<string>): Promise<void> => {
    if (currentPrincipal().mayAll("editor")) return;
    for (const id of ids) {
      const trace = await all.get(id).catch(() => undefined);
      if (trace) need("editor", { experiment: trace.experimentId });
    }
  };
  const viewer = checking((id: string) => needTrace("viewer", id));
  const editor = checking((id: string) => needTrace("editor", id));
  return {
    async put(trace) {
      need("editor", { experiment: trace.experimentId });
      await needIfThere([trace.id]);
      return all.put(trace);
    },
    async logSpans(experimentId, spans) {
      need("editor", { experiment: experimentId });
      await needIfThere(new Set(spans.map(({ traceId }) => traceId)));
      return all.logSpans(experimentId, spans);
    },
    get: viewer(all.get),
    spans: viewer(all.spans),
    search: async (search) => all.search({ ...search, experimentIds: seenExperiments(search.experimentIds) }),
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
