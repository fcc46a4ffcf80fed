import { randomUUID } from "node:crypto";
import { missing } from "../../errors.ts";
import { Secrets } from "../secrets.ts";
import type { WebhookStore } from "../store.ts";
import type { Webhook, WebhookEvent } from "../types.ts";
import type { Connection, Database } from "./database.ts";

interface Row {
  id: string;
  name: string;
  description: string | null;
  url: string;
  secret: string | null;
  events: string;
  active: number;
  created_at: number;
  updated_at: number;
  last_at: number | null;
  last_ok: number | null;
  last_why: string | null;
}

const toWebhook = (row: Row): Webhook => ({
  id: row.id,
  name: row.name,
  description: row.description,
  url: row.url,
  events: JSON.parse(row.events) as WebhookEvent[],
  active: row.active === 1,
  createdAt: row.created_at,
  updatedAt: row.updated_at,
  last: row.last_at === null ? null : { at: row.last_at, ok: row.last_ok === 1, why: row.last_why ?? "" },
});

async function find(db: Connection, id: string): Promise<Row> {
  const row = await db.get<Row>("SELECT * FROM webhooks WHERE id = ?", id);
  if (!row) throw missing(`Webhook with ID ${id} not found.`);
  return row;
}

/** Encrypts the secrets that an earlier version stored as plain text. */
export async function sealSecrets(db: Database, secrets: Secrets): Promise<void> {
  const rows = await db.all<Pick<Row, "id" | "secret">>("SELECT id, secret FROM webhooks WHERE secret IS NOT NULL");
  for (const { id, secret } of rows) {
    if (secret === null || Secrets.isSealed(secret)) continue;
    await db.run("UPDATE webhooks SET secret = ? WHERE id = ? AND secret = ?", secrets.seal(secret, id), id, secret);
  }
}

export function webhookStore(db: Database, secrets: Secrets): WebhookStore {
  const reader =
    ({ id, secret }: Row) =>
    () =>
      secret === null ? null : secrets.open(secret, id);
  return {
    create: ({ name, description, url, secret, events, active }) =>
      db.transaction(async (tx) => {
        const id = randomUUID();
        const now = Date.now();
        await tx.run(
          "INSERT INTO webhooks (id, name, description, url, secret, events, active, created_at, updated_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
          id,
          name,
          description,
          url,
          secret === null ? null : secrets.seal(secret, id),
          JSON.stringify(events),
          Number(active),
          now,
          now,
        );
        return toWebhook(await find(tx, id));
      }),

    async get(id) {
      return toWebhook(await find(db, id));
    },

    async list({ offset, limit }) {
      const rows = await db.all<Row>(
        "SELECT * FROM webhooks ORDER BY created_at DESC, id LIMIT ? OFFSET ?",
        limit + 1,
        offset,
      );
      return { items: rows.slice(0, limit).map(toWebhook), more: rows.length > limit };
    },

    update: (id, change) =>
      db.transaction(async (tx) => {
        const row = await find(tx, id);
        const next = {
          ...row,
          ...change,
          events: change.events === undefined ? row.events : JSON.stringify(change.events),
          active: change.active === undefined ? row.active : Number(change.active),
          secret: change.secret ? secrets.seal(change.secret, id) : change.secret === null ? null : row.secret,
        };
        await tx.run(
          "UPDATE webhooks SET name = ?, description = ?, url = ?, secret = ?, events = ?, active = ?, updated_at = ? WHERE id = ?",
          next.name,
          next.description,
          next.url,
          next.secret,
          next.events,
          next.active,
          Date.now(),
          id,
        );
        return toWebhook(await find(tx, id));
      }),

    async remove(id) {
      if ((await db.run("DELETE FROM webhooks WHERE id = ?", id)) === 0)
        throw missing(`Webhook with ID ${id} not found.`);
    },

    async activeFor(event) {
      const rows = await db.all<Row>("SELECT * FROM webhooks WHERE active = 1 ORDER BY created_at, id");
      return rows
        .map((row) => ({ webhook: toWebhook(row), readSecret: reader(row) }))
        .filter(({ webhook }) => webhook.events.includes(event));
    },

    async secretOf(id) {
      return reader(await find(db, id));
    },

    async delivered(id, { at, ok, why }) {
      await db.run("UPDATE webhooks SET last_at = ?, last_ok = ?, last_why = ? WHERE id = ?", at, Number(ok), why, id);
    },
  };
}
