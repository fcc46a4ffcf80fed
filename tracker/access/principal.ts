import { TrackerError } from "../errors.ts";
import { RequestLocal } from "../request-local.ts";
import type { Grant, GrantKind, Role, Scope } from "../store/types.ts";

const RANK: Readonly<Record<Role, number>> = { none: 0, viewer: 1, editor: 2, admin: 3 };
const CAP: Readonly<Record<Scope, Role>> = { read: "viewer", write: "editor", admin: "admin" };

/**
 * What a role is for: one experiment, one model, the tracker as a whole, the user's own account, or any experiment or model
 * (the one for which the user has the highest role).
 */
export type Subject =
  | { experiment: string }
  | { model: string }
  | "tracker"
  | "account"
  | "any experiment"
  | "any model";

/** The user of a request and their rights. */
export class Principal {
  readonly name: string;
  /** The role where no grant applies. */
  readonly role: Role;
  /** Whether this is the owner of the data folder, whose token also opens notebooks. */
  readonly owner: boolean;
  readonly scope: Scope;
  /** The id of the request's token. */
  readonly tokenId: string | undefined;
  readonly #grants: ReadonlyMap<string, Role>;
  /**
   * Returns the user with the rights they have now, undefined if the token is no longer valid. For requests that stay open;
   * a change takes a few seconds to be seen.
   */
  readonly renew: () => Promise<Principal | undefined>;

  constructor(who: {
    name: string;
    role: Role;
    owner?: boolean;
    scope?: Scope;
    grants?: readonly Grant[];
    tokenId?: string;
    renew?: () => Promise<Principal | undefined>;
  }) {
    this.name = who.name;
    this.role = who.role;
    this.owner = who.owner ?? false;
    this.scope = who.scope ?? "admin";
    this.tokenId = who.tokenId;
    this.renew = who.renew ?? (async () => this);
    this.#grants = new Map((who.grants ?? []).map(({ kind, target, role }) => [`${kind} ${target}`, role]));
  }

  /** Returns the user's role for a subject, limited by the token's scope. */
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

  /** Whether the user has this role for every subject, so that single checks can be skipped. */
  mayAll(needed: Role): boolean {
    if (!this.may(needed, "tracker")) return false;
    return [...this.#grants.values()].every((role) => RANK[role] >= RANK[needed]);
  }

  /**
   * Returns which experiments or models the user may view: all except `but`, or only `but`.
   */
  visible(kind: GrantKind): { all: boolean; but: string[] } {
    const all = this.may("viewer", "tracker");
    const but = [...this.#grants].flatMap(([key, role]) => {
      const [of, target] = [key.slice(0, key.indexOf(" ")), key.slice(key.indexOf(" ") + 1)];
      return of === kind && RANK[role] >= RANK.viewer !== all ? [target] : [];
    });
    return { all, but };
  }

  /** Returns why the user does not have a role for a subject, or undefined if they do. */
  refusal(needed: Role, subject: Subject): string | undefined {
    if (this.may(needed, subject)) return undefined;
    // A user has every role for their own account, so only the token's scope can be insufficient.
    if (subject === "account")
      return `The token's scope is ${this.scope}; ${this.name}'s account needs a token with the scope ${needed}.`;
    const remedy =
      RANK[CAP[this.scope]] < RANK[needed]
        ? `The token's scope is ${this.scope}: use a token with more access.`
        : "An admin of the tracker can grant it.";
    return `${this.name} has the role ${this.roleFor(subject)} for ${nameOf(subject)}; ${needed} is required. ${remedy}`;
  }

  /** @throws PERMISSION_DENIED with {@link refusal} */
  need(needed: Role, subject: Subject): void {
    const refusal = this.refusal(needed, subject);
    if (refusal !== undefined) throw new TrackerError("PERMISSION_DENIED", refusal);
  }
}

function nameOf(subject: Exclude<Subject, "account">): string {
  if (subject === "tracker") return "the tracker";
  if (typeof subject === "string") return subject;
  return "experiment" in subject ? `experiment ${subject.experiment}` : `model ${subject.model}`;
}

const keyOf = (subject: Exclude<Subject, string>): string =>
  "experiment" in subject ? `experiment ${subject.experiment}` : `model ${subject.model}`;

const current = new RequestLocal<Principal>();

/** Runs `work` as a principal. */
export const actingAs = <T>(principal: Principal, work: () => T): T => current.run(principal, work);

/**
 * Returns the principal of the current request.
 * @throws if none is set, so that no request skips the checks
 */
export function currentPrincipal(): Principal {
  const principal = current.get();
  if (!principal) throw new TrackerError("PERMISSION_DENIED", "The request has no user.");
  return principal;
}
