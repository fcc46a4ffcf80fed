// API calls of the settings pages.
import type { Grant, ROLES, SCOPES } from "../../../api/endpoints/anneal-schemas.ts";
import type { Request } from "../../../api/endpoints/index.ts";
import { call } from "../call.ts";

export type { Grant, User } from "../../../api/endpoints/anneal-schemas.ts";
export type Role = (typeof ROLES)[number];
export type Scope = (typeof SCOPES)[number];

export const settings = {
  me: () => call("GET /api/anneal/me"),

  users: async () => (await call("GET /api/anneal/users")).users,
  addUser: (name: string, role: Role) => call("POST /api/anneal/users", { name, role }),
  changeUser: (name: string, change: { role?: Role; disabled?: boolean }) =>
    call("PATCH /api/anneal/users/:name", { name, ...change }),
  removeUser: (name: string) => call("DELETE /api/anneal/users/:name", { name }),

  tokens: async (user: string) => (await call("GET /api/anneal/tokens", { user })).tokens,
  addToken: (token: Request<"POST /api/anneal/tokens">) => call("POST /api/anneal/tokens", token),
  removeToken: (id: string) => call("DELETE /api/anneal/tokens/:id", { id }),

  grants: async (user: string) => (await call("GET /api/anneal/grants", { user })).grants,
  setGrant: (grant: Grant) => call("PUT /api/anneal/grants", grant),
  removeGrant: ({ user, kind, target }: Grant) => call("DELETE /api/anneal/grants", { user, kind, target }),

  /** @param before an entry id; returns older entries */
  audit: async ({ who, target, before }: { who: string; target: string; before?: number }) =>
    (
      await call("GET /api/anneal/audit", {
        max_results: 100,
        who: who || undefined,
        target: target || undefined,
        before,
      })
    ).entries,

  webhooks: async () => (await call("GET /api/2.0/mlflow/webhooks")).webhooks ?? [],
  addWebhook: (webhook: Request<"POST /api/2.0/mlflow/webhooks">) => call("POST /api/2.0/mlflow/webhooks", webhook),
  changeWebhook: (webhook_id: string, status: "ACTIVE" | "DISABLED") =>
    call("PATCH /api/2.0/mlflow/webhooks/:webhook_id", { webhook_id, status }),
  removeWebhook: (webhook_id: string) => call("DELETE /api/2.0/mlflow/webhooks/:webhook_id", { webhook_id }),
  tryWebhook: async (webhook_id: string) =>
    (await call("POST /api/2.0/mlflow/webhooks/:webhook_id/test", { webhook_id })).result,
};
