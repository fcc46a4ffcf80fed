import { missing } from "../../errors.ts";
import type { MetricStore } from "../store.ts";
import type { Metric, ModelMetric, RunMetric } from "../types.ts";
import { chunks, type Database, type SqlValue } from "./database.ts";
import type { RunRecord } from "./runs.ts";

export interface MetricRow {
  step: number;
  timestamp: number;
  value: number;
  is_nan: number;
}

/** Infinity is kept as the largest number that MLflow uses for it, so that other tools read the same. */
const INFINITE = 1.7976931348623157e308;

export const toValue = (row: { value: number; is_nan: number }): number => (row.is_nan ? Number.NaN : row.value);

export const fromValue = (value: number): { value: number; isNan: 0 | 1 } =>
  Number.isNaN(value) ? { value: 0, isNan: 1 } : { value: Math.max(-INFINITE, Math.min(INFINITE, value)), isNan: 0 };

/** Whether a point is later than another: by step, then time, then value. */
function isLater(a: MetricRow, b: MetricRow): boolean {
  if (a.step !== b.step) return a.step > b.step;
  if (a.timestamp !== b.timestamp) return a.timestamp > b.timestamp;
  if (a.is_nan !== b.is_nan) return a.is_nan < b.is_nan;
  return a.value > b.value;
}

/** Rows of one INSERT: few enough for any SQLite, many enough that the statement's cost is spread thin. */
const ROWS = 100;

/**
 * Makes the function that writes points of a run. The latest point of each metric is worked out
 * in memory and written once per call. To be called within a transaction.
 */
export function pointWriter(db: Database): (run: RunRecord, metrics: (Metric & Partial<ModelMetric>)[]) => void {
  const find = db.prepare<MetricRow & { id: number }>(
    "SELECT id, step, timestamp, value, is_nan FROM series WHERE run = ? AND key = ?",
  );
  const create = db.prepare<{ id: number }>(
    "INSERT INTO series (run, key, step, timestamp, value, is_nan) VALUES (?, ?, ?, ?, ?, ?) RETURNING id",
  );
  const update = db.prepare("UPDATE series SET step = ?, timestamp = ?, value = ?, is_nan = ? WHERE id = ?");
  const insert = "INSERT OR IGNORE INTO points (series, step, timestamp, is_nan, value) VALUES ";
  const one = db.prepare(`${insert}(?, ?, ?, ?, ?)`);
  const many = db.prepare(insert + Array(ROWS).fill("(?, ?, ?, ?, ?)").join(", "));
  const model = db.prepare("SELECT 1 FROM logged_models WHERE model_id = ?");
  const ofModel = db.prepare("INSERT OR IGNORE INTO logged_model_metrics VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)");

  return (run, metrics) => {
    const byKey = new Map<string, { latest: MetricRow; rows: MetricRow[] }>();
    for (const metric of metrics) {
      const { value, isNan } = fromValue(metric.value);
      const row = { step: metric.step, timestamp: metric.timestamp, value, is_nan: isNan };
      const group = byKey.get(metric.key);
      if (!group) byKey.set(metric.key, { latest: row, rows: [row] });
      else {
        group.rows.push(row);
        if (isLater(row, group.latest)) group.latest = row;
      }
      if (metric.modelId !== undefined) {
        const { modelId, key, timestamp, step, datasetName, datasetDigest } = metric;
        if (!model.get(modelId)) throw missing(`Logged model with ID '${modelId}' not found.`);
        ofModel.run(modelId, key, timestamp, step, value, isNan, run.run_id, datasetName ?? "", datasetDigest ?? "");
      }
    }
    const pending: SqlValue[] = [];
    for (const [key, { latest, rows }] of byKey) {
      const known = find.get(run.seq, key);
      let id: number;
      if (known) {
        id = known.id;
        if (isLater(latest, known)) update.run(latest.step, latest.timestamp, latest.value, latest.is_nan, id);
      } else {
        const made = create.all(run.seq, key, latest.step, latest.timestamp, latest.value, latest.is_nan)[0];
        if (!made) throw new Error("the metric was not stored");
        id = made.id;
      }
      for (const { step, timestamp, is_nan, value } of rows) pending.push(id, step, timestamp, is_nan, value);
    }
    for (const part of chunks(pending, ROWS * 5)) {
      if (part.length === ROWS * 5) many.run(...part);
      else for (const row of chunks(part, 5)) one.run(...row);
    }
  };
}

