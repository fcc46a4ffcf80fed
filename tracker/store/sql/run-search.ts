import type { OrderClause } from "../filter.ts";
import type { Position, RunRow, RunSearch, RunStore } from "../store.ts";
import type { Metric, RunData } from "../types.ts";
import {
  compileAfter,
  compileFilter,
  type FoundPage,
  findPage,
  type OrderPart,
  orderBy,
  orderParts,
  pageOf,
  positionOf,
  type SearchTable,
  type Sql,
  sortColumns,
} from "./compile.ts";
import { type Connection, chunks, type Database, type Dialect, numericIds, push } from "./database.ts";
import { stagesOf } from "./experiments.ts";
import { keyValuesOf } from "./key-values.ts";
import { type MetricRow, toValue } from "./metrics.ts";
import { type RunRecord, toRun } from "./run-records.ts";

const TABLE: SearchTable = {
  attributes: {
    run_id: "r.run_id",
    run_name: "r.name",
    user_id: "r.user_id",
    status: "r.status",
    artifact_uri: "r.artifact_uri",
    start_time: "r.start_time",
    end_time: "r.end_time",
    duration: "(r.end_time - r.start_time)",
  },
  nullable: ["end_time", "duration"],
  keyed: {
    metric: { from: "FROM series x WHERE x.run = r.seq AND x.key = ?", value: "x.value", nan: "x.is_nan" },
    param: { from: "FROM params x WHERE x.run = r.seq AND x.key = ?", value: "x.value" },
    tag: { from: "FROM tags x WHERE x.run = r.seq AND x.key = ?", value: "x.value" },
  },
  dataset: {
    from: "FROM inputs i JOIN datasets d ON d.id = i.dataset WHERE i.run = r.seq",
    fields: { name: "d.name", digest: "d.digest", context: "i.context" },
  },
};

/** Newest first, as in MLflow. */
const BY_TIME: OrderPart[] = [{ expression: "r.start_time", descending: true }, { expression: "r.run_id" }];

/** The logged data of the runs of the rows, in the same order. */
export async function withData(db: Connection, rows: RunRecord[]): Promise<RunData[]> {
  const metrics = new Map<number, Metric[]>();
  const ids = rows.map(({ seq }) => seq);
  const params = await keyValuesOf(db, "params", "run", ids);
  const tags = await keyValuesOf(db, "tags", "run", ids);
  for (const part of chunks(ids, 200)) {
    const latest = await db.all<MetricRow & { run: number; key: string }>(
      `SELECT run, key, step, timestamp, value, is_nan FROM series WHERE ${db.dialect.among("run")} ORDER BY run, key`,
      part,
    );
    for (const row of latest) {
      push(metrics, row.run, { key: row.key, value: toValue(row), timestamp: row.timestamp, step: row.step });
    }
  }
  return rows.map((row) => ({
    run: toRun(row),
    metrics: metrics.get(row.seq) ?? [],
    params: params.get(row.seq) ?? [],
    tags: tags.get(row.seq) ?? [],
  }));
}

/** WHERE of a search. A single experiment is compared with =, so that the index also gives the order. */
function conditions(dialect: Dialect, search: RunSearch): Sql {
  const ids = numericIds(search.experimentIds);
  const [only] = ids;
  const inside =
    ids.length === 1 && only !== undefined
      ? { text: "r.experiment_id = ?", values: [only] }
      : { text: dialect.among("r.experiment_id"), values: [ids] };
  const others = otherConditions(dialect, search);
  return { text: `${inside.text} AND ${others.text}`, values: [...inside.values, ...others.values] };
}

/** The conditions except the experiments. */
function otherConditions(dialect: Dialect, { view, filter }: RunSearch): Sql {
  const where = compileFilter(dialect, filter, TABLE);
  const living =
    view === "ALL"
      ? { text: dialect.among("r.lifecycle"), values: [stagesOf(view)] }
      : { text: "r.lifecycle = ?", values: [view === "DELETED_ONLY" ? "deleted" : "active"] };
  return { text: `${living.text}${where.text}`, values: [...living.values, ...where.values] };
}

/** A page of the runs of a search. */
async function searchRows(db: Connection, search: RunSearch): Promise<FoundPage<RunRecord>> {
  const [experiment, ...others] = numericIds(search.experimentIds);
  const [first, ...rest] = search.order;
  if (experiment !== undefined && others.length === 0 && first?.entity === "metric") {
    return byMetric(db, search, { experiment, first, rest });
  }
  const from = conditions(db.dialect, { ...search, filter: [] });
  return findPage<RunRecord>(db, TABLE, "r.*", { ...from, text: `FROM runs r WHERE ${from.text}` }, BY_TIME, search);
}

