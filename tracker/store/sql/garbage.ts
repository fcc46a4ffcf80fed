import type { GarbageStore } from "../store.ts";
import type { Database } from "./database.ts";

/** Permanently removes deleted objects. Rows that reference a run or model are removed with it. */
export function garbageStore(db: Database): GarbageStore {
  return {
    async deletedRuns(before) {
      const rows = await db.all<{ id: string; name: string; artifactUri: string; registered: number }>(
        `SELECT run_id AS id, name, artifact_uri AS "artifactUri",
                (SELECT COUNT(*) FROM model_versions v WHERE v.run_id = runs.run_id) AS registered
         FROM runs WHERE lifecycle = 'deleted' AND deleted_at <= ? ORDER BY seq`,
        before,
      );
      return rows.map(({ registered, ...run }) => ({ ...run, registered: registered > 0 }));
    },

    deletedModels: (before) =>
      db.all<{ id: string; name: string; artifactUri: string }>(
        `SELECT model_id AS id, name, artifact_uri AS "artifactUri" FROM logged_models WHERE lifecycle = 'deleted' AND updated_at <= ?`,
        before,
      ),

    async removeRun(id) {
      await db.run("DELETE FROM runs WHERE run_id = ? AND lifecycle = 'deleted'", id);
    },

    async removeModel(id) {
      await db.run("DELETE FROM logged_models WHERE model_id = ? AND lifecycle = 'deleted'", id);
    },

    removeEmptyExperiments: (before) =>
      db.transaction(async (tx) => {
        const gone = await tx.all<{ id: number }>(
          `SELECT id FROM experiments e WHERE lifecycle = 'deleted' AND updated_at <= ? AND id <> 0
           AND NOT EXISTS (SELECT 1 FROM runs WHERE experiment_id = e.id)
           AND NOT EXISTS (SELECT 1 FROM logged_models WHERE experiment_id = e.id)
           AND NOT EXISTS (SELECT 1 FROM model_versions v WHERE v.root = CAST(e.id AS TEXT)
             OR (v.root > CAST(e.id AS TEXT) || '/' AND v.root < CAST(e.id AS TEXT) || '0'))`,
          before,
        );
        for (const { id } of gone) {
          await tx.run("DELETE FROM datasets WHERE experiment_id = ?", id);
          // Without an experiment, a data set would be everyone's.
          await tx.run(
            `DELETE FROM evaluation_datasets WHERE id IN (
               SELECT dataset_id FROM evaluation_dataset_experiments GROUP BY dataset_id
               HAVING COUNT(*) = 1 AND MAX(experiment_id) = ?)`,
            id,
          );
          await tx.run("DELETE FROM experiments WHERE id = ?", id);
        }
        return gone.map(({ id }) => String(id));
      }),

    compact: () => db.compact(),
  };
}
