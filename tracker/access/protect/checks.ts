import { locate } from "../../artifacts/locate.ts";
import type { Clause } from "../../store/filter.ts";
import type { Search, Store } from "../../store/store.ts";
import type { GrantKind, Role } from "../../store/types.ts";
import { currentPrincipal, type Subject } from "../principal.ts";

/** @throws PERMISSION_DENIED when the one who makes the request does not have a role for something */
export const need = (role: Role, subject: Subject): void => currentPrincipal().need(role, subject);

/** Whose a path of the artifacts is: the experiment's whose number is its first part, else the tracker's as a whole. */
export function subjectOf(path: string): Subject {
  const [first = ""] = path.split("/", 1);
  return /^\d+$/.test(first) ? { experiment: first } : "tracker";
}

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
export function narrowed<S extends Search>(search: S, kind: GrantKind, key: string): S {
  const { all, but } = currentPrincipal().seen(kind);
  if (all && but.length === 0) return search;
  const clause: Clause = { entity: "attribute", key, comparator: all ? "NOT IN" : "IN", value: but };
  return { ...search, filter: [...search.filter, clause] };
}

export const seenExperiments = (ids: readonly string[]): string[] => {
  const principal = currentPrincipal();
  return ids.filter((experiment) => principal.may("viewer", { experiment }));
};

/**
 * Wraps functions whose first argument says what is used, so that each call is checked first.
 *
 * @example
 * const viewer = checking((id: string) => needRun("viewer", id));
 * const get = viewer(store.runs.get);
 */
export const checking =
  <T>(check: (target: T) => void | Promise<void>) =>
  <A extends unknown[], R>(work: (target: T, ...rest: A) => Promise<R>) =>
  async (target: T, ...rest: A): Promise<R> => {
    await check(target);
    return work(target, ...rest);
  };

/** Checks of the one who makes the request, by the experiment that a thing belongs to. */
export interface Checks {
  needRun(role: Role, id: string): Promise<void>;
  needRuns(role: Role, ids: readonly string[]): Promise<void>;
  /** Of a logged model. */
  needModel(role: Role, id: string): Promise<void>;
  /** Of the files that a model version is made from. */
  needSource(source: string): Promise<void>;
  /** Make the one who created something its admin. */
  own(kind: GrantKind, target: string): Promise<void>;
}

export function checksOf(store: Store): Checks {
  const experimentOfRun = experimentsOf(store.runs.get);
  const experimentOfModel = experimentsOf(store.loggedModels.get);
  const needRun = async (role: Role, id: string): Promise<void> => {
    if (!currentPrincipal().mayAll(role)) need(role, { experiment: await experimentOfRun(id) });
  };
  return {
    needRun,
    async needRuns(role, ids) {
      for (const id of ids) await needRun(role, id);
    },
    async needModel(role, id) {
      if (!currentPrincipal().mayAll(role)) need(role, { experiment: await experimentOfModel(id) });
    },
    async needSource(source) {
      const path = await locate(store, source).catch(() => undefined);
      // What is kept elsewhere is read there, with what that place asks for.
      if (path !== undefined) need("viewer", subjectOf(path));
    },
    async own(kind, target) {
      const { name, role, owner } = currentPrincipal();
      if (owner || role === "admin") return;
      await store.access.setGrant({ user: name, kind, target, role: "admin" });
    },
  };
}
