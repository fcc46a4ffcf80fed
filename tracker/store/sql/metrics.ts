import { missing } from "../../errors.ts";
import type { HistoryMark, MetricStore } from "../store.ts";
import type { Metric, ModelMetric, RunMetric } from "../types.ts";
import { type Connection, type Database, type NumberColumn, rowsOf } from "./database.ts";
import type { RunRecord } from "./run-records.ts";

export interface MetricRow {
  step: number;
  timestamp: number;
  value: number;
  is_nan: number;
}

/** Infinity is stored as MLflow's largest number, for compatibility with other tools. */
const INFINITE = 1.7976931348623157e308;

export const toValue = (row: { value: number; is_nan: number }): number => (row.is_nan ? Number.NaN : row.value);

const fromValue = (value: number): { value: number; isNan: 0 | 1 } =>
  Number.isNaN(value) ? { value: 0, isNan: 1 } : { value: Math.max(-INFINITE, Math.min(INFINITE, value)), isNan: 0 };

/** Whether a point is later than another: by step, then time, then value. */
function isLater(a: MetricRow, b: MetricRow): boolean {
  if (a.step !== b.step) return a.step > b.step;
  if (a.timestamp !== b.timestamp) return a.timestamp > b.timestamp;
  if (a.is_nan !== b.is_nan) return a.is_nan < b.is_nan;
  return a.value > b.value;
}

const POINT: readonly NumberColumn[] = [
  { name: "series", kind: "integer" },
  { name: "step", kind: "integer" },
  { name: "timestamp", kind: "integer" },
  { name: "is_nan", kind: "integer" },
  { name: "value", kind: "real" },
];

async function writeModelPoint(tx: Connection, run: RunRecord, modelId: string, point: Metric & Partial<ModelMetric>) {
  if (!(await tx.get("SELECT 1 FROM logged_models WHERE model_id = ?", modelId))) {
    throw missing(`Logged model with ID '${modelId}' not found.`);
  }
  const { value, isNan } = fromValue(point.value);
  await tx.run(
    "INSERT INTO logged_model_metrics VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
    modelId,
    point.key,
    point.timestamp,
    point.step,
    value,
    isNan,
    run.run_id,
    point.datasetName ?? "",
    point.datasetDigest ?? "",
  );
}

/**
 * Writes points of a run. The latest point of each metric is determined in memory and written once per call.
 * Must be called in a transaction that has locked the run.
 */
export async function writePoints(
  tx: Connection,
  run: RunRecord,
  metrics: readonly (Metric & Partial<ModelMetric>)[],
): Promise<void> {
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
    if (metric.modelId !== undefined) await writeModelPoint(tx, run, metric.modelId, metric);
  }
  const ids = await keepLatest(tx, run, new Map([...byKey].map(([key, { latest }]) => [key, latest])));
  const points: number[][] = [];
  for (const [key, { rows }] of byKey) {
    const id = ids.get(key);
    if (id === undefined) throw new Error("the metric was not stored");
    for (const { step, timestamp, is_nan, value } of rows) points.push([id, step, timestamp, is_nan, value]);
  }
  if (points.length > 0) await tx.insertNumbers("points", POINT, points);
}

type SeriesRow = MetricRow & { id: number; key: string };

/** A run's series of some keys, with the latest point of each. */
async function knownSeries(tx: Connection, run: number, keys: string[]): Promise<SeriesRow[]> {
  const select = "SELECT id, key, step, timestamp, value, is_nan FROM series WHERE run = ? AND";
  const [only] = keys;
  if (only === undefined) return [];
  if (keys.length > 1) return tx.all<SeriesRow>(`${select} ${tx.dialect.among("key")}`, run, keys);
  const row = await tx.get<SeriesRow>(`${select} key = ?`, run, only);
  return row ? [row] : [];
}

