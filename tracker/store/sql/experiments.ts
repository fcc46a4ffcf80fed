import { exists, invalid, missing } from "../../errors.ts";
import type { ExperimentStore } from "../store.ts";
import type { Experiment, KeyValue, Lifecycle, ViewType } from "../types.ts";
import { findPage, type OrderPart, type SearchTable } from "./compile.ts";
import { type Connection, type Database, numericIds } from "./database.ts";
import { keyValuesOf } from "./key-values.ts";
import { inFolder, refuseGuarded } from "./registered.ts";

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

const NEWEST: OrderPart[] = [
  { expression: "e.created_at", descending: true },
  { expression: "e.id", descending: true },
];

/** The lifecycle stages of a view. */
export const stagesOf = (view: ViewType): Lifecycle[] =>
  view === "ALL" ? ["active", "deleted"] : view === "DELETED_ONLY" ? ["deleted"] : ["active"];

/** Finds the row of an experiment. A transaction that changes the experiment locks it. */
async function findExperiment(db: Connection, id: string, { lock = false } = {}): Promise<Row> {
  const [number] = numericIds([id]);
  const row =
    number === undefined
      ? undefined
      : await db.get<Row>(`SELECT * FROM experiments WHERE id = ?${lock ? db.dialect.lock : ""}`, number);
  if (!row) throw missing(`No Experiment with id=${id} exists`);
  return row;
}

/** Returns an experiment that is active. */
export async function activeExperiment(db: Connection, id: string): Promise<Row> {
  const row = await findExperiment(db, id);
  if (row.lifecycle !== "active") {
    throw invalid(`The experiment ${id} must be in the 'active' state. Current state is deleted.`);
  }
  return row;
}

async function withTags(db: Connection, rows: Row[]): Promise<Experiment[]> {
  const ids = rows.map(({ id }) => id);
  const tags = await keyValuesOf(db, "experiment_tags", "experiment_id", ids);
  return rows.map((row) => ({
    id: String(row.id),
    name: row.name,
    artifactLocation: row.artifact_location,
    lifecycle: row.lifecycle,
    createdAt: row.created_at,
    updatedAt: row.updated_at,
    tags: tags.get(row.id) ?? [],
  }));
}

async function toExperiment(db: Connection, row: Row): Promise<Experiment> {
  const [experiment] = await withTags(db, [row]);
  if (!experiment) throw missing(`No Experiment with id=${row.id} exists`);
  return experiment;
}

async function refuseTaken(db: Connection, name: string): Promise<void> {
  const taken = await db.get<Row>("SELECT * FROM experiments WHERE name = ?", name);
  if (taken?.lifecycle === "deleted") {
    throw exists(
      `Experiment(name=${name}) already exists in deleted state (id ${taken.id}). Restore it, or choose another name.`,
    );
  }
  if (taken) throw exists(`Experiment(name=${name}) already exists.`);
}

async function setTag(db: Connection, id: number, { key, value }: KeyValue): Promise<void> {
  await db.run(
    "INSERT INTO experiment_tags VALUES (?, ?, ?) ON CONFLICT (experiment_id, key) DO UPDATE SET value = excluded.value",
    id,
    key,
    value,
  );
}

const touch = (db: Connection, id: number): Promise<number> =>
  db.run("UPDATE experiments SET updated_at = ? WHERE id = ?", Date.now(), id);

