import type { GarbageStore } from "../store.ts";
import type { Database } from "./database.ts";

/** Takes what was deleted out of the database for good. Rows that hang on a run or model go with it. */
export function garbageStore(db: Database): GarbageStore {
  return {
    async deletedRuns(before) {
      return db
        .once<{ id: string; name: string; artifactUri: string; registered: number }>(
          `SELECT run_id AS id, name, artifact_uri AS artifactUri,
                  EXISTS (SELECT 1 FROM model_versions v WHERE v.run_id = runs.run_id) AS registered
           FROM runs WHERE lifecycle = 'deleted' AND deleted_at <= ? ORDER BY seq`,
        )
        .all(before)
        .map(({ registered, ...run }) => ({ ...run, registered: registered === 1 }));
    },

    async deletedModels(before) {
      return db
        .once<{ id: string; artifactUri: string }>(
          "SELECT model_id AS id, artifact_uri AS artifactUri FROM logged_models WHERE lifecycle = 'deleted' AND updated_at <= ?",
        )
        .all(before);
    },

    async removeRun(id) {
      db.once("DELETE FROM runs WHERE run_id = ? AND lifecycle = 'deleted'").run(id);
    },

    async removeModel(id) {
      db.once("DELETE FROM logged_models WHERE model_id = ? AND lifecycle = 'deleted'").run(id);
    },

    async removeEmptyExperiments(before) {
      return db.transaction(() => {
        const gone = db
          .once<{ id: number }>(
            `SELECT id FROM experiments e WHERE lifecycle = 'deleted' AND updated_at <= ? AND id <> 0
             AND NOT EXISTS (SELECT 1 FROM runs WHERE experiment_id = e.id)
             AND NOT EXISTS (SELECT 1 FROM logged_models WHERE experiment_id = e.id)`,
          )
          .all(before);
        for (const { id } of gone) {
          db.prepare("DELETE FROM datasets WHERE experiment_id = ?").run(id);
          db.prepare("DELETE FROM experiments WHERE id = ?").run(id);
        }
        return gone.map(({ id }) => String(id));
      });
    },

    async compact() {
      db.exec("VACUUM");
      db.exec("PRAGMA wal_checkpoint(TRUNCATE)");
    },
  };
}
