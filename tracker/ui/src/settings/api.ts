import { send } from "../api.ts";

/** What the settings' pages ask of the tracker. */

export type Role = "none" | "viewer" | "editor" | "admin";
export type Scope = "read" | "write" | "admin";

export interface Me {
  name: string;
  role: Role;
  scope: Scope;
  /** Of the data folder: not one of the users. */
  owner: boolean;
}

export interface User {
  name: string;
  role: Role;
  disabled: boolean;
  signs_in: boolean;
  creation_time: number;
}

export interface Token {
  id: string;
  user: string;
  label: string;
  scope: Scope;
  session: boolean;
  creation_time: number;
  expiration_time: number | null;
  last_used_time: number | null;
}

export interface Grant {
  user: string;
  kind: "experiment" | "model";
  target: string;
  role: Role;
}

export interface AuditEntry {
  id: number;
  time: number;
  who: string;
  action: string;
  target: string;
  status: number;
}

export interface Webhook {
  id: string;
  name: string;
  url: string;
  events: { entity: string; action: string }[];
  status: "ACTIVE" | "DISABLED";
  last_delivery?: { time: number; success: boolean; message: string };
}

const ANNEAL = "/api/anneal";
const WEBHOOKS = "/ajax-api/2.0/mlflow/webhooks";
const part = encodeURIComponent;

export const settings = {
  me: () => send<Me>("GET", `${ANNEAL}/me`),

  users: async () => (await send<{ users: User[] }>("GET", `${ANNEAL}/users`)).users,
  addUser: (name: string, role: Role) => send("POST", `${ANNEAL}/users`, { name, role }),
  changeUser: (name: string, change: { role?: Role; disabled?: boolean }) =>
    send("PATCH", `${ANNEAL}/users/${part(name)}`, change),
  removeUser: (name: string) => send("DELETE", `${ANNEAL}/users/${part(name)}`),

  tokens: async (user: string) =>
    (await send<{ tokens: Token[] }>("GET", `${ANNEAL}/tokens?user=${part(user)}`)).tokens,
  addToken: (token: { user: string; label: string; scope: Scope; expires_in_days?: number }) =>
    send<Token & { token: string }>("POST", `${ANNEAL}/tokens`, token),
  removeToken: (id: string) => send("DELETE", `${ANNEAL}/tokens/${part(id)}`),

  grants: async (user: string) =>
    (await send<{ grants: Grant[] }>("GET", `${ANNEAL}/grants?user=${part(user)}`)).grants,
  setGrant: (grant: Grant) => send("PUT", `${ANNEAL}/grants`, grant),
  removeGrant: ({ user, kind, target }: Grant) => send("DELETE", `${ANNEAL}/grants`, { user, kind, target }),

  audit: async ({ who, target, before }: { who: string; target: string; before?: number }) => {
    const query = new URLSearchParams({ max_results: "100" });
    if (who) query.set("who", who);
    if (target) query.set("target", target);
    if (before !== undefined) query.set("before", String(before));
    return (await send<{ entries: AuditEntry[] }>("GET", `${ANNEAL}/audit?${query}`)).entries;
  },

  webhooks: async () => (await send<{ webhooks?: Webhook[] }>("GET", WEBHOOKS)).webhooks ?? [],
  addWebhook: (webhook: { name: string; url: string; events: string[]; secret?: string }) =>
    send("POST", WEBHOOKS, webhook),
  changeWebhook: (id: string, change: { status: Webhook["status"] }) =>
    send("PATCH", `${WEBHOOKS}/${part(id)}`, change),
  removeWebhook: (id: string) => send("DELETE", `${WEBHOOKS}/${part(id)}`),
  tryWebhook: async (id: string) =>
    (
      await send<{
        result: { success: boolean; response_status?: number; error_message?: string; response_time_ms: number };
      }>("POST", `${WEBHOOKS}/${part(id)}/test`, {})
    ).result,
};
