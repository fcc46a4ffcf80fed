import { currentPrincipal, type Principal, type Subject } from "../access/principal.ts";
import { type Endpoint, methodsOf, pathsOf, type RoleRight, rolesOf } from "./endpoints/endpoint.ts";
import { endpoints } from "./endpoints/index.ts";

/** The experiment and the model that a page shows, if any. */
export interface Shown {
  experiment_id?: string;
  model?: string;
}

/**
 * Checks the declared roles for the tracker and for the user's account. Roles for an experiment or a model are checked by
 * the store, which knows which experiment or model a request concerns.
 * @throws PERMISSION_DENIED
 */
export function needDeclared(endpoint: Endpoint): void {
  for (const { role, of } of rolesOf(endpoint)) {
    if (of === "tracker" || of === "account") currentPrincipal().need(role, of);
  }
}

/** Returns the subject of a declared role; any experiment or model if the page shows none. */
function subjectOf({ of }: RoleRight, { experiment_id, model }: Shown): Subject {
  if (of === "tracker" || of === "account") return of;
  if (of === "model" || (of === "target" && experiment_id === undefined)) {
    return model === undefined ? "any model" : { model };
  }
  return experiment_id === undefined ? "any experiment" : { experiment: experiment_id };
}

/** Returns why a user may not use an endpoint, or undefined if they may. */
function refusalOf(endpoint: Endpoint, principal: Principal, shown: Shown): string | undefined {
  for (const right of rolesOf(endpoint)) {
    if (right.of === "target" && principal.may(right.role, "tracker")) continue;
    const refusal = principal.refusal(right.role, subjectOf(right, shown));
    if (refusal !== undefined) return refusal;
  }
  return undefined;
}

/** Returns the endpoints that a user may not use, by method and path, each with the reason. */
export function refusals(principal: Principal, shown: Shown): Record<string, string> {
  const refused: Record<string, string> = {};
  for (const endpoint of endpoints) {
    const reason = refusalOf(endpoint, principal, shown);
    if (reason === undefined) continue;
    for (const path of pathsOf(endpoint))
      for (const method of methodsOf(endpoint)) refused[`${method} ${path}`] = reason;
  }
  return refused;
}