/**
 * One experiment's runs, sorted by a metric. The index of latest values gives the order, so that only the requested
 * runs are read. Numbers are first, then NaN, then runs without the metric. Positions are those of {@link orderParts}.
 */
async function byMetric(
  db: Connection,
  search: RunSearch,
  { experiment, first, rest }: { experiment: number; first: OrderClause; rest: OrderClause[] },
): Promise<FoundPage<RunRecord>> {
  // The experiment is a condition on the metric's row only. With the same condition on the run, a planner without statistics
  // would start from the runs.
  const where = otherConditions(db.dialect, search);
  const all = conditions(db.dialect, search);
  const then = orderParts(rest, TABLE, BY_TIME);
  const having = (nan: 0 | 1): Sql => ({
    text: `FROM series o JOIN runs r ON r.seq = o.run WHERE o.experiment_id = ? AND o.key = ? AND o.is_nan = ${nan} AND ${where.text}`,
    values: [experiment, first.key, ...where.values],
  });
  const lacking: Sql = {
    text: `FROM runs r WHERE ${all.text} AND NOT EXISTS (SELECT 1 FROM series o WHERE o.run = r.seq AND o.key = ?)`,
    values: [...all.values, first.key],
  };
  const value: OrderPart = { expression: "o.value", descending: !first.ascending };
  const groups: { from: Sql; parts: OrderPart[]; position: (row: object) => Position }[] = [
    { from: having(0), parts: [value, ...then], position: (row) => [0, ...positionOf(row, [value, ...then])] },
    { from: having(1), parts: then, position: (row) => [1, null, ...positionOf(row, then)] },
    { from: lacking, parts: then, position: (row) => [2, null, ...positionOf(row, then)] },
  ];
  const found: { row: RunRecord; position: Position }[] = [];
  const { after, limit, offset = 0 } = search;
  const start = after ? Number(after[0]) : 0;
  let skip = offset;
  for (const [index, { from, parts, position }] of groups.entries()) {
    if (index < start) continue;
    const values = after?.slice(after.length - parts.length) ?? [];
    const later = after && index === start ? compileAfter(parts, values) : { text: "", values: [] };
    const sort = sortColumns(parts);
    const rows = await db.all<RunRecord>(
      `SELECT r.*, ${sort.text} ${from.text}${later.text} ${orderBy(parts)} LIMIT ? OFFSET ?`,
      ...sort.values,
      ...from.values,
      ...later.values,
      limit + 1 - found.length,
      skip,
    );
    found.push(...rows.map((row) => ({ row, position: position(row) })));
    if (found.length > limit) break;
    // The page is not full: the next group supplies the rest, after the remaining offset.
    skip = rows.length > 0 || skip === 0 ? 0 : skip - (await count(db, from));
  }
  const { rows, ...page } = pageOf(found, limit, ({ position }) => position);
  return { rows: rows.map(({ row }) => row), ...page };
}

async function count(db: Connection, { text, values }: Sql): Promise<number> {
  return (await db.get<{ total: number }>(`SELECT COUNT(*) AS total ${text}`, ...values))?.total ?? 0;
}

/** A record whose keys clients choose: `__proto__` is one like any other. */
const emptyRecord = <T>(): Record<string, T> => Object.create(null) as Record<string, T>;

export function runSearch(db: Database): Pick<RunStore, "search" | "table"> {
  return {
    async search(search) {
      const { rows, ...page } = await searchRows(db, search);
      return { items: await withData(db, rows), ...page };
    },

    async table(search) {
      const { rows } = await searchRows(db, search);
      const where = conditions(db.dialect, search);
      const total = await count(db, { text: `FROM runs r WHERE ${where.text}`, values: where.values });
      const table = new Map<number, RunRow>(
        rows.map((row) => [
          row.seq,
          { run: toRun(row), metrics: emptyRecord(), params: emptyRecord(), tags: emptyRecord() },
        ]),
      );
      const { among } = db.dialect;
      for (const part of chunks(rows, 500)) {
        const ids = part.map(({ seq }) => seq);
        const of = <Row>(columns: string, name: string, keys: string[]) =>
          db.all<Row & { run: number; key: string }>(
            `SELECT run, key, ${columns} FROM ${name} WHERE ${among("run")} AND ${among("key")}`,
            ids,
            keys,
          );
        for (const row of await of<{ value: number; is_nan: number }>("value, is_nan", "series", search.metrics)) {
          const entry = table.get(row.run);
          if (entry) entry.metrics[row.key] = toValue(row);
        }
        for (const kind of ["params", "tags"] as const) {
          for (const row of await of<{ value: string }>("value", kind, search[kind])) {
            const entry = table.get(row.run);
            if (entry) entry[kind][row.key] = row.value;
          }
        }
      }
      return { rows: [...table.values()], total };
    },
  };
}