export function metricStore(db: Database): MetricStore {
  const findRun = db.prepare<{ seq: number }>("SELECT seq FROM runs WHERE run_id = ?");
  const findSeries = db.prepare<{ id: number }>("SELECT id FROM series WHERE run = ? AND key = ?");
  const points = db.prepare<MetricRow>(
    "SELECT step, timestamp, value, is_nan FROM points WHERE series = ? AND step >= ? AND step <= ? ORDER BY step, timestamp, is_nan, value LIMIT ? OFFSET ?",
  );
  // A row at a time costs several times what its numbers do, so a long history comes as four lists in one row. Seventeen
  // digits give back the same number to the last bit.
  const lists = db.prepare<Record<"steps" | "times" | "values_" | "nans", string | null>>(`
    SELECT group_concat(step) AS steps, group_concat(timestamp) AS times,
           group_concat(format('%!.17g', value)) AS values_, group_concat(is_nan) AS nans
    FROM (SELECT step, timestamp, value, is_nan FROM points
          WHERE series = ? ORDER BY step, timestamp, is_nan, value LIMIT ? OFFSET ?)`);
  const long = (series: number, limit: number, offset: number): MetricRow[] => {
    const found = lists.get(series, limit, offset);
    const list = (text: string | null | undefined) => JSON.parse(`[${text ?? ""}]`) as number[];
    const [steps, times, values, nans] = [found?.steps, found?.times, found?.values_, found?.nans].map(list);
    return steps.map((step, i) => ({ step, timestamp: times[i], value: values[i], is_nan: nans[i] }));
  };
  const from = db.prepare<MetricRow>(
    "SELECT step, timestamp, value, is_nan FROM points WHERE series = ? AND step >= ? ORDER BY step, timestamp, is_nan, value LIMIT 1",
  );
  const first = db.prepare<{ step: number | null }>(
    "SELECT MIN(step) AS step FROM points WHERE series = ? AND step >= ?",
  );
  const last = db.prepare<{ step: number | null }>(
    "SELECT MAX(step) AS step FROM points WHERE series = ? AND step <= ?",
  );

  const seriesOf = (runId: string, key: string): number | undefined => {
    const run = findRun.get(runId);
    return run && findSeries.get(run.seq, key)?.id;
  };
  const toMetric =
    (key: string) =>
    (row: MetricRow): Metric => ({
      key,
      value: toValue(row),
      timestamp: row.timestamp,
      step: row.step,
    });

  const sampleSeries = (series: number, start: number, end: number, count: number): MetricRow[] => {
    const all = points.all(series, start, end, count + 1, 0);
    if (all.length <= count) return all;
    const low = first.get(series, start)?.step ?? start;
    const high = last.get(series, end)?.step ?? end;
    const found = new Map<number, MetricRow>();
    for (let i = 0; i < count; i++) {
      // Each wanted step is looked up by the key, so the cost does not grow with the length of the series.
      const wanted = count === 1 ? high : Math.round(low + ((high - low) * i) / (count - 1));
      const row = from.get(series, wanted);
      if (row && row.step <= high) found.set(row.step, row);
    }
    return [...found.values()].sort((a, b) => a.step - b.step);
  };

  return {
    async history(runId, key, { offset, limit }) {
      const series = seriesOf(runId, key);
      if (series === undefined) return { items: [], more: false };
      const rows = long(series, limit + 1, offset);
      return { items: rows.slice(0, limit).map(toMetric(key)), more: rows.length > limit };
    },

    async bulk(runIds, key, limit) {
      const found: RunMetric[] = [];
      for (const runId of runIds) {
        const series = seriesOf(runId, key);
        if (series === undefined || found.length >= limit) continue;
        for (const row of long(series, limit - found.length, 0)) {
          found.push({ ...toMetric(key)(row), runId });
        }
      }
      return found;
    },

    async sample(runIds, key, { start, end, count }) {
      const found: RunMetric[] = [];
      for (const runId of runIds) {
        const series = seriesOf(runId, key);
        if (series === undefined) continue;
        const rows = sampleSeries(series, start ?? Number.MIN_SAFE_INTEGER, end ?? Number.MAX_SAFE_INTEGER, count);
        for (const row of rows) found.push({ ...toMetric(key)(row), runId });
      }
      return found;
    },
  };
}
