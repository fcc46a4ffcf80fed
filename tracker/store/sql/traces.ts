import { invalid, missing } from "../../errors.ts";
import type { Clause } from "../filter.ts";
import type { NewTrace, Position, Search, TraceStore } from "../store.ts";
import type { KeyValue, Span, Trace, TraceState } from "../types.ts";
import {
  compileFilter,
  findPage,
  type OrderPart,
  orderParts,
  pageOf,
  positionOf,
  type SearchTable,
  type Sql,
} from "./compile.ts";
import { type Connection, chunks, type Database, numericIds, push } from "./database.ts";
import { activeExperiment } from "./experiments.ts";
import { keyValuesOf } from "./key-values.ts";

interface Row {
  trace_id: string;
  experiment_id: number;
  client_request_id: string | null;
  request_time: number;
  duration: number | null;
  state: TraceState;
  request_preview: string | null;
  response_preview: string | null;
}

const NAME_TAG = "mlflow.traceName";
/** MLflow's metadata key for the run of a trace. */
const RUN_METADATA = "mlflow.sourceRun";
/** Maximum number of characters of a preview, as in MLflow. */
const PREVIEW = 1000;

const TABLE: SearchTable = {
  attributes: {
    trace_id: "t.trace_id",
    client_request_id: "t.client_request_id",
    name: `(SELECT value FROM trace_tags WHERE trace_id = t.trace_id AND key = '${NAME_TAG}')`,
    status: "t.state",
    timestamp_ms: "t.request_time",
    execution_time_ms: "t.duration",
    end_time_ms: "(t.request_time + t.duration)",
    run_id: `(SELECT value FROM trace_metadata WHERE trace_id = t.trace_id AND key = '${RUN_METADATA}')`,
  },
  nullable: ["client_request_id", "name", "execution_time_ms", "end_time_ms", "run_id"],
  keyed: {
    tag: { from: "FROM trace_tags x WHERE x.trace_id = t.trace_id AND x.key = ?", value: "x.value" },
    metadata: { from: "FROM trace_metadata x WHERE x.trace_id = t.trace_id AND x.key = ?", value: "x.value" },
  },
  spans: { from: "FROM spans s WHERE s.trace_id = t.trace_id", json: "s.content" },
  assessments: { from: "FROM trace_assessments a WHERE a.trace_id = t.trace_id", json: "a.content" },
};

const NEWEST: OrderPart[] = [{ expression: "t.request_time", descending: true }, { expression: "t.trace_id" }];

/** Whether a clause reads the JSON of spans or assessments, for which there is no index. */
const readsJson = ({ entity }: Clause): boolean => ["span", "text", "feedback", "expectation"].includes(entity);
/** Traces whose JSON one statement reads, so that a search of many does not delay other requests. */
const BATCH = 50;

const inExperiments = (db: Connection, experimentIds: readonly string[]): Sql => ({
  text: `FROM traces t WHERE ${db.dialect.among("t.experiment_id")}`,
  values: [numericIds(experimentIds)],
});

/** Yields the traces that match, each with its position, by reading JSON in batches. */
async function* matching(
  db: Connection,
  { experimentIds, filter, order, after, offset = 0 }: Omit<Search, "limit"> & { experimentIds: string[] },
): AsyncGenerator<{ row: Row; position: Position }> {
  const parts = orderParts(order, TABLE, NEWEST);
  const from = inExperiments(db, experimentIds);
  const json = compileFilter(db.dialect, filter.filter(readsJson), TABLE);
  const others = filter.filter((clause) => !readsJson(clause));
  let skip = offset;
  for (let start = after, more = true; more; ) {
    const page = await findPage<Row>(db, TABLE, "t.*", from, NEWEST, {
      filter: others,
      order,
      limit: BATCH,
      ...(start ? { after: start } : {}),
    });
    const found = await db.all<{ trace_id: string }>(
      `SELECT t.trace_id FROM traces t WHERE ${db.dialect.among("t.trace_id")}${json.text}`,
      page.rows.map(({ trace_id }) => trace_id),
      ...json.values,
    );
    const ids = new Set(found.map(({ trace_id }) => trace_id));
    for (const row of page.rows) {
      if (!ids.has(row.trace_id)) continue;
      if (skip > 0) skip--;
      else yield { row, position: positionOf(row, parts) };
    }
    start = page.next;
    more = start !== undefined;
  }
}

async function find(db: Connection, id: string): Promise<Row> {
  const row = await db.get<Row>("SELECT * FROM traces WHERE trace_id = ?", id);
  if (!row) throw missing(`Trace with ID '${id}' not found.`);
  return row;
}

