import { randomUUID } from "node:crypto";
import { invalid, missing } from "../../errors.ts";
import type { NewRun, RunRow, RunSearch, RunStore } from "../store.ts";
import type {
  Dataset,
  DatasetInput,
  KeyValue,
  Lifecycle,
  Metric,
  ModelInput,
  ModelOutput,
  Run,
  RunData,
  RunStatus,
} from "../types.ts";
import { compileFilter, compileOrder, type SearchTable, type Sql } from "./compile.ts";
import { chunks, type Database, marks } from "./database.ts";
import { stagesOf } from "./experiments.ts";
import { type MetricRow, pointWriter, toValue } from "./metrics.ts";

export interface RunRecord {
  seq: number;
  run_id: string;
  experiment_id: number;
  name: string;
  user_id: string;
  status: RunStatus;
  start_time: number;
  end_time: number | null;
  artifact_uri: string;
  lifecycle: Lifecycle;
}

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

const NAME_TAG = "mlflow.runName";

const toRun = (row: RunRecord): Run => ({
  id: row.run_id,
  experimentId: String(row.experiment_id),
  name: row.name,
  userId: row.user_id,
  status: row.status,
  startTime: row.start_time,
  endTime: row.end_time,
  artifactUri: row.artifact_uri,
  lifecycle: row.lifecycle,
});

/** Finds a run's row; used by all that hangs on runs. */
export function runFinder(db: Database): (id: string) => RunRecord {
  const select = db.prepare<RunRecord>("SELECT * FROM runs WHERE run_id = ?");
  return (id) => {
    const row = select.get(id);
    if (!row) throw missing(`Run with id=${id} not found`);
    return row;
  };
}

/** Adds a keyed value to the list of its owner, making the list where it is the first. */
function push<K, V>(map: Map<K, V[]>, key: K, value: V): void {
  const list = map.get(key);
  if (list) list.push(value);
  else map.set(key, [value]);
}