export function experimentStore(db: Database): ExperimentStore {
  return {
    create: ({ name, artifactLocation, tags }) =>
      db.transaction(async (tx) => {
        await refuseTaken(tx, name);
        const now = Date.now();
        const [row] = await tx.all<{ id: number }>(
          "INSERT INTO experiments (name, artifact_location, created_at, updated_at) VALUES (?, ?, ?, ?) RETURNING id",
          name,
          artifactLocation ?? "",
          now,
          now,
        );
        if (!row) throw new Error("the experiment was not stored");
        if (artifactLocation === undefined) {
          const own = `mlflow-artifacts:/${row.id}`;
          await tx.run("UPDATE experiments SET artifact_location = ? WHERE id = ?", own, row.id);
        }
        for (const tag of tags) await setTag(tx, row.id, tag);
        return toExperiment(tx, await findExperiment(tx, String(row.id)));
      }),

    async get(id) {
      return toExperiment(db, await findExperiment(db, id));
    },

    async getByName(name) {
      const row = await db.get<Row>("SELECT * FROM experiments WHERE name = ?", name);
      if (!row) throw missing(`Could not find experiment with name '${name}'`);
      return toExperiment(db, row);
    },

    async search({ view, ...search }) {
      const from = {
        text: `FROM experiments e WHERE ${db.dialect.among("e.lifecycle")}`,
        values: [stagesOf(view)],
      };
      const { rows, ...page } = await findPage<Row>(db, TABLE, "e.*", from, NEWEST, search);
      return { items: await withTags(db, rows), ...page };
    },

    rename: (id, name) =>
      db.transaction(async (tx) => {
        const row = await findExperiment(tx, id, { lock: true });
        if (row.lifecycle !== "active")
          throw invalid(`Experiment ${id} is deleted and cannot be renamed. Restore it first.`);
        if (row.name !== name) await refuseTaken(tx, name);
        await tx.run("UPDATE experiments SET name = ?, updated_at = ? WHERE id = ?", name, Date.now(), row.id);
      }),

    setLifecycle: (id, lifecycle) =>
      db.transaction(async (tx) => {
        const row = await findExperiment(tx, id, { lock: true });
        if (row.lifecycle === lifecycle)
          throw missing(`No Experiment with id=${id} exists that is not ${lifecycle} already.`);
        if (lifecycle === "deleted") {
          const [own, chosen] = [inFolder(String(row.id)), inFolder(row.artifact_location)];
          const ofRuns = "v.origin_run IN (SELECT run_id FROM runs WHERE experiment_id = ?)";
          await refuseGuarded(tx, `Experiment ${id}`, [ofRuns, own.condition, chosen.condition].join(" OR "), [
            row.id,
            ...own.values,
            ...chosen.values,
          ]);
        }
        const now = Date.now();
        await tx.run("UPDATE experiments SET lifecycle = ?, updated_at = ? WHERE id = ?", lifecycle, now, row.id);
        // Runs that are deleted with their experiment get its time, so that restoring it restores only those.
        if (lifecycle === "deleted") {
          await tx.run(
            "UPDATE runs SET lifecycle = 'deleted', deleted_at = ? WHERE experiment_id = ? AND lifecycle = 'active'",
            now,
            row.id,
          );
        } else {
          await tx.run(
            "UPDATE runs SET lifecycle = 'active', deleted_at = NULL WHERE experiment_id = ? AND lifecycle = 'deleted' AND deleted_at = ?",
            row.id,
            row.updated_at,
          );
        }
      }),

    setTag: (id, tag) =>
      db.transaction(async (tx) => {
        const row = await activeExperiment(tx, id);
        await setTag(tx, row.id, tag);
        await touch(tx, row.id);
      }),

    deleteTag: (id, key) =>
      db.transaction(async (tx) => {
        const row = await findExperiment(tx, id);
        const changes = await tx.run("DELETE FROM experiment_tags WHERE experiment_id = ? AND key = ?", row.id, key);
        if (changes === 0) throw missing(`No tag with key '${key}' in experiment ${id}.`);
        await touch(tx, row.id);
      }),

    async runCounts() {
      const rows = await db.all<{ id: number; runs: number }>(
        "SELECT experiment_id AS id, COUNT(*) AS runs FROM runs WHERE lifecycle = 'active' GROUP BY experiment_id",
      );
      return new Map(rows.map(({ id, runs }) => [String(id), runs]));
    },

    async keys(ids) {
      const used = async (table: "series" | "params"): Promise<string[]> => {
        const rows = await db.all<{ key: string }>(
          `SELECT x.key FROM runs r JOIN ${table} x ON x.run = r.seq
           WHERE ${db.dialect.among("r.experiment_id")} AND r.lifecycle = 'active'
           GROUP BY x.key ORDER BY COUNT(*) DESC, x.key LIMIT 1000`,
          numericIds(ids),
        );
        return rows.map(({ key }) => key);
      };
      return { metrics: await used("series"), params: await used("params") };
    },
  };
}
