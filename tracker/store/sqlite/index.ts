import type { Store } from "../store.ts";
import { artifactIndex } from "./artifacts.ts";
import { Database } from "./database.ts";
import { experimentStore } from "./experiments.ts";
import { garbageStore } from "./garbage.ts";
import { loggedModelStore } from "./logged-models.ts";
import { metricStore } from "./metrics.ts";
import { migrate } from "./migrations.ts";
import { registryStore } from "./registry.ts";
import { runStore } from "./runs.ts";

/** Opens a store in one SQLite file, making or migrating it as needed. */
export function openSqliteStore(path: string): Store {
  const db = new Database(path);
  try {
    migrate(db);
    return {
      experiments: experimentStore(db),
      runs: runStore(db),
      metrics: metricStore(db),
      loggedModels: loggedModelStore(db),
      registry: registryStore(db),
      artifacts: artifactIndex(db),
      garbage: garbageStore(db),
      close: async () => db.close(),
    };
  } catch (error) {
    db.close();
    throw error;
  }
}