/** Creates missing series and stores the latest point of each. @returns the ids of the series */
async function keepLatest(
  tx: Connection,
  run: RunRecord,
  latest: ReadonlyMap<string, MetricRow>,
): Promise<Map<string, number>> {
  const ids = new Map<string, number>();
  const later = new Map(latest);
  for (const row of await knownSeries(tx, run.seq, [...latest.keys()])) {
    ids.set(row.key, row.id);
    const point = latest.get(row.key);
    if (point && !isLater(point, row)) later.delete(row.key);
  }
  const [only] = later;
  const id = only && ids.get(only[0]);
  if (later.size === 1 && only && id !== undefined) {
    // The common case of a client that logs single points: an update by id takes half the time.
    const [, { step, timestamp, value, is_nan }] = only;
    const set = "UPDATE series SET step = ?, timestamp = ?, value = ?, is_nan = ? WHERE id = ?";
    await tx.run(set, step, timestamp, value, is_nan, id);
    return ids;
  }
  const rows = [...later].map(([key, { step, timestamp, value, is_nan }]) => [
    run.seq,
    run.experiment_id,
    key,
    step,
    timestamp,
    value,
    is_nan,
  ]);
  for (const { marks, values } of rowsOf(rows)) {
    const stored = await tx.all<{ id: number; key: string }>(
      `INSERT INTO series (run, experiment_id, key, step, timestamp, value, is_nan) VALUES ${marks}
       ON CONFLICT (run, key) DO UPDATE
       SET step = excluded.step, timestamp = excluded.timestamp, value = excluded.value, is_nan = excluded.is_nan
       RETURNING id, key`,
      ...values,
    );
    for (const { id, key } of stored) ids.set(key, id);
  }
  return ids;
}

const IN_ORDER = "ORDER BY step, timestamp, is_nan, value";

/** A page of a series: see {@link MetricStore.history}. It starts after a point, not at an offset, so that all pages cost the same. */
async function page(
  db: Connection,
  { id, key }: { id: number; key: string },
  after: HistoryMark | undefined,
  limit: number,
): Promise<string> {
  const from = after ? "AND (step, timestamp, is_nan, value) > (?, ?, ?, ?)" : "";
  const mark = after ? [after.step, after.timestamp, after.isNan, after.value] : [];
  const row = await db.get<{ json: string | null }>(
    `SELECT ${db.dialect.points} AS json
     FROM (SELECT step, timestamp, value, is_nan FROM points WHERE series = ? ${from} ${IN_ORDER} LIMIT ?) AS page`,
    JSON.stringify(key),
    id,
    ...mark,
    limit,
  );
  return row?.json ?? "";
}

/** A point in the database's JSON. */
type Written = Omit<Metric, "value"> & { value: number | "NaN" };

/** The end of a page, if there are more points. */
async function endOf(db: Connection, series: number, json: string): Promise<HistoryMark | undefined> {
  if (json === "") return undefined;
  const last = JSON.parse(json.slice(json.lastIndexOf('{"key":'))) as Written;
  const { step, timestamp } = last;
  const isNan = last.value === "NaN" ? 1 : 0;
  const value = last.value === "NaN" ? 0 : last.value;
  const more = await db.get(
    "SELECT 1 FROM points WHERE series = ? AND (step, timestamp, is_nan, value) > (?, ?, ?, ?) LIMIT 1",
    series,
    step,
    timestamp,
    isNan,
    value,
  );
  return more === undefined ? undefined : { step, timestamp, isNan, value };
}

/** The first point at or after each of the steps, by index, so that the cost does not depend on the length of the series. */
async function pointsFrom(db: Connection, series: number, steps: number[]): Promise<MetricRow[]> {
  const one = `SELECT step, timestamp, value, is_nan FROM points WHERE series = ? AND step >= `;
  if (db.dialect.lateral) {
    return db.all<MetricRow>(
      `SELECT p.* FROM unnest(?::bigint[]) AS wanted (least) CROSS JOIN LATERAL (${one} wanted.least ${IN_ORDER} LIMIT 1) AS p`,
      steps,
      series,
    );
  }
  const found: MetricRow[] = [];
  for (const step of steps) {
    const row = await db.get<MetricRow>(`${one} ? ${IN_ORDER} LIMIT 1`, series, step);
    if (row) found.push(row);
  }
  return found;
}

async function sample(db: Connection, series: number, start: number, end: number, count: number): Promise<MetricRow[]> {
  const all = await db.all<MetricRow>(
    `SELECT step, timestamp, value, is_nan FROM points WHERE series = ? AND step >= ? AND step <= ? ${IN_ORDER} LIMIT ?`,
    series,
    start,
    end,
    count + 1,
  );
  if (all.length <= count) return all;
  const ends = await db.get<{ low: number; high: number }>(
    `SELECT (SELECT MIN(step) FROM points WHERE series = ? AND step >= ?) AS low,
            (SELECT MAX(step) FROM points WHERE series = ? AND step <= ?) AS high`,
    series,
    start,
    series,
    end,
  );
  const { low, high } = ends ?? { low: start, high: end };
  const wanted = Array.from({ length: count }, (_, i) =>
    count === 1 ? high : Math.round(low + ((high - low) * i) / (count - 1)),
  );
  const found = new Map((await pointsFrom(db, series, wanted)).map((row) => [row.step, row]));
  return [...found.values()].filter(({ step }) => step <= high).sort((a, b) => a.step - b.step);
}

