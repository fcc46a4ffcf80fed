import { invalid, missing } from "../../errors.ts";
import type { LoggedModelStore } from "../store.ts";
import type { KeyValue, Lifecycle, LoggedModel, LoggedModelStatus, ModelMetric } from "../types.ts";
import { findPage, type OrderPart, type SearchTable } from "./compile.ts";
import { type Connection, chunks, type Database, numericIds, push } from "./database.ts";
import { activeExperiment } from "./experiments.ts";
import { keyValuesOf } from "./key-values.ts";
import { toValue } from "./metrics.ts";
import { inFolder, refuseGuarded } from "./registered.ts";

interface Row {
  model_id: string;
  experiment_id: number;
  name: string;
  artifact_uri: string;
  created_at: number;
  updated_at: number;
  status: LoggedModelStatus;
  status_message: string | null;
  model_type: string | null;
  source_run_id: string | null;
  lifecycle: Lifecycle;
}

interface MetricRow {
  model_id: string;
  key: string;
  timestamp: number;
  step: number;
  value: number;
  is_nan: number;
  run_id: string;
  dataset_name: string;
  dataset_digest: string;
}

const TABLE: SearchTable = {
  attributes: {
    model_id: "m.model_id",
    name: "m.name",
    model_type: "m.model_type",
    status: "m.status",
    source_run_id: "m.source_run_id",
    creation_timestamp: "m.created_at",
    last_updated_timestamp: "m.updated_at",
  },
  nullable: ["model_type", "source_run_id"],
  keyed: {
    metric: {
      from: "FROM logged_model_metrics x WHERE x.model_id = m.model_id AND x.key = ?",
      value: "x.value",
      nan: "x.is_nan",
    },
    param: { from: "FROM logged_model_params x WHERE x.model_id = m.model_id AND x.key = ?", value: "x.value" },
    tag: { from: "FROM logged_model_tags x WHERE x.model_id = m.model_id AND x.key = ?", value: "x.value" },
  },
};

const NEWEST: OrderPart[] = [{ expression: "m.created_at", descending: true }, { expression: "m.model_id" }];

/** The latest point of each metric, per data set. Rows come in the order of steps. */
function latest(rows: MetricRow[]): ModelMetric[] {
  const found = new Map<string, ModelMetric>();
  for (const row of rows) {
    found.set(`${row.key}\n${row.dataset_name}\n${row.dataset_digest}`, {
      key: row.key,
      value: toValue(row),
      timestamp: row.timestamp,
      step: row.step,
      modelId: row.model_id,
      runId: row.run_id,
      datasetName: row.dataset_name || null,
      datasetDigest: row.dataset_digest || null,
    });
  }
  return [...found.values()];
}

async function find(db: Connection, id: string, { lock = false } = {}): Promise<Row> {
  const row = await db.get<Row>(
    `SELECT * FROM logged_models WHERE model_id = ? AND lifecycle = 'active'${lock ? db.dialect.lock : ""}`,
    id,
  );
  if (!row) throw missing(`Logged model with ID '${id}' not found.`);
  return row;
}

/** The models of the rows, in the same order. */
async function toModels(db: Connection, rows: Row[]): Promise<LoggedModel[]> {
  const ids = rows.map(({ model_id }) => model_id);
  const tags = await keyValuesOf(db, "logged_model_tags", "model_id", ids);
  const params = await keyValuesOf(db, "logged_model_params", "model_id", ids);
  const metrics = new Map<string, MetricRow[]>();
  const mine = db.dialect.among("model_id");
  for (const part of chunks(ids, 500)) {
    const points = await db.all<MetricRow>(
      `SELECT * FROM logged_model_metrics WHERE ${mine} ORDER BY model_id, key, step, timestamp, is_nan DESC, value`,
      part,
    );
    for (const point of points) push(metrics, point.model_id, point);
  }
  return rows.map((row) => ({
    id: row.model_id,
    experimentId: String(row.experiment_id),
    name: row.name,
    artifactUri: row.artifact_uri,
    createdAt: row.created_at,
    updatedAt: row.updated_at,
    status: row.status,
    statusMessage: row.status_message,
    modelType: row.model_type,
    sourceRunId: row.source_run_id,
    lifecycle: row.lifecycle,
    tags: tags.get(row.model_id) ?? [],
    params: params.get(row.model_id) ?? [],
    metrics: latest(metrics.get(row.model_id) ?? []),
  }));
}

