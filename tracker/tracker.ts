import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { loadSigningKey } from "./access/signature.ts";
import type { Artifacts } from "./artifacts/artifacts.ts";
import { openArtifacts } from "./artifacts/open.ts";
import { Events, type Relay } from "./events.ts";
import type { Database } from "./store/sql/database.ts";
import { openStore } from "./store/sql/index.ts";
import { openPostgresql } from "./store/sql/postgresql.ts";
import { openSqlite } from "./store/sql/sqlite.ts";
import type { Store } from "./store/store.ts";
import { WebhookDelivery } from "./webhooks/deliver.ts";
import { observedRegistry } from "./webhooks/observed-registry.ts";

/** A tracker: what it keeps, and news of what changes. */
export interface Tracker {
  store: Store;
  artifacts: Artifacts;
  events: Events;
  webhooks: WebhookDelivery;
  /** Signs what is handed out to clients to show again, such as addresses for parts of an upload. */
  signingKey: Buffer;
  close(): Promise<void>;
}

export interface TrackerOptions {
  /** Holds what is not kept elsewhere: the database (tracker.db) and the files (artifacts/). Made where it is missing. */
  dataDir: string;
  /** The database: a SQLite file, or `postgresql://user:password@host:port/database`. */
  store?: string;
  /** Where files go: a folder, or `s3://bucket/prefix`. */
  artifacts?: string;
}

/**
 * Opens a tracker, making its folder where it is missing and bringing its database up to date.
 * @throws if the database was written by a newer version, or cannot be opened
 */
export async function openTracker({ dataDir, store: where, artifacts: files }: TrackerOptions): Promise<Tracker> {
  mkdirSync(dataDir, { recursive: true });
  const { db, relay } = await openDatabase(dataDir, where);
  const events = new Events(relay);
  const kept = await openStore(db).catch(async (error: unknown) => {
    await events.close();
    throw error;
  });
  const artifacts = await openArtifacts(files ?? join(dataDir, "artifacts"), kept.artifacts).catch(
    async (error: unknown) => {
      await events.close();
      await kept.close();
      throw error;
    },
  );
  const webhooks = new WebhookDelivery(kept.webhooks);
  const store = { ...kept, registry: observedRegistry(kept.registry, webhooks) };
  return {
    store,
    artifacts,
    events,
    webhooks,
    signingKey: loadSigningKey(dataDir),
    async close() {
      await webhooks.close();
      await events.close();
      await artifacts.close();
      await store.close();
    },
  };
}

const openDatabase = async (
  dataDir: string,
  where = join(dataDir, "tracker.db"),
): Promise<{ db: Database; relay?: Relay }> =>
  /^postgres(ql)?:/.test(where) ? openPostgresql(where, dataDir) : { db: openSqlite(where) };
