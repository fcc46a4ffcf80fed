import type { FastifyInstance } from "fastify";
import { isUserName, ownerName, sameName } from "../access/names.ts";
import { currentPrincipal } from "../access/principal.ts";
import { hashOf, newToken } from "../access/tokens.ts";
import { exists, invalid } from "../errors.ts";
import { bool, int, limitOf, nameOf } from "../message.ts";
import type { AuditEntry, Grant, Token, User } from "../store/types.ts";
import type { Tracker } from "../tracker.ts";
import * as endpoints from "./endpoints/access.ts";
import * as schemas from "./endpoints/anneal-schemas.ts";
import { truncate } from "./limits.ts";
import { refusals } from "./rights.ts";
import { route } from "./route.ts";

const DAY = 24 * 3600 * 1000;

const user = (it: User): schemas.User => ({
  name: it.name,
  role: it.role,
  disabled: it.disabled,
  signs_in: it.subject !== null,
  creation_time: it.createdAt,
});
const token = (it: Token): schemas.Token => ({
  id: it.id,
  user: it.user,
  label: it.label,
  scope: it.scope,
  session: it.session,
  creation_time: it.createdAt,
  expiration_time: it.expiresAt,
  last_used_time: it.lastUsedAt,
});
const entry = (it: AuditEntry): schemas.AuditEntry => ({
  id: it.id,
  time: it.at,
  who: it.who,
  action: it.action,
  target: it.target,
  status: it.status,
});

/** Checks that the principal is an admin of the tracker, or of the experiment or model. */
function needTarget({ kind, target }: Pick<Grant, "kind" | "target">): void {
  const principal = currentPrincipal();
  if (principal.may("admin", "tracker")) return;
  principal.need("admin", kind === "experiment" ? { experiment: target } : { model: target });
}

/** Users, tokens, grants and the audit log, under /api/anneal. */
export function accessRoutes(app: FastifyInstance, { store }: Tracker): void {
  const { access } = store;

  route(app, endpoints.getMe, async () => {
    const { name, role, scope, owner } = currentPrincipal();
    return { name, role, scope, owner };
  });

  route(app, endpoints.getPermissions, async (shown) => ({ refused: refusals(currentPrincipal(), shown) }));

  route(app, endpoints.listUsers, async () => {
    return { users: (await access.users()).map(user) };
  });

  route(app, endpoints.createUser, async ({ name, role }) => {
    if (!isUserName(name)) {
      throw invalid(`Invalid user name '${truncate(name, 80)}': up to 100 letters, digits and _ . @ + - are allowed.`);
    }
    // The activity log would not tell them apart.
    if (sameName(name, ownerName()))
      throw exists(`The name ${name} is that of the owner of the tracker's data folder.`);
    return { user: user(await access.createUser({ name, role: nameOf(schemas.ROLES, role) })) };
  });

  route(app, endpoints.updateUser, async ({ name, role, disabled }) => {
    const change = {
      ...(role === undefined ? {} : { role: nameOf(schemas.ROLES, role) }),
      ...(disabled === undefined ? {} : { disabled: bool(disabled) }),
    };
    return { user: user(await access.updateUser(name, change)) };
  });

  route(app, endpoints.deleteUser, async ({ name }) => {
    await access.deleteUser(name);
    return {};
  });

  route(app, endpoints.listTokens, async (message) => {
    const self = currentPrincipal();
    if (message.user !== self.name) needAdminFor(message.user);
    return { tokens: (await access.tokens(message.user)).map(token) };
  });

  route(app, endpoints.createToken, async (message) => {
    const self = currentPrincipal();
    const name = message.user ?? self.name;
    if (name !== self.name || self.owner) needAdminFor(name);
    if (message.label.trim() === "" || message.label.length > 200) {
      throw invalid("Invalid label: describe the token's purpose in 1 to 200 characters.");
    }
    const days = message.expires_in_days === undefined ? undefined : int(message.expires_in_days, "expires_in_days");
    if (days !== undefined && (days < 1 || days > 3650)) {
      throw invalid(`Invalid value ${days} for parameter 'expires_in_days': expected 1 to 3650.`);
    }
    const secret = newToken();
    const created = await access.createToken({
      user: name,
      label: message.label,
      scope: nameOf(schemas.SCOPES, message.scope ?? "write"),
      session: false,
      hash: hashOf(secret),
      expiresAt: days === undefined ? null : Date.now() + days * DAY,
    });
    // The secret appears only in this response.
    return { token: secret, ...token(created) };
  });

  route(app, endpoints.deleteToken, async ({ id }) => {
    const self = currentPrincipal();
    await access.deleteToken(id, self.may("admin", "tracker") ? undefined : self.name);
    return {};
  });

  route(app, endpoints.listGrants, async (message) => {
    const kind = message.kind === undefined ? undefined : nameOf(schemas.KINDS, message.kind);
    const { target } = message;
    if (message.user !== currentPrincipal().name) {
      if (kind !== undefined && target !== undefined) needTarget({ kind, target });
      else currentPrincipal().need("admin", "tracker");
    }
    const of = {
      ...(message.user === undefined ? {} : { user: message.user }),
      ...(kind === undefined ? {} : { kind }),
      ...(target === undefined ? {} : { target }),
    };
    return { grants: await access.grants(of) };
  });

  route(app, endpoints.setGrant, async ({ user, kind, target, role }) => {
    const grant = { user, kind: nameOf(schemas.KINDS, kind), target, role: nameOf(schemas.ROLES, role) };
    needTarget(grant);
    // Refuse a missing target: the grant would apply to whatever is created under that name later.
    if (grant.kind === "experiment") await store.experiments.get(grant.target);
    else await store.registry.getModel(grant.target);
    await access.setGrant(grant);
    return { grant };
  });

  route(app, endpoints.deleteGrant, async ({ user, kind, target }) => {
    const grant = { user, kind: nameOf(schemas.KINDS, kind), target };
    needTarget(grant);
    await access.deleteGrant(grant);
    return {};
  });

  route(app, endpoints.getAudit, async ({ who, target, before, max_results }) => {
    const entries = await access.audit({
      ...(who ? { who } : {}),
      ...(target ? { target } : {}),
      ...(before === undefined ? {} : { before: int(before, "before") }),
      limit: limitOf(max_results, 100, 1000),
    });
    return { entries: entries.map(entry) };
  });

  function needAdminFor(name: string | undefined): void {
    const self = currentPrincipal();
    if (self.owner && name === self.name) {
      throw invalid(
        `'${self.name}' signs in with the token in the tracker's data folder and cannot have other tokens. Create a user, then a token for that user.`,
      );
    }
    currentPrincipal().need("admin", "tracker");
  }
}
