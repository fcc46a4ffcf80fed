import { missing, TrackerError } from "../../errors.ts";
import type { Clause } from "../../store/filter.ts";
import type { ExperimentStore, Search, Store } from "../../store/store.ts";
import type { GrantKind, Role } from "../../store/types.ts";
import { currentPrincipal, type Subject } from "../principal.ts";

/** For `catch`: returns undefined for an object that does not exist, and throws other errors. */
export function unlessMissing(error: unknown): undefined {
  if (!(error instanceof TrackerError && error.code === "RESOURCE_DOES_NOT_EXIST")) throw error;
}

/** @throws PERMISSION_DENIED if the current principal does not have the role for the subject */
export const need = (role: Role, subject: Subject): void => currentPrincipal().need(role, subject);

/** Returns the subject of an artifact path: the experiment whose id is the first part, otherwise the tracker. */
export function subjectOf(path: string): Subject {
  const [first = ""] = path.split("/", 1);
  return /^\d+$/.test(first) ? { experiment: first } : "tracker";
}

/**
 * Returns a check that the principal may write to an artifact path. A number is the folder of an experiment, which must
 * exist: otherwise the files would be in the folder of whoever creates the experiment later.
 */
export function folderCheck({ get }: ExperimentStore): (path: string) => Promise<void> {
  const known = new Set<string>();
  return async (path) => {
    const subject = subjectOf(path);
    need("editor", subject);
    if (typeof subject !== "object" || !("experiment" in subject) || known.has(subject.experiment)) return;
    const { id } = await get(subject.experiment);
    // "007" is not a folder of experiment 7.
    if (id !== subject.experiment) throw missing(`No Experiment with id=${subject.experiment} exists`);
    known.add(id);
  };
}

/** Returns a cached lookup of the experiment of a run or logged model, which never changes. */
function experimentsOf(find: (id: string) => Promise<{ experimentId: string }>): (id: string) => Promise<string> {
  const cache = new Map<string, string>();
  return async (id) => {
    const cached = cache.get(id);
    if (cached !== undefined) return cached;
    const { experimentId } = await find(id);
    if (cache.size >= 10_000) cache.clear();
    cache.set(id, experimentId);
    return experimentId;
  };
}

/** Limits a search to what the current principal may view. */
export function narrowed<S extends Search>(search: S, kind: GrantKind, key: string): S {
  const { all, but } = currentPrincipal().visible(kind);
  if (all && but.length === 0) return search;
  const clause: Clause = { entity: "attribute", key, comparator: all ? "NOT IN" : "IN", value: but };
  return { ...search, filter: [...search.filter, clause] };
}

export const seenExperiments = (ids: readonly string[]): string[] => {
  const principal = currentPrincipal();
  return ids.filter((experiment) => principal.may("viewer", { experiment }));
};

/**
 * Wraps functions so that each call first checks the principal's rights for the first argument.
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

/** Checks of the current principal's rights, by the experiment that an object belongs to. */
export interface Checks {
  needRun(role: Role, id: string): Promise<void>;
  needRuns(role: Role, ids: readonly string[]): Promise<void>;
  /** Checks the role for a logged model. */
  needModel(role: Role, id: string): Promise<void>;
  /** Makes the current principal an admin of something they created. */
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
    async own(kind, target) {
      const { name, role, owner } = currentPrincipal();
      if (owner || role === "admin") return;
      await store.access.setGrant({ user: name, kind, target, role: "admin" });
    },
  };
}