/** The traces of the rows, in the same order. */
async function toTraces(db: Connection, rows: Row[]): Promise<Trace[]> {
  const ids = rows.map(({ trace_id }) => trace_id);
  const tags = await keyValuesOf(db, "trace_tags", "trace_id", ids);
  const metadata = await keyValuesOf(db, "trace_metadata", "trace_id", ids);
  const assessments = new Map<string, Record<string, unknown>[]>();
  const mine = db.dialect.among("trace_id");
  for (const part of chunks(ids, 500)) {
    const said = await db.all<{ trace_id: string; content: string }>(
      `SELECT trace_id, content FROM trace_assessments WHERE ${mine} ORDER BY trace_id, assessment_id`,
      part,
    );
    for (const { trace_id, content } of said) {
      push(assessments, trace_id, JSON.parse(content) as Record<string, unknown>);
    }
  }
  return rows.map((row) => ({
    id: row.trace_id,
    experimentId: String(row.experiment_id),
    clientRequestId: row.client_request_id,
    requestTime: row.request_time,
    duration: row.duration,
    state: row.state,
    requestPreview: row.request_preview,
    responsePreview: row.response_preview,
    metadata: metadata.get(row.trace_id) ?? [],
    tags: tags.get(row.trace_id) ?? [],
    assessments: assessments.get(row.trace_id) ?? [],
  }));
}

async function getTrace(db: Connection, id: string): Promise<Trace> {
  const [trace] = await toTraces(db, [await find(db, id)]);
  if (!trace) throw missing(`Trace with ID '${id}' not found.`);
  return trace;
}

async function setPairs(
  tx: Connection,
  table: "trace_tags" | "trace_metadata",
  id: string,
  pairs: readonly KeyValue[],
): Promise<void> {
  for (const { key, value } of pairs) {
    await tx.run(
      `INSERT INTO ${table} VALUES (?, ?, ?) ON CONFLICT (trace_id, key) DO UPDATE SET value = excluded.value`,
      id,
      key,
      value,
    );
  }
}

async function put(tx: Connection, trace: NewTrace): Promise<void> {
  const experiment = await activeExperiment(tx, trace.experimentId);
  await tx.run(
    `INSERT INTO traces (trace_id, experiment_id, client_request_id, request_time, duration, state, request_preview, response_preview)
     VALUES (?, ?, ?, ?, ?, ?, ?, ?)
     ON CONFLICT (trace_id) DO UPDATE SET
       client_request_id = COALESCE(excluded.client_request_id, traces.client_request_id),
       request_time = excluded.request_time,
       duration = COALESCE(excluded.duration, traces.duration),
       state = excluded.state,
       request_preview = COALESCE(excluded.request_preview, traces.request_preview),
       response_preview = COALESCE(excluded.response_preview, traces.response_preview)`,
    trace.id,
    experiment.id,
    trace.clientRequestId,
    trace.requestTime,
    trace.duration,
    trace.state,
    trace.requestPreview,
    trace.responsePreview,
  );
  // The trace may exist already, and must not change its experiment.
  const { experiment_id } = await find(tx, trace.id);
  if (experiment_id !== experiment.id) {
    throw invalid(`Trace ${trace.id} is in experiment ${experiment_id}, not in ${experiment.id}.`);
  }
  // Clients store the files of a trace there, such as spans that they do not send to this server.
  const place = `${experiment.artifact_location.replace(/\/+$/, "")}/traces/${trace.id}/artifacts`;
  await setPairs(tx, "trace_tags", trace.id, [...trace.tags, { key: "mlflow.artifactLocation", value: place }]);
  await setPairs(tx, "trace_metadata", trace.id, trace.metadata);
}

const toMilliseconds = (nanoseconds: string): number => Number(BigInt(nanoseconds) / 1_000_000n);

const preview = (value: unknown): string | null => {
  if (value === undefined) return null;
  const text = typeof value === "string" ? value : JSON.stringify(value);
  return text.length > PREVIEW ? `${text.slice(0, PREVIEW - 3)}...` : text;
};

/** The trace fields derived from a root span. */
function ofRoot(experimentId: string, root: Span): NewTrace {
  const metadata: KeyValue[] = [{ key: "mlflow.trace_schema.version", value: "3" }];
  const run = root.attributes[RUN_METADATA];
  if (typeof run === "string") metadata.push({ key: RUN_METADATA, value: run });
  const ended = root.end !== "0";
  return {
    id: root.traceId,
    experimentId,
    clientRequestId: null,
    requestTime: toMilliseconds(root.start),
    duration: ended ? toMilliseconds(root.end) - toMilliseconds(root.start) : null,
    state: root.failed ? "ERROR" : ended ? "OK" : "IN_PROGRESS",
    requestPreview: preview(root.attributes["mlflow.spanInputs"]),
    responsePreview: preview(root.attributes["mlflow.spanOutputs"]),
    metadata,
    tags: [
      { key: NAME_TAG, value: root.name },
      { key: "mlflow.trace.spansLocation", value: "TRACKING_STORE" },
    ],
  };
}

/** A trace without its root span so far: spans may arrive in any order and in several requests. */
const rootless = (experimentId: string, first: Span): NewTrace => ({
  ...ofRoot(experimentId, { ...first, end: "0", failed: false, attributes: {} }),
  tags: [{ key: "mlflow.trace.spansLocation", value: "TRACKING_STORE" }],
});

