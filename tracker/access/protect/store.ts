import { TrackerError } from "../../errors.ts";
import type { Store } from "../../store/store.ts";
import type { Role } from "../../store/types.ts";
import { checksOf, need } from "./checks.ts";
import { protectExperiments } from "./experiments.ts";
import { protectLoggedModels } from "./logged-models.ts";
import { protectRegistry } from "./registry.ts";
import { protectMetrics, protectRuns } from "./runs.ts";
import { protectTraces } from "./traces.ts";

/**
 * A store that checks, at each call, whether the one who makes the request may do this. Routes do not check, so none can
 * forget to; a function that is added to the store has to be added here to compile.
 */
export function protectStore(store: Store): Store {
  const checks = checksOf(store);
  return {
    experiments: protectExperiments(store, checks),
    runs: protectRuns(store, checks),
    metrics: protectMetrics(store, checks),
    loggedModels: protectLoggedModels(store, checks),
    registry: protectRegistry(store, checks),
    traces: protectTraces(store, checks),
    // Only the artifacts use it, after their own check.
    artifacts: store.artifacts,
    garbage: refuseAll(store.garbage),
    // Its routes check for themselves: who may act for whom does not depend on roles alone.
    access: store.access,
    webhooks: onlyFor("admin", store.webhooks),
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
