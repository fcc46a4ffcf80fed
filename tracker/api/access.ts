import { Type } from "@sinclair/typebox";
import type { FastifyInstance, FastifyRequest } from "fastify";
import { currentPrincipal } from "../access/principal.ts";
import { hashOf, newToken } from "../access/tokens.ts";
import { invalid, TrackerError } from "../errors.ts";
import { Bool, bool, Int, int, limitOf, nameOf, oneOf, optional, Text } from "../message.ts";
import type { AccessStore } from "../store/store.ts";
import type { AuditEntry, Grant, GrantKind, Role, Scope, Token, User } from "../store/types.ts";
import type { Tracker } from "../tracker.ts";
import { endpoint } from "./endpoint.ts";
import { cut } from "./limits.ts";

const ROLES = ["none", "viewer", "editor", "admin"] as const satisfies readonly Role[];
const SCOPES = ["read", "write", "admin"] as const satisfies readonly Scope[];
const KINDS = ["experiment", "model"] as const satisfies readonly GrantKind[];
const DAY = 24 * 3600 * 1000;

const user = (it: User) => ({
  name: it.name,
  role: it.role,
  disabled: it.disabled,
  signs_in: it.subject !== null,
  creation_time: it.createdAt,
});
const token = (it: Token) => ({
  id: it.id,
  user: it.user,
  label: it.label,
  scope: it.scope,
  session: it.session,
  creation_time: it.createdAt,
  expiration_time: it.expiresAt,
  last_used_time: it.lastUsedAt,
});
const entry = (it: AuditEntry) => ({
  id: it.id,
  time: it.at,
  who: it.who,
  action: it.action,
  target: it.target,
  status: it.status,
});

/** Accounts are a person's: a token that was given to a program for less may not change them. */
function needWhole(): void {
  const { scope, name } = currentPrincipal();
  if (scope === "admin") return;
  throw new TrackerError(
    "PERMISSION_DENIED",
    `This token of ${name} has the scope ${scope}; accounts need one with the scope admin.`,
  );
}

function needAdmin(): void {
  needWhole();
  currentPrincipal().need("admin", "tracker");
}

/** An admin of the tracker, or whoever the thing belongs to. */
function needSay({ kind, target }: Pick<Grant, "kind" | "target">): void {
  needWhole();
  const principal = currentPrincipal();
  if (principal.may("admin", "tracker")) return;
  principal.need("admin", kind === "experiment" ? { experiment: target } : { model: target });
}

