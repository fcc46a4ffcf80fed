import type { RegistryStore } from "../store.ts";
import type { CardStatement, Gate, GateOperator, GateResult, Stage, StageChange } from "../types.ts";
import type { Connection, Database } from "./database.ts";
import { findModel, findVersion, holdVersion, touch } from "./registry-rows.ts";

interface GateRow {
  metric: string;
  op: GateOperator;
  bound: number | null;
  versus: "production" | null;
}

interface HistoryRow {
  version: number;
  from_stage: Stage;
  to_stage: Stage | "Deleted";
  who: string;
  at: number;
  comment: string | null;
  gates: string;
}

export async function gatesOf(db: Connection, name: string): Promise<Gate[]> {
  const rows = await db.all<GateRow>(
    "SELECT metric, op, bound, versus FROM gates WHERE name = ? ORDER BY position",
    name,
  );
  return rows.map(
    ({ metric, op, bound, versus }): Gate => ({
      metric,
      op,
      ...(bound === null ? {} : { bound }),
      ...(versus === null ? {} : { versus }),
    }),
  );
}

/** Model data beyond MLflow: gates, the history of stages, and the statements in model cards. */
export function modelCards(
  db: Database,
): Pick<RegistryStore, "gates" | "setGates" | "history" | "statements" | "setStatements"> {
  return {
    async gates(name) {
      await findModel(db, name);
      return gatesOf(db, name);
    },

    setGates: (name, gates) =>
      db.transaction(async (tx) => {
        await findModel(tx, name, { lock: true });
        await tx.run("DELETE FROM gates WHERE name = ?", name);
        for (const [position, { metric, op, bound, versus }] of gates.entries()) {
          await tx.run(
            "INSERT INTO gates VALUES (?, ?, ?, ?, ?, ?)",
            name,
            position,
            metric,
            op,
            bound ?? null,
            versus ?? null,
          );
        }
        await touch(tx, name);
      }),

    async history(name) {
      const rows = await db.all<HistoryRow>("SELECT * FROM stage_history WHERE name = ? ORDER BY id DESC", name);
      if (rows.length === 0) await findModel(db, name);
      return rows.map(
        (row): StageChange => ({
          version: row.version,
          from: row.from_stage,
          to: row.to_stage,
          who: row.who,
          at: row.at,
          comment: row.comment,
          gates: JSON.parse(row.gates) as GateResult[],
        }),
      );
    },

    async statements(name, version) {
      await findVersion(db, name, version);
      return db.all<CardStatement>(
        "SELECT field, value, who, at FROM card_statements WHERE name = ? AND version = ? ORDER BY field",
        name,
        version,
      );
    },

    setStatements: (name, version, statements) =>
      db.transaction(async (tx) => {
        await holdVersion(tx, name, version);
        for (const { field, value, who, at } of statements) {
          if (value === "") {
            await tx.run(
              "DELETE FROM card_statements WHERE name = ? AND version = ? AND field = ?",
              name,
              version,
              field,
            );
          } else {
            await tx.run(
              `INSERT INTO card_statements VALUES (?, ?, ?, ?, ?, ?)
               ON CONFLICT (name, version, field) DO UPDATE SET value = excluded.value, who = excluded.who, at = excluded.at`,
              name,
              version,
              field,
              value,
              who,
              at,
            );
          }
        }
        await touch(tx, name, version);
      }),
  };
}
