import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { loadSigningKey } from "./access/signature.ts";
import type { Artifacts } from "./artifacts/artifacts.ts";
import { Locations } from "./artifacts/locations.ts";
import { openArtifacts } from "./artifacts/open.ts";
import { Events, type Relay } from "./events.ts";
import { watchHeartbeats } from "./heartbeats.ts";
import { registeredArtifacts } from "./registry/registered-artifacts.ts";
import { sealVersions } from "./registry/seal.ts";
import { loadSecretsKey, Secrets } from "./store/secrets.ts";
import type { Database } from "./store/sql/database.ts";
import { openStore } from "./store/sql/index.ts";
import { openPostgresql } from "./store/sql/postgresql.ts";
import { openSqlite } from "./store/sql/sqlite.ts";
import type { Store } from "./store/store.ts";
import { WebhookDelivery } from "./webhooks/deliver.ts";
import { observedRegistry } from "./webhooks/observed-registry.ts";

/** A tracker: its stores and its events. */
export interface Tracker {
  store: Store;
  artifacts: Artifacts;
  /** The artifact locations that users may record. */
  locations: Locations;
  events: Events;
  webhooks: WebhookDelivery;
  /** Signs addresses, such as those for parts of an upload. */
  signingKey: Buffer;
  close(): Promise<void>;
}

export interface TrackerOptions {
  /** The folder of the database (tracker.db) and the files (artifacts/), unless set below. Created if missing. */
  dataDir: string;
  /** The database: a SQLite file, or `postgresql://user:password@host:port/database`. */
  store?: string;
  /** The artifact store: a folder or `s3://bucket/prefix`. */
  artifacts?: string;
  /** Whether webhooks may be delivered to this machine and private networks. */
  allowPrivateWebhooks?: boolean;
  /** Milliseconds without a heartbeat after which a run is lost, and between checks. For tests. */
  heartbeats?: { lostMs?: number; checkMs?: number };
  /** URI prefixes, such as `s3://bucket/folder`, of artifact locations that users may record besides the tracker's own. */
  allowedLocations?: readonly string[];
}

/**
 * Opens a tracker. Creates its folder and migrates its database if needed.
 * @throws if the database was written by a newer version, or cannot be opened
 */
export async function openTracker(options: TrackerOptions): Promise<Tracker> {
  const { dataDir, store: where, artifacts: files, allowPrivateWebhooks = false } = options;
  const locations = new Locations(options.allowedLocations);
  mkdirSync(dataDir, { recursive: true, mode: 0o700 });
  const { db, relay } = await openDatabase(dataDir, where);
  const events = new Events(relay);
  const opened = await openStore(db, new Secrets(loadSecretsKey(dataDir))).catch(async (error: unknown) => {
    await events.close();
    throw error;
  });
  const artifacts = await openArtifacts(files ?? join(dataDir, "artifacts"), opened.artifacts)
    .then(async (plain) => {
      await sealVersions(opened, plain);
      await warnOfLocations(opened, locations);
      return registeredArtifacts(plain, opened.registered);
    })
    .catch(async (error: unknown) => {
      await events.close();
      await opened.close();
      throw error;
    });
  const webhooks = new WebhookDelivery(opened.webhooks, { allowPrivate: allowPrivateWebhooks });
  const store = { ...opened, registry: observedRegistry(opened.registry, webhooks) };
  const endWatch = watchHeartbeats(opened.runs, events, options.heartbeats);
  return {
    store,
    artifacts,
    locations,
    events,
    webhooks,
    signingKey: loadSigningKey(dataDir),
    async close() {
      endWatch();
      await webhooks.close();
      await events.close();
      await artifacts.close();
      await store.close();
    },
  };
}

/** Reports what was recorded before locations were restricted, or while others were allowed. */
async function warnOfLocations({ registered }: Store, locations: Locations): Promise<void> {
  const refused = (await registered.locations()).filter(({ uri }) => !locations.allows(uri));
  if (refused.length === 0) return;
  const shown = refused.slice(0, 20).map(({ what, uri }) => `  ${what}: ${uri}`);
  const more = refused.length > shown.length ? [`  and ${refused.length - shown.length} more`] : [];
  process.stderr.write(
    `Clients are led to locations that are not allowed. Allow them with --allow-location, or delete these:\n${[...shown, ...more].join("\n")}\n`,
  );
}

const openDatabase = async (
  dataDir: string,
  where = join(dataDir, "tracker.db"),
): Promise<{ db: Database; relay?: Relay }> =>
  /^postgres(ql)?:/.test(where) ? openPostgresql(where, dataDir) : { db: openSqlite(where) };
