import type { Secrets } from "../secrets.ts";
import type { Store } from "../store.ts";
import { accessStore } from "./access.ts";
import { artifactIndex } from "./artifacts.ts";
import { audited } from "./audited.ts";
import type { Database } from "./database.ts";
import { evaluationDatasetStore } from "./evaluation-datasets.ts";
import { experimentStore } from "./experiments.ts";
import { garbageStore } from "./garbage.ts";
import { loggedModelStore } from "./logged-models.ts";
import { metricStore } from "./metrics.ts";
import { migrate } from "./migrate.ts";
import { registeredStore } from "./registered.ts";
import { registryStore } from "./registry.ts";
import { runStore } from "./runs.ts";
import { scorerStore } from "./scorers.ts";
import { traceStore } from "./traces.ts";
import { sealSecrets, webhookStore } from "./webhooks.ts";

/** Opens the store in a database and migrates its schema. Closing the store, or an error here, closes the database. */
export async function openStore(plain: Database, secrets: Secrets): Promise<Store> {
  const db = audited(plain);
  try {
    const { backup, from, to } = await migrate(db);
    if (from > 0 && from < to) {
      const copy =
        backup === undefined ? "no copy was made: pg_dump is not installed" : `the one before is in ${backup}`;
      process.stderr.write(`${db.name} was brought from schema ${from} to ${to}; ${copy}.\n`);
    }
    await sealSecrets(db, secrets);
    return {
      experiments: experimentStore(db),
      runs: runStore(db),
      metrics: metricStore(db),
      loggedModels: loggedModelStore(db),
      registry: registryStore(db),
      registered: registeredStore(db),
      artifacts: artifactIndex(db),
      garbage: garbageStore(db),
      access: accessStore(db),
      webhooks: webhookStore(db, secrets),
      traces: traceStore(db),
      evaluationDatasets: evaluationDatasetStore(db),
      scorers: scorerStore(db),
      close: () => db.close(),
    };
  } catch (error) {
    await db.close();
    throw error;
  }
}
