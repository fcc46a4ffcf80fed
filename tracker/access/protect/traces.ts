import type { Store, TraceStore } from "../../store/store.ts";
import type { Role } from "../../store/types.ts";
import { currentPrincipal } from "../principal.ts";
import { type Checks, need, seenExperiments } from "./checks.ts";

export function protectTraces(store: Store, { needRun }: Checks): TraceStore {
  // Not remembered, as a run's is: a trace can be deleted at any time, and its id come again elsewhere.
  const needTrace = async (role: Role, id: string): Promise<void> => {
    if (!currentPrincipal().mayAll(role)) need(role, { experiment: (await store.traces.get(id)).experimentId });
  };
  return {
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
}
