import { TrackerError } from "../../errors.ts";
import type { Store } from "../../store/store.ts";
import type { Role } from "../../store/types.ts";
import { checksOf, need } from "./checks.ts";
import { protectEvaluationDatasets, protectScorers } from "./evaluation.ts";
import { protectExperiments } from "./experiments.ts";
import { protectLoggedModels } from "./logged-models.ts";
import { protectRegistry } from "./registry.ts";
import { protectMetrics, protectRuns } from "./runs.ts";
import { protectTraces } from "./traces.ts";

/**
 * Wraps a store so that each call checks the current principal's rights. Routes need no checks and cannot forget any. A new
 * function of the store must be added here, or this does not compile.
 */
export function protectStore(store: Store): Store {
  const checks = checksOf(store);
  return {
    experiments: protectExperiments(store, checks),
    runs: protectRuns(store, checks),
    metrics: protectMetrics(store, checks),
    loggedModels: protectLoggedModels(store, checks),
    registry: protectRegistry(store, checks),
    // Used only below the checks, where artifacts are stored.
    registered: refuseAll(store.registered),
    traces: protectTraces(store, checks),
    evaluationDatasets: protectEvaluationDatasets(store),
    scorers: protectScorers(store),
    // Used only by the artifacts, which check first.
    artifacts: store.artifacts,
    garbage: refuseAll(store.garbage),
    // Checked by its routes: rights for accounts do not depend on roles alone.
    access: store.access,
    webhooks: onlyFor("admin", store.webhooks),
    close: store.close,
  };
}

/** Wraps a part of the store so that each call needs a role for the tracker. */
function onlyFor<T extends object>(role: Role, part: T): T {
  return new Proxy(part, {
    get(target, name, self) {
      need(role, "tracker");
      return Reflect.get(target, name, self);
    },
  });
}

/** Wraps a part of the store so that each call fails. */
function refuseAll<T extends object>(part: T): T {
  return new Proxy(part, {
    get() {
      throw new TrackerError("PERMISSION_DENIED", "This operation is not available to requests.");
    },
  });
}
