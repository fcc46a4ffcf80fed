import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { loadSigningKey } from "./api/signature.ts";
import type { Artifacts } from "./artifacts/artifacts.ts";
import { diskArtifacts } from "./artifacts/disk.ts";
import { swept } from "./artifacts/open.ts";
import { Events } from "./events.ts";
import { openSqliteStore } from "./store/sqlite/index.ts";
import type { Store } from "./store/store.ts";

/** A tracker: what it keeps, and news of what changes. */
export interface Tracker {
  store: Store;
  artifacts: Artifacts;
  events: Events;
  /** Signs what is handed out to clients to show again, such as addresses for parts of an upload. */
  signingKey: Buffer;
  close(): Promise<void>;
}

/**
 * Opens the tracker of a data folder, making the folder where it is missing.
 * @param options.dataDir holds the database (tracker.db) and the files (artifacts/)
 * @throws if the database was written by a newer version, or cannot be opened
 */
export function openTracker({ dataDir }: { dataDir: string }): Tracker {
  mkdirSync(dataDir, { recursive: true });
  const store = openSqliteStore(join(dataDir, "tracker.db"));
  const artifacts = swept(diskArtifacts(join(dataDir, "artifacts"), store.artifacts));
  return {
    store,
    artifacts,
    events: new Events(),
    signingKey: loadSigningKey(dataDir),
    async close() {
      await artifacts.close();
      await store.close();
    },
  };
}
