/** Migrates a database to this version's schema. */
import type { Database } from "./database.ts";
import { schemaSteps } from "./schema.ts";

/** An arbitrary number, the same in every process. */
const MIGRATION_LOCK = 20_261_121;

const versionOf = async (db: Pick<Database, "get">): Promise<number> =>
  (await db.get<{ version: number }>("SELECT version FROM schema_version"))?.version ?? 0;

/**
 * Migrates a database to this version's schema after a backup. A database of a newer Anneal is not changed.
 * @returns the path of the backup, if there is one
 */
export async function migrate(db: Database): Promise<{ backup?: string; from: number; to: number }> {
  await db.execute("CREATE TABLE IF NOT EXISTS schema_version (version INTEGER NOT NULL)");
  const steps = schemaSteps(db.dialect);
  const from = await versionOf(db);
  const to = steps.length;
  if (from > to) {
    throw new Error(
      `${db.name} was written by a newer Anneal (schema ${from}, this one knows ${to}). Update Anneal, or use another data folder.`,
    );
  }
  if (from === to) return { from, to };
  const backup = from === 0 ? undefined : await db.backup(from);
  await db.transaction(async (tx) => {
    // If several processes start at once, only one migrates.
    if (tx.dialect.name === "postgresql") await tx.run("SELECT pg_advisory_xact_lock(?)", MIGRATION_LOCK);
    const version = await versionOf(tx);
    for (const step of steps.slice(version)) {
      for (const statement of step) await tx.run(statement);
    }
    if (version === 0) {
      const now = Date.now();
      await tx.run(
        "INSERT INTO experiments (id, name, artifact_location, created_at, updated_at) VALUES (0, 'Default', 'mlflow-artifacts:/0', ?, ?)",
        now,
        now,
      );
    }
    await tx.run("DELETE FROM schema_version");
    await tx.run("INSERT INTO schema_version (version) VALUES (?)", to);
  });
  return { from, to, ...(backup === undefined ? {} : { backup }) };
}
