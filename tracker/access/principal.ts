import { AsyncLocalStorage } from "node:async_hooks";
import { TrackerError } from "../errors.ts";
import type { Grant, GrantKind, Role, Scope } from "../store/types.ts";

const RANK: Readonly<Record<Role, number>> = { none: 0, viewer: 1, editor: 2, admin: 3 };
const CAP: Readonly<Record<Scope, Role>> = { read: "viewer", write: "editor", admin: "admin" };

/**
 * What a role is for: one experiment, one model, or the tracker as a whole; the user's own account; or whichever
 * experiment or model the user has the highest role for.
 */
export type Subject =
  | { experiment: string }
  | { model: string }
  | "tracker"
  | "account"
  | "any experiment"
  | "any model";

/** Whoever makes a request: who they are, and what they may do. */
export class Principal {
  readonly name: string;
  /** For what no grant speaks of. */
  readonly role: Role;
  /** Whether this is the owner of the data folder, whose token also opens notebooks. */
  readonly owner: boolean;
  readonly scope: Scope;
  /** Of the token that was shown. */
  readonly tokenId: string | undefined;
  readonly #grants: ReadonlyMap<string, Role>;

  constructor(who: {
    name: string;
    role: Role;
    owner?: boolean;
    scope?: Scope;
    grants?: readonly Grant[];
    tokenId?: string;
  }) {
    this.name = who.name;
    this.role = who.role;
    this.owner = who.owner ?? false;
    this.scope = who.scope ?? "admin";
    this.tokenId = who.tokenId;
    this.#grants = new Map((who.grants ?? []).map(({ kind, target, role }) => [`${kind} ${target}`, role]));
  }

  /** The user's role for something, as far as the token's scope allows it. */
  roleFor(subject: Subject): Role {
    const role = this.#roleOfUser(subject);
    const cap = CAP[this.scope];
    return RANK[role] < RANK[cap] ? role : cap;
  }

  #roleOfUser(subject: Subject): Role {
    if (subject === "tracker") return this.role;
    if (subject === "account") return "admin";
    if (typeof subject === "object") return this.#grants.get(keyOf(subject)) ?? this.role;
    const kind = subject === "any model" ? "model " : "experiment ";
    const granted = [...this.#grants].flatMap(([key, role]) => (key.startsWith(kind) ? [role] : []));
    return granted.reduce((highest, role) => (RANK[role] > RANK[highest] ? role : highest), this.role);
  }

  may(needed: Role, subject: Subject): boolean {
    return RANK[this.roleFor(subject)] >= RANK[needed];
  }

  /** Whether this one may do so with everything, so that nothing needs to be looked up. */
  mayAll(needed: Role): boolean {
    if (!this.may(needed, "tracker")) return false;
    return [...this.#grants.values()].every((role) => RANK[role] >= RANK[needed]);
  }

  /**
   * Which experiments or models this one may see: all but some, or only some.
   */
  seen(kind: GrantKind): { all: boolean; but: string[] } {
    const all = this.may("viewer", "tracker");
    const but = [...this.#grants].flatMap(([key, role]) => {
      const [of, target] = [key.slice(0, key.indexOf(" ")), key.slice(key.indexOf(" ") + 1)];
      return of === kind && RANK[role] >= RANK.viewer !== all ? [target] : [];
    });
    return { all, but };
  }

  /** Why the user may not do what needs a role for something; undefined where they may. */
  refusal(needed: Role, subject: Subject): string | undefined {
    if (this.may(needed, subject)) return undefined;
    // A user has every role for their own account: only the token can be too little.
    if (subject === "account")
      return `This token's scope is ${this.scope}; ${this.name}'s account needs one with the scope ${needed}.`;
    const remedy =
      RANK[CAP[this.scope]] < RANK[needed]
        ? `This token's scope is ${this.scope}: use one with more access.`
        : "An admin of the tracker can grant it.";
    return `${this.name} is ${this.roleFor(subject)} for ${nameOf(subject)}, which needs ${needed}. ${remedy}`;
  }

  /** @throws PERMISSION_DENIED with {@link refusal} */
  need(needed: Role, subject: Subject): void {
    const refusal = this.refusal(needed, subject);
    if (refusal !== undefined) throw new TrackerError("PERMISSION_DENIED", refusal);
  }
}

function nameOf(subject: Exclude<Subject, "account">): string {
  if (subject === "tracker") return "this";
  if (typeof subject === "string") return subject;
  return "experiment" in subject ? `the experiment ${subject.experiment}` : `the model ${subject.model}`;
}

const keyOf = (subject: Exclude<Subject, string>): string =>
  "experiment" in subject ? `experiment ${subject.experiment}` : `model ${subject.model}`;

const current = new AsyncLocalStorage<Principal>();

/** Does work in somebody's name. */
export const actingAs = <T>(principal: Principal, work: () => T): T => current.run(principal, work);

/**
 * In whose name the current request is made.
 * @throws if nobody said: no request may pass for lack of a check
 */
export function currentPrincipal(): Principal {
  const principal = current.getStore();
  if (!principal) throw new TrackerError("PERMISSION_DENIED", "Nobody is known to make this request.");
  return principal;
}