async function getModel(db: Connection, id: string): Promise<LoggedModel> {
  const [model] = await toModels(db, [await find(db, id)]);
  if (!model) throw missing(`Logged model with ID '${id}' not found.`);
  return model;
}

async function setTag(tx: Connection, id: string, { key, value }: KeyValue): Promise<void> {
  await tx.run(
    "INSERT INTO logged_model_tags VALUES (?, ?, ?) ON CONFLICT (model_id, key) DO UPDATE SET value = excluded.value",
    id,
    key,
    value,
  );
}

async function addParams(tx: Connection, id: string, params: KeyValue[]): Promise<void> {
  for (const { key, value } of params) {
    const added = await tx.run(
      "INSERT INTO logged_model_params VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
      id,
      key,
      value,
    );
    if (added > 0) continue;
    const old = await tx.get<{ value: string }>(
      "SELECT value FROM logged_model_params WHERE model_id = ? AND key = ?",
      id,
      key,
    );
    if (old && old.value !== value) {
      throw invalid(
        `Param '${key}' of logged model ${id} is '${old.value}' already and cannot be changed to '${value}'.`,
      );
    }
  }
}

export function loggedModelStore(db: Database): LoggedModelStore {
  return {
    create: (model) =>
      db.transaction(async (tx) => {
        const experiment = await activeExperiment(tx, model.experimentId);
        const now = Date.now();
        await tx.run(
          `INSERT INTO logged_models (model_id, experiment_id, name, artifact_uri, created_at, updated_at, status, model_type, source_run_id)
           VALUES (?, ?, ?, ?, ?, ?, 'PENDING', ?, ?)`,
          model.id,
          experiment.id,
          model.name,
          `${experiment.artifact_location.replace(/\/+$/, "")}/models/${model.id}/artifacts`,
          now,
          now,
          model.modelType,
          model.sourceRunId,
        );
        for (const tag of model.tags) await setTag(tx, model.id, tag);
        await addParams(tx, model.id, model.params);
        return getModel(tx, model.id);
      }),

    get: (id) => getModel(db, id),

    async search({ experimentIds, datasets = [], ...search }) {
      const of = (it: string) => `SELECT x.model_id FROM logged_model_metrics x WHERE ${it}`;
      const named = datasets.map(({ digest }) =>
        of(digest === undefined ? "x.dataset_name = ?" : "x.dataset_name = ? AND x.dataset_digest = ?"),
      );
      const measured = named.length === 0 ? "" : ` AND m.model_id IN (${named.join(" UNION ")})`;
      const from = {
        text: `FROM logged_models m WHERE m.lifecycle = 'active' AND ${db.dialect.among("m.experiment_id")}${measured}`,
        values: [
          numericIds(experimentIds),
          ...datasets.flatMap(({ name, digest }) => (digest === undefined ? [name] : [name, digest])),
        ],
      };
      const { rows, ...page } = await findPage<Row>(db, TABLE, "m.*", from, NEWEST, search);
      return { items: await toModels(db, rows), ...page };
    },

    setStatus: (id, status, message) =>
      db.transaction(async (tx) => {
        await find(tx, id, { lock: true });
        await tx.run(
          "UPDATE logged_models SET status = ?, status_message = ?, updated_at = ? WHERE model_id = ?",
          status,
          message,
          Date.now(),
          id,
        );
        return getModel(tx, id);
      }),

    remove: (id) =>
      db.transaction(async (tx) => {
        const { artifact_uri } = await find(tx, id, { lock: true });
        const { condition, values } = inFolder(artifact_uri);
        await refuseGuarded(tx, `Logged model ${id}`, condition, values);
        await tx.run(
          "UPDATE logged_models SET lifecycle = 'deleted', updated_at = ? WHERE model_id = ?",
          Date.now(),
          id,
        );
      }),

    setTags: (id, tags) =>
      db.transaction(async (tx) => {
        await find(tx, id, { lock: true });
        for (const tag of tags) await setTag(tx, id, tag);
        await tx.run("UPDATE logged_models SET updated_at = ? WHERE model_id = ?", Date.now(), id);
        return getModel(tx, id);
      }),

    deleteTag: (id, key) =>
      db.transaction(async (tx) => {
        await find(tx, id, { lock: true });
        if ((await tx.run("DELETE FROM logged_model_tags WHERE model_id = ? AND key = ?", id, key)) === 0) {
          throw missing(`No tag with key '${key}' on logged model ${id}.`);
        }
      }),

    addParams: (id, params) =>
      db.transaction(async (tx) => {
        await find(tx, id, { lock: true });
        await addParams(tx, id, params);
      }),
  };
}
