import { exists, invalid, missing } from "../../errors.ts";
import type { ExperimentStore } from "../store.ts";
import type { Experiment, KeyValue, Lifecycle, ViewType } from "../types.ts";
import { compileFilter, compileOrder, type SearchTable } from "./compile.ts";
import type { Database } from "./database.ts";

interface Row {
  id: number;
  name: string;
  artifact_location: string;
  lifecycle: Lifecycle;
  created_at: number;
  updated_at: number;
}

const TABLE: SearchTable = {
  attributes: {
    name: "e.name",
    creation_time: "e.created_at",
    last_update_time: "e.updated_at",
    experiment_id: "e.id",
  },
  keyed: { tag: { from: "FROM experiment_tags t WHERE t.experiment_id = e.id AND t.key = ?", value: "t.value" } },
};

/** The lifecycle stages of a view, as a JSON list for `IN (SELECT value FROM json_each(?))`. */
export const stagesOf = (view: ViewType): string =>
  JSON.stringify(view === "ALL" ? ["active", "deleted"] : view === "DELETED_ONLY" ? ["deleted"] : ["active"]);

export function experimentStore(db: Database): ExperimentStore {
  const select = db.prepare<Row>("SELECT * FROM experiments WHERE id = ?");
  const selectByName = db.prepare<Row>("SELECT * FROM experiments WHERE name = ?");
  const selectTags = db.prepare<KeyValue>(
    "SELECT key, value FROM experiment_tags WHERE experiment_id = ? ORDER BY key",
  );
  const touch = db.prepare("UPDATE experiments SET updated_at = ? WHERE id = ?");
  const upsertTag = db.prepare(
    "INSERT INTO experiment_tags VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET value = excluded.value",
  );

  const toExperiment = (row: Row): Experiment => ({
    id: String(row.id),
    name: row.name,
    artifactLocation: row.artifact_location,
    lifecycle: row.lifecycle,
    createdAt: row.created_at,
    updatedAt: row.updated_at,
    tags: selectTags.all(row.id),
  });
  const find = (id: string): Row => {
    // Only what is a number in full can be one of our ids: "1 OR 1" must not become 1.
    const row = /^\d{1,15}$/.test(id) ? select.get(Number(id)) : undefined;
    if (!row) throw missing(`No Experiment with id=${id} exists`);
    return row;
  };
  const refuseTaken = (name: string): void => {
    const taken = selectByName.get(name);
    if (taken?.lifecycle === "deleted") {
      throw exists(
        `Experiment(name=${name}) already exists in deleted state (id ${taken.id}). Restore it, or choose another name.`,
      );
    }
    if (taken) throw exists(`Experiment(name=${name}) already exists.`);
  };

  return {
    async create({ name, artifactLocation, tags }) {
      return db.transaction(() => {
        refuseTaken(name);
        const now = Date.now();
        const row = db
          .prepare<{ id: number }>(
            "INSERT INTO experiments (name, artifact_location, created_at, updated_at) VALUES (?, ?, ?, ?) RETURNING id",
          )
          .all(name, artifactLocation ?? "", now, now)[0];
        if (!row) throw new Error("the experiment was not stored");
        if (artifactLocation === undefined) {
          db.prepare("UPDATE experiments SET artifact_location = ? WHERE id = ?").run(
            `mlflow-artifacts:/${row.id}`,
            row.id,
          );
        }
        for (const { key, value } of tags) upsertTag.run(row.id, key, value);
        return toExperiment(find(String(row.id)));
      });
    },

    async get(id) {
      return toExperiment(find(id));
    },

    async getByName(name) {
      const row = selectByName.get(name);
      if (!row) throw missing(`Could not find experiment with name '${name}'`);
      return toExperiment(row);
    },

    async search({ filter, order, view, offset, limit }) {
      const where = compileFilter(filter, TABLE);
      const by = compileOrder(order, TABLE, "e.created_at DESC, e.id DESC");
      const rows = db
        .once<Row>(
          `SELECT e.* FROM experiments e WHERE e.lifecycle IN (SELECT value FROM json_each(?))${where.text} ${by.text} LIMIT ? OFFSET ?`,
        )
        .all(stagesOf(view), ...where.values, ...by.values, limit + 1, offset);
      return { items: rows.slice(0, limit).map(toExperiment), more: rows.length > limit };
    },

    async rename(id, name) {
      db.transaction(() => {
        const row = find(id);
        if (row.lifecycle !== "active")
          throw invalid(`Experiment ${id} is deleted and cannot be renamed. Restore it first.`);
        if (row.name !== name) refuseTaken(name);
        db.prepare("UPDATE experiments SET name = ?, updated_at = ? WHERE id = ?").run(name, Date.now(), row.id);
      });
    },

    async setLifecycle(id, lifecycle) {
      db.transaction(() => {
        const row = find(id);
        if (row.lifecycle === lifecycle)
          throw missing(`No Experiment with id=${id} exists that is not ${lifecycle} already.`);
        const now = Date.now();
        db.prepare("UPDATE experiments SET lifecycle = ?, updated_at = ? WHERE id = ?").run(lifecycle, now, row.id);
        // Runs that go with their experiment get its time, so that restoring brings back those and no others.
        if (lifecycle === "deleted") {
          db.prepare(
            "UPDATE runs SET lifecycle = 'deleted', deleted_at = ? WHERE experiment_id = ? AND lifecycle = 'active'",
          ).run(now, row.id);
        } else {
          db.prepare(
            "UPDATE runs SET lifecycle = 'active', deleted_at = NULL WHERE experiment_id = ? AND lifecycle = 'deleted' AND deleted_at = ?",
          ).run(row.id, row.updated_at);
        }
      });
    },

    async setTag(id, { key, value }) {
      db.transaction(() => {
        const row = find(id);
        if (row.lifecycle !== "active")
          throw invalid(`The experiment ${id} must be in the 'active' state. Current state is deleted.`);
        upsertTag.run(row.id, key, value);
        touch.run(Date.now(), row.id);
      });
    },

    async deleteTag(id, key) {
      db.transaction(() => {
        const row = find(id);
        const changes = db.prepare("DELETE FROM experiment_tags WHERE experiment_id = ? AND key = ?").run(row.id, key);
        if (changes === 0) throw missing(`No tag with key '${key}' in experiment ${id}.`);
        touch.run(Date.now(), row.id);
      });
    },

    async runCounts() {
      const rows = db
        .prepare<{ id: number; runs: number }>(
          "SELECT experiment_id AS id, COUNT(*) AS runs FROM runs WHERE lifecycle = 'active' GROUP BY experiment_id",
        )
        .all();
      return new Map(rows.map(({ id, runs }) => [String(id), runs]));
    },

    async keys(ids) {
      const used = (table: "series" | "params"): string[] =>
        db
          .prepare<{ key: string }>(
            `SELECT x.key FROM runs r JOIN ${table} x ON x.run = r.seq
             WHERE r.experiment_id IN (SELECT value FROM json_each(?)) AND r.lifecycle = 'active'
             GROUP BY x.key ORDER BY COUNT(*) DESC, x.key LIMIT 1000`,
          )
          .all(JSON.stringify(ids.filter((id) => /^\d{1,15}$/.test(id)).map(Number)))
          .map(({ key }) => key);
      return { metrics: used("series"), params: used("params") };
    },
  };
}