/** Users, their tokens and grants, and the audit log; below /api/anneal. */
export function accessRoutes(app: FastifyInstance, { store }: Tracker): void {
  const { access } = store;

  endpoint(app, "GET", "/me", Type.Object({}), async () => {
    const { name, role, scope, owner } = currentPrincipal();
    return { name, role, scope, owner };
  });

  endpoint(app, "GET", "/users", Type.Object({}), async () => {
    needAdmin();
    return { users: (await access.users()).map(user) };
  });

  endpoint(app, "POST", "/users", Type.Object({ name: Text, role: oneOf(ROLES) }), async ({ name, role }) => {
    needAdmin();
    if (!/^[\w.@+-]{1,100}$/.test(name)) {
      throw invalid(`Invalid user name '${cut(name, 80)}': up to 100 letters, digits and _ . @ + - are allowed.`);
    }
    return { user: user(await access.createUser({ name, role: nameOf(ROLES, role) })) };
  });

  endpoint(
    app,
    "PATCH",
    "/users/:name",
    Type.Object({ name: Text, role: optional(oneOf(ROLES)), disabled: optional(Bool) }),
    async ({ name, role, disabled }) => {
      needAdmin();
      const change = {
        ...(role === undefined ? {} : { role: nameOf(ROLES, role) }),
        ...(disabled === undefined ? {} : { disabled: bool(disabled) }),
      };
      return { user: user(await access.updateUser(name, change)) };
    },
  );

  endpoint(app, "DELETE", "/users/:name", Type.Object({ name: Text }), async ({ name }) => {
    needAdmin();
    await access.deleteUser(name);
    return undefined;
  });

  endpoint(app, "GET", "/tokens", Type.Object({ user: optional(Text) }), async (message) => {
    needWhole();
    const self = currentPrincipal();
    if (message.user !== self.name) needAdminFor(message.user);
    return { tokens: (await access.tokens(message.user)).map(token) };
  });

  endpoint(
    app,
    "POST",
    "/tokens",
    Type.Object({
      user: optional(Text),
      label: Text,
      scope: optional(oneOf(SCOPES)),
      expires_in_days: optional(Int),
    }),
    async (message) => {
      needWhole();
      const self = currentPrincipal();
      const name = message.user ?? self.name;
      if (name !== self.name || self.owner) needAdminFor(name);
      if (message.label.trim() === "" || message.label.length > 200) {
        throw invalid("Invalid label: say in up to 200 characters what the token is for.");
      }
      const days = message.expires_in_days === undefined ? undefined : int(message.expires_in_days, "expires_in_days");
      if (days !== undefined && (days < 1 || days > 3650)) {
        throw invalid(`Invalid value ${days} for parameter 'expires_in_days': expected 1 to 3650.`);
      }
      const secret = newToken();
      const made = await access.createToken({
        user: name,
        label: message.label,
        scope: nameOf(SCOPES, message.scope ?? "write"),
        session: false,
        hash: hashOf(secret),
        expiresAt: days === undefined ? null : Date.now() + days * DAY,
      });
      // Told this once.
      return { token: secret, ...token(made) };
    },
  );

  endpoint(app, "DELETE", "/tokens/:id", Type.Object({ id: Text }), async ({ id }) => {
    needWhole();
    const self = currentPrincipal();
    await access.deleteToken(id, self.may("admin", "tracker") ? undefined : self.name);
    return undefined;
  });

  endpoint(
    app,
    "GET",
    "/grants",
    Type.Object({ user: optional(Text), kind: optional(oneOf(KINDS)), target: optional(Text) }),
    async (message) => {
      const kind = message.kind === undefined ? undefined : nameOf(KINDS, message.kind);
      const { target } = message;
      if (message.user !== currentPrincipal().name) {
        if (kind !== undefined && target !== undefined) needSay({ kind, target });
        else needAdmin();
      }
      const of = {
        ...(message.user === undefined ? {} : { user: message.user }),
        ...(kind === undefined ? {} : { kind }),
        ...(target === undefined ? {} : { target }),
      };
      return { grants: await access.grants(of) };
    },
  );

  const subject = { user: Text, kind: oneOf(KINDS), target: Text };
  endpoint(app, "PUT", "/grants", Type.Object({ ...subject, role: oneOf(ROLES) }), async (message) => {
    const grant = { ...message, kind: nameOf(KINDS, message.kind), role: nameOf(ROLES, message.role) };
    needSay(grant);
    // A grant for nothing would wait for whatever gets that name.
    if (grant.kind === "experiment") await store.experiments.get(grant.target);
    else await store.registry.getModel(grant.target);
    await access.setGrant(grant);
    return { grant };
  });

  endpoint(app, "DELETE", "/grants", Type.Object(subject), async (message) => {
    const grant = { ...message, kind: nameOf(KINDS, message.kind) };
    needSay(grant);
    await access.deleteGrant(grant);
    return undefined;
  });

  endpoint(
    app,
    "GET",
    "/audit",
    Type.Object({ who: optional(Text), target: optional(Text), before: optional(Int), max_results: optional(Int) }),
    async ({ who, target, before, max_results }) => {
      needAdmin();
      const entries = await access.audit({
        ...(who ? { who } : {}),
        ...(target ? { target } : {}),
        ...(before === undefined ? {} : { before: int(before, "before") }),
        limit: limitOf(max_results, 100, 1000),
      });
      return { entries: entries.map(entry) };
    },
  );

  function needAdminFor(name: string | undefined): void {
    const self = currentPrincipal();
    if (self.owner && name === self.name) {
      throw invalid(
        `${self.name} owns this tracker by the token in its data folder and has no other. Create a user, and a token for them.`,
      );
    }
    needAdmin();
  }
}

/** Requests that measure or look, and so are not written down. */
const UNRECORDED =
  /\/(search|search-datasets|table|log-metric|log-batch|log-parameter|log-inputs|outputs|upload-artifact|get-latest-versions|traces)$|\/mlflow-artifacts\/(artifacts|mpu)\/|\/anneal\/artifacts\/(uploads|copies|parts)|\/v1\/traces$|\/traces\/search$/;

/** What of a request's fields says what it was about. */
const TELLING = [
  "experiment_id",
  "run_id",
  "run_uuid",
  "model_id",
  "name",
  "new_name",
  "version",
  "stage",
  "alias",
  "key",
  "user",
  "kind",
  "target",
  "role",
  "label",
  "scope",
];

/** Writes down each request that changes something, with who made it and how it ended. */
export function recordChanges(app: FastifyInstance, access: AccessStore): void {
  // One after the other, in the order in which they ended; a server that closes waits for the last.
  let last: Promise<void> = Promise.resolve();
  app.addHook("onClose", () => last);
  app.addHook("onResponse", (request, reply, done) => {
    done();
    if (["GET", "HEAD", "OPTIONS"].includes(request.method) || reply.statusCode === 404) return;
    const path = request.url.split("?")[0] ?? "";
    if (UNRECORDED.test(path) && request.method !== "DELETE") return;
    const entry = {
      at: Date.now(),
      who: request.principal?.name ?? "nobody",
      action: `${request.method} ${cut(path, 300)}`,
      target: cut(told(request), 300),
      status: reply.statusCode,
    };
    last = last.then(() => access.record(entry)).catch((error: unknown) => request.log.error(error));
  });
}

function told({ body, params }: FastifyRequest): string {
  let fields: Record<string, unknown> = { ...(params as object) };
  try {
    if (typeof body === "string" && body.length < 100_000) fields = { ...fields, ...JSON.parse(body) };
  } catch {
    // It was refused for that.
  }
  return TELLING.flatMap((key) => (fields[key] === undefined ? [] : [`${key}=${String(fields[key])}`])).join(" ");
}
