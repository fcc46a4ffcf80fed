import { Type } from "@sinclair/typebox";
import { AuditEntry, Grant, KINDS, Me, ROLES, SCOPES, Token, token, User } from "./anneal-schemas.ts";
import { adminTracker, endpoint } from "./endpoint.ts";
import { Bool, Int, listOf, oneOf, optional, Text } from "./fields.ts";
import { Done, object, texts } from "./schemas.ts";

/** The user's own account with a token of scope admin; another user's needs an admin of the tracker. */
const ownAccount = { role: "admin", of: "account" } as const;
const adminTarget = { role: "admin", of: "target" } as const;
const TARGET = { user: Text, kind: oneOf(KINDS), target: Text };

export const getMe = endpoint({
  method: "GET",
  path: "/api/anneal/me",
  summary: "The user of the token.",
  request: Type.Object({}),
  answer: Me,
  right: "signed in",
});

export const getPermissions = endpoint({
  method: "GET",
  path: "/api/anneal/permissions",
  summary:
    "The endpoints that the user may not use, each with the reason: for one experiment, for one model, or for all without these parameters.",
  request: Type.Object({ experiment_id: optional(Text), model: optional(Text) }),
  /** Keys are method and path, as declared. */
  answer: object({ refused: texts }),
  right: "signed in",
});

export const listUsers = endpoint({
  method: "GET",
  path: "/api/anneal/users",
  summary: "All users.",
  request: Type.Object({}),
  answer: object({ users: listOf(User) }),
  right: adminTracker,
});

export const createUser = endpoint({
  method: "POST",
  path: "/api/anneal/users",
  summary: "Add a user.",
  request: Type.Object({ name: Text, role: oneOf(ROLES) }),
  answer: object({ user: User }),
  right: adminTracker,
});

export const updateUser = endpoint({
  method: "PATCH",
  path: "/api/anneal/users/:name",
  summary: "Change a user.",
  request: Type.Object({ name: Text, role: optional(oneOf(ROLES)), disabled: optional(Bool) }),
  answer: object({ user: User }),
  right: adminTracker,
});

export const deleteUser = endpoint({
  method: "DELETE",
  path: "/api/anneal/users/:name",
  summary: "Remove a user.",
  request: Type.Object({ name: Text }),
  answer: Done,
  right: adminTracker,
});

export const listTokens = endpoint({
  method: "GET",
  path: "/api/anneal/tokens",
  summary: "The tokens of one user or of all users, without their secrets.",
  request: Type.Object({ user: optional(Text) }),
  answer: object({ tokens: listOf(Token) }),
  right: ownAccount,
});

export const createToken = endpoint({
  method: "POST",
  path: "/api/anneal/tokens",
  summary: "Create a token. Its secret is returned only once, by this call.",
  request: Type.Object({
    user: optional(Text),
    label: Text,
    scope: optional(oneOf(SCOPES)),
    expires_in_days: optional(Int),
  }),
  answer: object({ token: Text, ...token }),
  right: ownAccount,
});

export const deleteToken = endpoint({
  method: "DELETE",
  path: "/api/anneal/tokens/:id",
  summary: "Revoke a token.",
  request: Type.Object({ id: Text }),
  answer: Done,
  right: ownAccount,
});

export const listGrants = endpoint({
  method: "GET",
  path: "/api/anneal/grants",
  summary: "Users' roles for single experiments and models.",
  request: Type.Object({ user: optional(Text), kind: optional(oneOf(KINDS)), target: optional(Text) }),
  answer: object({ grants: listOf(Grant) }),
  right: { role: "viewer", of: "account" },
});

export const setGrant = endpoint({
  method: "PUT",
  path: "/api/anneal/grants",
  summary: "Give a user a role for an experiment or a model.",
  request: Type.Object({ ...TARGET, role: oneOf(ROLES) }),
  answer: object({ grant: Grant }),
  right: adminTarget,
});

export const deleteGrant = endpoint({
  method: "DELETE",
  path: "/api/anneal/grants",
  summary: "Revoke a user's role for an experiment or a model.",
  request: Type.Object(TARGET),
  answer: Done,
  right: adminTarget,
});

export const getAudit = endpoint({
  method: "GET",
  path: "/api/anneal/audit",
  summary: "Who changed what, and when.",
  request: Type.Object({
    who: optional(Text),
    target: optional(Text),
    before: optional(Int),
    max_results: optional(Int),
  }),
  answer: object({ entries: listOf(AuditEntry) }),
  right: adminTracker,
});