export function traceStore(db: Database): TraceStore {
  return {
    put: (trace) =>
      db.transaction(async (tx) => {
        await put(tx, trace);
        return getTrace(tx, trace.id);
      }),

    logSpans: (experimentId, spans) =>
      db.transaction(async (tx) => {
        const byTrace = new Map<string, Span[]>();
        for (const span of spans) push(byTrace, span.traceId, span);
        const traces: Trace[] = [];
        // In a fixed order, to prevent deadlocks.
        for (const [id, own] of [...byTrace].sort(([a], [b]) => (a < b ? -1 : 1))) {
          const root = own.find(({ parentId }) => parentId === null);
          const known = await tx.get("SELECT 1 FROM traces WHERE trace_id = ?", id);
          if (root) await put(tx, ofRoot(experimentId, root));
          else if (!known) {
            const first = own.reduce((a, b) => (a.start.padStart(20, "0") <= b.start.padStart(20, "0") ? a : b));
            await put(tx, rootless(experimentId, first));
          }
          for (const span of own) {
            await tx.run(
              `INSERT INTO spans VALUES (?, ?, ?, ?)
               ON CONFLICT (trace_id, span_id) DO UPDATE SET start = excluded.start, content = excluded.content`,
              id,
              span.spanId,
              span.start.padStart(20, "0"),
              JSON.stringify(span),
            );
          }
          traces.push(await getTrace(tx, id));
        }
        return traces;
      }),

    get: (id) => getTrace(db, id),

    async spans(id) {
      await find(db, id);
      const rows = await db.all<{ content: string }>(
        "SELECT content FROM spans WHERE trace_id = ? ORDER BY start, span_id",
        id,
      );
      return rows.map(({ content }) => JSON.parse(content) as Span);
    },

    async search({ experimentIds, ...search }) {
      if (!search.filter.some(readsJson)) {
        const from = inExperiments(db, experimentIds);
        const { rows, ...page } = await findPage<Row>(db, TABLE, "t.*", from, NEWEST, search);
        return { items: await toTraces(db, rows), ...page };
      }
      const found: { row: Row; position: Position }[] = [];
      for await (const one of matching(db, { experimentIds, ...search })) {
        found.push(one);
        if (found.length > search.limit) break;
      }
      const { rows, ...page } = pageOf(found, search.limit, ({ position }) => position);
      return {
        items: await toTraces(
          db,
          rows.map(({ row }) => row),
        ),
        ...page,
      };
    },

    async count({ experimentIds, filter }) {
      if (filter.some(readsJson)) {
        let count = 0;
        for await (const _ of matching(db, { experimentIds, filter, order: [] })) count++;
        return count;
      }
      const from = inExperiments(db, experimentIds);
      const where = compileFilter(db.dialect, filter, TABLE);
      const row = await db.get<{ count: number }>(
        `SELECT COUNT(*) AS count ${from.text}${where.text}`,
        ...from.values,
        ...where.values,
      );
      return row?.count ?? 0;
    },

    setTag: (id, tag) =>
      db.transaction(async (tx) => {
        await find(tx, id);
        await setPairs(tx, "trace_tags", id, [tag]);
      }),

    deleteTag: (id, key) =>
      db.transaction(async (tx) => {
        await find(tx, id);
        if ((await tx.run("DELETE FROM trace_tags WHERE trace_id = ? AND key = ?", id, key)) === 0) {
          throw missing(`No tag with key '${key}' on trace ${id}.`);
        }
      }),

    assess: (id, assessments) =>
      db.transaction(async (tx) => {
        await find(tx, id);
        for (const [assessmentId, assessment] of Object.entries(assessments)) {
          if (assessment === undefined) {
            const gone = await tx.run(
              "DELETE FROM trace_assessments WHERE trace_id = ? AND assessment_id = ?",
              id,
              assessmentId,
            );
            if (gone === 0) throw missing(`Assessment with ID '${assessmentId}' not found for trace '${id}'.`);
            continue;
          }
          await tx.run(
            `INSERT INTO trace_assessments VALUES (?, ?, ?)
             ON CONFLICT (trace_id, assessment_id) DO UPDATE SET content = excluded.content`,
            id,
            assessmentId,
            JSON.stringify(assessment),
          );
        }
      }),

    linkToRun: (ids, runId) =>
      db.transaction(async (tx) => {
        for (const id of ids) {
          await find(tx, id);
          await setPairs(tx, "trace_metadata", id, [{ key: RUN_METADATA, value: runId }]);
        }
      }),

    remove: (experimentId, which) =>
      db.transaction(async (tx) => {
        const [experiment] = numericIds([experimentId]);
        if (experiment === undefined) throw invalid(`No Experiment with id=${experimentId} exists`);
        const gone =
          "ids" in which
            ? await tx.all<{ trace_id: string }>(
                `DELETE FROM traces WHERE experiment_id = ? AND ${tx.dialect.among("trace_id")} RETURNING trace_id`,
                experiment,
                which.ids,
              )
            : await tx.all<{ trace_id: string }>(
                `DELETE FROM traces WHERE trace_id IN
                 (SELECT trace_id FROM traces WHERE experiment_id = ? AND request_time <= ? ORDER BY request_time LIMIT ?)
                 RETURNING trace_id`,
                experiment,
                which.until,
                which.limit,
              );
        return gone.map(({ trace_id }) => trace_id);
      }),
  };
}