export function runStore(db: Database): RunStore {
  const find = runFinder(db);
  const writePoints = pointWriter(db);
  const upsertTag = db.prepare("INSERT INTO tags VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET value = excluded.value");
  const insertParam = db.prepare("INSERT INTO params VALUES (?, ?, ?) ON CONFLICT DO NOTHING");
  const selectParam = db.prepare<{ value: string }>("SELECT value FROM params WHERE run = ? AND key = ?");
  const rename = db.prepare("UPDATE runs SET name = ? WHERE seq = ?");

  const active = (id: string): RunRecord => {
    const row = find(id);
    if (row.lifecycle !== "active")
      throw invalid(`The run ${id} must be in the 'active' state. Current state is deleted.`);
    return row;
  };

  const setTag = (run: number, { key, value }: KeyValue): void => {
    upsertTag.run(run, key, value);
    if (key === NAME_TAG) rename.run(value, run);
  };

  const setParam = (run: RunRecord, { key, value }: KeyValue): void => {
    if (insertParam.run(run.seq, key, value) > 0) return;
    const old = selectParam.get(run.seq, key)?.value;
    if (old !== undefined && old !== value) {
      throw invalid(
        `Changing param values is not allowed. Param with key='${key}' was already logged with value='${old}' for run ID='${run.run_id}'. Attempted logging new value '${value}'.`,
      );
    }
  };

  /** What was logged to the runs of some rows, in their order. */
  const withData = (rows: RunRecord[]): RunData[] => {
    const metrics = new Map<number, Metric[]>();
    const params = new Map<number, KeyValue[]>();
    const tags = new Map<number, KeyValue[]>();
    for (const part of chunks(rows, 500)) {
      const ids = JSON.stringify(part.map(({ seq }) => seq));
      const owned = (table: "params" | "tags") =>
        db.prepare<KeyValue & { run: number }>(
          `SELECT x.run, x.key, x.value FROM json_each(?) j JOIN ${table} x ON x.run = j.value ORDER BY x.run, x.key`,
        );
      for (const { run, key, value } of owned("params").all(ids)) push(params, run, { key, value });
      for (const { run, key, value } of owned("tags").all(ids)) push(tags, run, { key, value });
      const latest = db.prepare<MetricRow & { run: number; key: string }>(
        `SELECT x.run, x.key, x.step, x.timestamp, x.value, x.is_nan FROM json_each(?) j JOIN series x ON x.run = j.value ORDER BY x.run, x.key`,
      );
      for (const row of latest.all(ids)) {
        push(metrics, row.run, { key: row.key, value: toValue(row), timestamp: row.timestamp, step: row.step });
      }
    }
    return rows.map((row) => ({
      run: toRun(row),
      metrics: metrics.get(row.seq) ?? [],
      params: params.get(row.seq) ?? [],
      tags: tags.get(row.seq) ?? [],
    }));
  };

  const dataOf = (id: string): RunData => {
    const [data] = withData([find(id)]);
    if (!data) throw missing(`Run with id=${id} not found`);
    return data;
  };

  /** FROM and WHERE of a search. One experiment is compared by =, so that the index also gives the order. */
  const source = ({ experimentIds, view, filter }: RunSearch): Sql => {
    const ids = experimentIds.filter((id) => /^\d{1,15}$/.test(id)).map(Number);
    const where = compileFilter(filter, TABLE);
    const [only] = ids;
    const inside =
      ids.length === 1 && only !== undefined
        ? { text: "r.experiment_id = ?", values: [only] }
        : { text: "r.experiment_id IN (SELECT value FROM json_each(?))", values: [JSON.stringify(ids)] };
    const living =
      view === "ALL"
        ? { text: "r.lifecycle IN (SELECT value FROM json_each(?))", values: [stagesOf(view)] }
        : { text: "r.lifecycle = ?", values: [view === "DELETED_ONLY" ? "deleted" : "active"] };
    return {
      text: `FROM runs r WHERE ${inside.text} AND ${living.text}${where.text}`,
      values: [...inside.values, ...living.values, ...where.values],
    };
  };

  const searchRows = (search: RunSearch, limit: number): RunRecord[] => {
    const from = source(search);
    const by = compileOrder(search.order, TABLE, "r.start_time DESC, r.run_id");
    return db
      .once<RunRecord>(`SELECT r.* ${from.text} ${by.text} LIMIT ? OFFSET ?`)
      .all(...from.values, ...by.values, limit, search.offset);
  };

  const create = (run: NewRun): { data: RunData; created: boolean } => {
    const experiment = /^\d{1,15}$/.test(run.experimentId)
      ? db
          .prepare<{ id: number; lifecycle: Lifecycle; artifact_location: string }>(
            "SELECT id, lifecycle, artifact_location FROM experiments WHERE id = ?",
          )
          .get(Number(run.experimentId))
      : undefined;
    if (!experiment) throw missing(`No Experiment with id=${run.experimentId} exists`);
    if (experiment.lifecycle !== "active") {
      throw invalid(`The experiment ${run.experimentId} must be in the 'active' state. Current state is deleted.`);
    }
    if (run.clientId !== undefined) {
      const known = db
        .prepare<RunRecord>("SELECT * FROM runs WHERE experiment_id = ? AND client_id = ?")
        .get(experiment.id, run.clientId);
      if (known) return { data: dataOf(known.run_id), created: false };
    }
    // A client that names its runs itself knows them also while no server answers.
    const own = /^[0-9a-f]{32}$/.exec(run.clientId ?? "")?.[0];
    const id = own ?? randomUUID().replaceAll("-", "");
    const row = db
      .prepare<{ seq: number }>(
        `INSERT INTO runs (run_id, experiment_id, name, user_id, status, start_time, artifact_uri, client_id)
         VALUES (?, ?, ?, ?, 'RUNNING', ?, ?, ?) RETURNING seq`,
      )
      .all(
        id,
        experiment.id,
        run.name,
        run.userId,
        run.startTime,
        `${experiment.artifact_location.replace(/\/+$/, "")}/${id}/artifacts`,
        run.clientId ?? null,
      )[0];
    if (!row) throw new Error("the run was not stored");
    for (const tag of run.tags) setTag(row.seq, tag);
    setTag(row.seq, { key: NAME_TAG, value: run.name });
    return { data: dataOf(id), created: true };
  };

  const datasetId = (experiment: number, dataset: Dataset): number => {
    // The first description of a data set stays: its digest says that a second one is of the same data.
    // Its profile is kept with each use, because the splits of one data set differ in it.
    db.prepare(
      "INSERT INTO datasets (experiment_id, name, digest, source_type, source, schema) VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
    ).run(experiment, dataset.name, dataset.digest, dataset.sourceType, dataset.source, dataset.schema);
    const row = db
      .prepare<{ id: number }>("SELECT id FROM datasets WHERE experiment_id = ? AND name = ? AND digest = ?")
      .get(experiment, dataset.name, dataset.digest);
    if (!row) throw new Error("the data set was not stored");
    return row.id;
  };

  return {
    async create(run) {
      return db.transaction(() => create(run));
    },

    async get(id) {
      return toRun(find(id));
    },

    async getData(id) {
      return dataOf(id);
    },

    async search(search) {
      const rows = searchRows(search, search.limit + 1);
      return { items: withData(rows.slice(0, search.limit)), more: rows.length > search.limit };
    },

    async table(search) {
      const rows = searchRows(search, search.limit);
      const from = source(search);
      const total = db.once<{ total: number }>(`SELECT COUNT(*) AS total ${from.text}`).get(...from.values)?.total ?? 0;
      const table = new Map<number, RunRow>(
        rows.map((row) => [row.seq, { run: toRun(row), metrics: {}, params: {}, tags: {} }]),
      );
      for (const part of chunks(rows, 500)) {
        const ids = JSON.stringify(part.map(({ seq }) => seq));
        const of = <Row>(columns: string, name: string, keys: string[]) =>
          db
            .prepare<Row & { run: number; key: string }>(
              `SELECT x.run, x.key, ${columns} FROM json_each(?) j JOIN ${name} x ON x.run = j.value AND x.key IN (SELECT value FROM json_each(?))`,
            )
            .all(ids, JSON.stringify(keys));
        for (const row of of<{ value: number; is_nan: number }>("x.value, x.is_nan", "series", search.metrics)) {
          const entry = table.get(row.run);
          if (entry) entry.metrics[row.key] = toValue(row);
        }
        for (const kind of ["params", "tags"] as const) {
          for (const row of of<{ value: string }>("x.value", kind, search[kind])) {
            const entry = table.get(row.run);
            if (entry) entry[kind][row.key] = row.value;
          }
        }
      }
      return { rows: [...table.values()], total };
    },

    async update(id, { status, endTime, name }) {
      return db.transaction(() => {
        const row = active(id);
        db.prepare("UPDATE runs SET status = COALESCE(?, status), end_time = COALESCE(?, end_time) WHERE seq = ?").run(
          status ?? null,
          endTime ?? null,
          row.seq,
        );
        if (name !== undefined) setTag(row.seq, { key: NAME_TAG, value: name });
        return toRun(find(id));
      });
    },

    async setLifecycle(id, lifecycle) {
      return db.transaction(() => {
        const row = find(id);
        db.prepare("UPDATE runs SET lifecycle = ?, deleted_at = ? WHERE seq = ?").run(
          lifecycle,
          lifecycle === "deleted" ? Date.now() : null,
          row.seq,
        );
        return toRun(find(id));
      });
    },

    async log(id, { metrics, params, tags }) {
      return db.transaction(() => {
        const row = active(id);
        for (const param of params) setParam(row, param);
        for (const tag of tags) setTag(row.seq, tag);
        writePoints(row, metrics);
        return toRun(row);
      });
    },

    async deleteTag(id, key) {
      return db.transaction(() => {
        const row = active(id);
        if (db.prepare("DELETE FROM tags WHERE run = ? AND key = ?").run(row.seq, key) === 0) {
          throw missing(`No tag with name: ${key} in run with id ${id}`);
        }
        return toRun(row);
      });
    },

    async logInputs(id, { datasets, models }) {
      return db.transaction(() => {
        const run = active(id);
        for (const { dataset, tags } of datasets) {
          const context = tags.find(({ key }) => key === "mlflow.data.context")?.value ?? "";
          const values = [run.seq, datasetId(run.experiment_id, dataset), context] as const;
          db.prepare(
            `INSERT INTO inputs (run, dataset, context, profile) VALUES (?, ?, ?, ?)
             ON CONFLICT DO UPDATE SET profile = COALESCE(excluded.profile, profile)`,
          ).run(...values, dataset.profile);
          const input = db
            .prepare<{ id: number }>("SELECT id FROM inputs WHERE run = ? AND dataset = ? AND context = ?")
            .get(...values);
          if (!input) throw new Error("the input was not stored");
          const upsert = db.prepare(
            "INSERT INTO input_tags VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET value = excluded.value",
          );
          for (const { key, value } of tags) upsert.run(input.id, key, value);
        }
        for (const { modelId } of models) {
          db.prepare("INSERT INTO model_inputs VALUES (?, ?) ON CONFLICT DO NOTHING").run(run.seq, modelId);
        }
        return toRun(run);
      });
    },

    async logOutputs(id, models) {
      return db.transaction(() => {
        const run = active(id);
        for (const { modelId, step } of models) {
          db.prepare("INSERT INTO model_outputs VALUES (?, ?, ?) ON CONFLICT DO NOTHING").run(run.seq, modelId, step);
        }
        return toRun(run);
      });
    },

    async inputs(ids) {
      const all = new Map<string, { datasets: DatasetInput[]; models: ModelInput[]; outputs: ModelOutput[] }>();
      for (const part of chunks(ids, 500)) {
        const runs = db
          .once<{ seq: number; run_id: string }>(`SELECT seq, run_id FROM runs WHERE run_id IN (${marks(part.length)})`)
          .all(...part);
        for (const { seq, run_id } of runs) {
          const rows = db
            .prepare<{
              id: number;
              name: string;
              digest: string;
              source_type: string;
              source: string;
              schema: string | null;
              profile: string | null;
            }>(
              "SELECT i.id, d.name, d.digest, d.source_type, d.source, d.schema, i.profile FROM inputs i JOIN datasets d ON d.id = i.dataset WHERE i.run = ? ORDER BY i.id",
            )
            .all(seq);
          const datasets = rows.map((row) => ({
            dataset: {
              name: row.name,
              digest: row.digest,
              sourceType: row.source_type,
              source: row.source,
              schema: row.schema,
              profile: row.profile,
            },
            tags: db.prepare<KeyValue>("SELECT key, value FROM input_tags WHERE input = ? ORDER BY key").all(row.id),
          }));
          const models = db
            .prepare<{ model_id: string }>("SELECT model_id FROM model_inputs WHERE run = ?")
            .all(seq)
            .map(({ model_id }) => ({ modelId: model_id }));
          const outputs = db
            .prepare<{ model_id: string; step: number }>(
              "SELECT model_id, step FROM model_outputs WHERE run = ? ORDER BY step",
            )
            .all(seq)
            .map(({ model_id, step }) => ({ modelId: model_id, step }));
          all.set(run_id, { datasets, models, outputs });
        }
      }
      return all;
    },

    async datasets(experimentIds) {
      return db
        .prepare<{ experiment_id: number; name: string; digest: string; context: string }>(
          `SELECT DISTINCT d.experiment_id, d.name, d.digest, i.context FROM datasets d JOIN inputs i ON i.dataset = d.id
           WHERE d.experiment_id IN (SELECT value FROM json_each(?)) ORDER BY d.name, d.digest, i.context LIMIT 1000`,
        )
        .all(JSON.stringify(experimentIds.filter((id) => /^\d{1,15}$/.test(id)).map(Number)))
        .map((row) => ({
          experimentId: String(row.experiment_id),
          name: row.name,
          digest: row.digest,
          context: row.context,
        }));
    },
  };
}