/** Points of one sample whose steps are all read, which takes some 4 ms. */
const MAX_STEPS = 2000;

/**
 * The steps that MLflow shows of several series: of all their steps, every n-th and the last, and the first and last of each
 * series. Undefined if there are too many points to read all steps.
 */
async function stepsOf(
  db: Connection,
  ids: readonly number[],
  { start = 0, end = Number.MAX_SAFE_INTEGER, count }: { start?: number; end?: number; count: number },
): Promise<number[] | undefined> {
  const all = new Set<number>();
  const ends = new Set<number>();
  let left = MAX_STEPS;
  for (const id of ids) {
    const rows = await db.all<{ step: number }>(
      "SELECT step FROM points WHERE series = ? AND step >= ? AND step <= ? ORDER BY step LIMIT ?",
      id,
      start,
      end,
      left + 1,
    );
    left -= rows.length;
    if (left < 0) return undefined;
    for (const row of [rows[0], rows.at(-1)]) if (row) ends.add(row.step);
    for (const { step } of rows) all.add(step);
  }
  const steps = [...all].sort((a, b) => a - b);
  if (steps.length <= count) return steps;
  const every = Array.from({ length: count }, (_, i) => steps[Math.floor((i * steps.length) / count)] ?? 0);
  return [...new Set([...every, ...steps.slice(-1), ...ends])].sort((a, b) => a - b);
}

/** Points of one series of a sample. */
const MAX_SAMPLED = 2500;

export function metricStore(db: Database): MetricStore {
  const seriesOf = async (runId: string, key: string): Promise<number | undefined> =>
    (
      await db.get<{ id: number }>(
        "SELECT s.id FROM runs r JOIN series s ON s.run = r.seq AND s.key = ? WHERE r.run_id = ?",
        key,
        runId,
      )
    )?.id;
  const toMetric = (key: string, row: MetricRow): Metric => ({
    key,
    value: toValue(row),
    timestamp: row.timestamp,
    step: row.step,
  });

  return {
    async history(runId, key, { after, limit }) {
      const series = await seriesOf(runId, key);
      if (series === undefined) return { json: "" };
      const json = await page(db, { id: series, key }, after, limit);
      const next = await endOf(db, series, json);
      return { json, ...(next ? { next } : {}) };
    },

    async bulk(runIds, key, limit) {
      const found: RunMetric[] = [];
      for (const runId of runIds) {
        const series = await seriesOf(runId, key);
        if (series === undefined || found.length >= limit) continue;
        const json = await page(db, { id: series, key }, undefined, limit - found.length);
        const points = JSON.parse(`[${json}]`) as Written[];
        for (const point of points) found.push({ ...point, value: Number(point.value), runId });
      }
      const byRun = (a: RunMetric, b: RunMetric): number => (a.runId < b.runId ? -1 : a.runId > b.runId ? 1 : 0);
      return found.sort((a, b) => byRun(a, b) || a.timestamp - b.timestamp || a.step - b.step || a.value - b.value);
    },

    async sample(runIds, key, range) {
      const found: RunMetric[] = [];
      const known: { runId: string; series: number }[] = [];
      for (const runId of runIds) {
        const series = await seriesOf(runId, key);
        if (series !== undefined) known.push({ runId, series });
      }
      const steps = await stepsOf(
        db,
        known.map(({ series }) => series),
        range,
      );
      const { start = 0, end = Number.MAX_SAFE_INTEGER, count } = range;
      for (const { runId, series } of known) {
        const rows = steps
          ? await db.all<MetricRow>(
              `SELECT step, timestamp, value, is_nan FROM points WHERE series = ? AND ${db.dialect.among("step")} ${IN_ORDER} LIMIT ?`,
              series,
              steps,
              MAX_SAMPLED,
            )
          : await sample(db, series, start, end, count);
        for (const row of rows) found.push({ ...toMetric(key, row), runId });
      }
      return found;
    },
  };
}
