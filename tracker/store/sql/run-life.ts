import type { RunStore } from "../store.ts";
import type { Metric, Rewind } from "../types.ts";
import type { Connection, Database } from "./database.ts";
import { type MetricRow, toValue } from "./metrics.ts";
import { activeRun, findRun, type RunRecord, toRun } from "./run-records.ts";

/** Sets the latest point of each of a run's metrics, from the points that are left. A metric without points is removed. */
async function refreshLatest(tx: Connection, run: number): Promise<void> {
  await tx.run(
    "DELETE FROM series WHERE run = ? AND NOT EXISTS (SELECT 1 FROM points p WHERE p.series = series.id)",
    run,
  );
  for (const { id } of await tx.all<{ id: number }>("SELECT id FROM series WHERE run = ?", run)) {
    const last = await tx.get<MetricRow>(
      "SELECT step, timestamp, value, is_nan FROM points WHERE series = ? ORDER BY step DESC, timestamp DESC, is_nan ASC, value DESC LIMIT 1",
      id,
    );
    if (!last) continue;
    const { step, timestamp, value, is_nan } = last;
    const set = "UPDATE series SET step = ?, timestamp = ?, value = ?, is_nan = ? WHERE id = ?";
    await tx.run(set, step, timestamp, value, is_nan, id);
  }
}

/** Heartbeats and rewinding of runs. */
export function runLife(db: Database): Pick<RunStore, "beat" | "lose" | "rewind" | "rewinds" | "rewound"> {
  return {
    async beat(id, now) {
      const row = await findRun(db, id);
      if (row.lost === 0) {
        await db.run("UPDATE runs SET alive_at = ? WHERE seq = ?", now, row.seq);
        return { run: toRun(row), revived: false };
      }
      // Its process was only out of reach.
      await db.run(
        "UPDATE runs SET alive_at = ?, lost = 0, status = 'RUNNING', end_time = NULL WHERE seq = ? AND status = 'FAILED'",
        now,
        row.seq,
      );
      return { run: toRun(await findRun(db, id)), revived: true };
    },

    async lose(before) {
      const rows = await db.transaction((tx) =>
        tx.all<RunRecord>(
          `UPDATE runs SET status = 'FAILED', end_time = alive_at, lost = 1
           WHERE alive_at < ? AND status = 'RUNNING' AND lifecycle = 'active' RETURNING *`,
          before,
        ),
      );
      return rows.map(toRun);
    },

    rewind: (id, { id: rewind, step, at }) =>
      db.transaction(async (tx) => {
        const row = await activeRun(tx, id);
        await tx.run(
          "INSERT INTO rewinds (run, id, step, at) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
          row.seq,
          rewind,
          step,
          at,
        );
        // Again when the request is repeated: its client then also sends again what came before and after.
        await tx.run(
          `INSERT INTO rewound_points (run, rewind, key, step, timestamp, is_nan, value)
           SELECT s.run, ?, s.key, p.step, p.timestamp, p.is_nan, p.value
           FROM series s JOIN points p ON p.series = s.id WHERE s.run = ? AND p.step > ? ON CONFLICT DO NOTHING`,
          rewind,
          row.seq,
          step,
        );
        await tx.run(
          "DELETE FROM points WHERE step > ? AND series IN (SELECT id FROM series WHERE run = ?)",
          step,
          row.seq,
        );
        await refreshLatest(tx, row.seq);
        return toRun(row);
      }),

    async rewinds(id) {
      const { seq } = await findRun(db, id);
      return db.all<Rewind>(
        `SELECT r.id, r.step, r.at, (SELECT COUNT(*) FROM rewound_points p WHERE p.run = r.run AND p.rewind = r.id) AS points
         FROM rewinds r WHERE r.run = ? ORDER BY r.at DESC, r.id`,
        seq,
      );
    },

    async rewound(id, rewind, limit) {
      const { seq } = await findRun(db, id);
      const rows = await db.all<MetricRow & { key: string }>(
        "SELECT key, step, timestamp, value, is_nan FROM rewound_points WHERE run = ? AND rewind = ? ORDER BY key, step, timestamp LIMIT ?",
        seq,
        rewind,
        limit,
      );
      return rows.map(
        (row): Metric => ({ key: row.key, value: toValue(row), timestamp: row.timestamp, step: row.step }),
      );
    },
  };
}
