import { randomUUID } from "node:crypto";
import { missing } from "../../errors.ts";
import type { ScorerStore } from "../store.ts";
import type { Scorer } from "../types.ts";
import { type Connection, type Database, numericIds } from "./database.ts";
import { activeExperiment } from "./experiments.ts";

interface Row {
  id: string;
  experiment_id: number;
  name: string;
  version: number;
  serialized: string;
  created_at: number;
}

const SELECT = `SELECT s.id, s.experiment_id, s.name, v.version, v.serialized, v.created_at
  FROM scorers s JOIN scorer_versions v ON v.scorer_id = s.id WHERE s.experiment_id = ?`;

const toScorer = (row: Row): Scorer => ({
  id: row.id,
  experimentId: String(row.experiment_id),
  name: row.name,
  version: row.version,
  serialized: row.serialized,
  createdAt: row.created_at,
});

/** The number of an experiment; -1, which none has, for an id that is no number. */
const numberOf = (experimentId: string): number => numericIds([experimentId])[0] ?? -1;

const unknown = (experimentId: string, name: string, version?: number) =>
  missing(
    `Scorer with name '${name}'${version === undefined ? "" : ` and version ${version}`} not found for experiment ${experimentId}.`,
  );

async function versionsOf(db: Connection, experimentId: string, name: string): Promise<Row[]> {
  const rows = await db.all<Row>(`${SELECT} AND s.name = ? ORDER BY v.version`, numberOf(experimentId), name);
  if (rows.length === 0) throw unknown(experimentId, name);
  return rows;
}

export function scorerStore(db: Database): ScorerStore {
  return {
    register: ({ experimentId, name, serialized }) =>
      db.transaction(async (tx) => {
        const experiment = await activeExperiment(tx, experimentId);
        await tx.run(
          "INSERT INTO scorers (id, experiment_id, name) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
          randomUUID().replaceAll("-", ""),
          experiment.id,
          name,
        );
        const scorer = await tx.get<{ id: string }>(
          `SELECT id FROM scorers WHERE experiment_id = ? AND name = ?${tx.dialect.lock}`,
          experiment.id,
          name,
        );
        if (!scorer) throw new Error("the scorer was not stored");
        await tx.run(
          `INSERT INTO scorer_versions (scorer_id, version, serialized, created_at)
           VALUES (?, (SELECT COALESCE(MAX(version), 0) + 1 FROM scorer_versions WHERE scorer_id = ?), ?, ?)`,
          scorer.id,
          scorer.id,
          serialized,
          Date.now(),
        );
        const last = (await versionsOf(tx, experimentId, name)).at(-1);
        if (!last) throw new Error("the scorer's version was not stored");
        return toScorer(last);
      }),

    async list(experimentId) {
      const newest = "v.version = (SELECT MAX(version) FROM scorer_versions WHERE scorer_id = s.id)";
      const rows = await db.all<Row>(`${SELECT} AND ${newest} ORDER BY s.name`, numberOf(experimentId));
      return rows.map(toScorer);
    },

    versions: async (experimentId, name) => (await versionsOf(db, experimentId, name)).map(toScorer),

    async get(experimentId, name, version) {
      const rows = await versionsOf(db, experimentId, name);
      const row = version === undefined ? rows.at(-1) : rows.find((it) => it.version === version);
      if (!row) throw unknown(experimentId, name, version);
      return toScorer(row);
    },

    remove: (experimentId, name, version) =>
      db.transaction(async (tx) => {
        const rows = await versionsOf(tx, experimentId, name);
        const [{ id } = { id: "" }] = rows;
        if (version !== undefined && !rows.some((it) => it.version === version)) {
          throw unknown(experimentId, name, version);
        }
        if (version === undefined || rows.length === 1) await tx.run("DELETE FROM scorers WHERE id = ?", id);
        else await tx.run("DELETE FROM scorer_versions WHERE scorer_id = ? AND version = ?", id, version);
      }),
  };
}
