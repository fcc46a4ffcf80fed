import { invalid, missing } from "../../errors.ts";
import type { LoggedModelStore } from "../store.ts";
import type { KeyValue, Lifecycle, LoggedModel, LoggedModelStatus, ModelMetric } from "../types.ts";
import { compileFilter, compileOrder, type SearchTable } from "./compile.ts";
import type { Database } from "./database.ts";
import { toValue } from "./metrics.ts";

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

/** The latest point of each metric, per data set. Rows come in the order of steps. */
function latest(rows: MetricRow[], modelId: string): ModelMetric[] {
  const found = new Map<string, ModelMetric>();
  for (const row of rows) {
    found.set(`${row.key}\n${row.dataset_name}\n${row.dataset_digest}`, {
      key: row.key,
      value: toValue(row),
      timestamp: row.timestamp,
      step: row.step,
      modelId,
      runId: row.run_id,
      datasetName: row.dataset_name || null,
      datasetDigest: row.dataset_digest || null,
    });
  }
  return [...found.values()];
}

export function loggedModelStore(db: Database): LoggedModelStore {
  const select = db.prepare<Row>("SELECT * FROM logged_models WHERE model_id = ? AND lifecycle = 'active'");
  const tags = db.prepare<KeyValue>("SELECT key, value FROM logged_model_tags WHERE model_id = ? ORDER BY key");
  const params = db.prepare<KeyValue>("SELECT key, value FROM logged_model_params WHERE model_id = ? ORDER BY key");
  const metrics = db.prepare<MetricRow>(
    "SELECT * FROM logged_model_metrics WHERE model_id = ? ORDER BY key, step, timestamp, is_nan DESC, value",
  );
  const upsertTag = db.prepare(
    "INSERT INTO logged_model_tags VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET value = excluded.value",
  );
  const insertParam = db.prepare("INSERT INTO logged_model_params VALUES (?, ?, ?) ON CONFLICT DO NOTHING");
  const touch = db.prepare("UPDATE logged_models SET updated_at = ? WHERE model_id = ?");

  const find = (id: string): Row => {
    const row = select.get(id);
    if (!row) throw missing(`Logged model with ID '${id}' not found.`);
    return row;
  };
  const toModel = (row: Row): LoggedModel => ({
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
    tags: tags.all(row.model_id),
    params: params.all(row.model_id),
    metrics: latest(metrics.all(row.model_id), row.model_id),
  });
  const addParams = (id: string, list: KeyValue[]): void => {
    for (const { key, value } of list) {
      if (insertParam.run(id, key, value) > 0) continue;
      const old = params.all(id).find((param) => param.key === key)?.value;
      if (old !== value) {
        throw invalid(`Param '${key}' of logged model ${id} is '${old}' already and cannot be changed to '${value}'.`);
      }
    }
  };

  return {
    async create(model) {
      return db.transaction(() => {
        const experiment = /^\d{1,15}$/.test(model.experimentId)
          ? db
              .prepare<{ lifecycle: Lifecycle; artifact_location: string }>(
                "SELECT lifecycle, artifact_location FROM experiments WHERE id = ?",
              )
              .get(Number(model.experimentId))
          : undefined;
        if (!experiment) throw missing(`No Experiment with id=${model.experimentId} exists`);
        if (experiment.lifecycle !== "active") {
          throw invalid(
            `The experiment ${model.experimentId} must be in the 'active' state. Current state is deleted.`,
          );
        }
        const now = Date.now();
        db.prepare(
          `INSERT INTO logged_models (model_id, experiment_id, name, artifact_uri, created_at, updated_at, status, model_type, source_run_id)
           VALUES (?, ?, ?, ?, ?, ?, 'PENDING', ?, ?)`,
        ).run(
          model.id,
          Number(model.experimentId),
          model.name,
          `${experiment.artifact_location.replace(/\/+$/, "")}/models/${model.id}/artifacts`,
          now,
          now,
          model.modelType,
          model.sourceRunId,
        );
        for (const { key, value } of model.tags) upsertTag.run(model.id, key, value);
        addParams(model.id, model.params);
        return toModel(find(model.id));
      });
    },

    async get(id) {
      return toModel(find(id));
    },

    async search({ experimentIds, filter, order, offset, limit }) {
      const where = compileFilter(filter, TABLE);
      const by = compileOrder(order, TABLE, "m.created_at DESC, m.model_id");
      const rows = db
        .once<Row>(
          `SELECT m.* FROM logged_models m WHERE m.lifecycle = 'active' AND m.experiment_id IN (SELECT value FROM json_each(?))${where.text} ${by.text} LIMIT ? OFFSET ?`,
        )
        .all(
          JSON.stringify(experimentIds.filter((id) => /^\d{1,15}$/.test(id)).map(Number)),
          ...where.values,
          ...by.values,
          limit + 1,
          offset,
        );
      return { items: rows.slice(0, limit).map(toModel), more: rows.length > limit };
    },

    async setStatus(id, status, message) {
      return db.transaction(() => {
        find(id);
        db.prepare("UPDATE logged_models SET status = ?, status_message = ?, updated_at = ? WHERE model_id = ?").run(
          status,
          message,
          Date.now(),
          id,
        );
        return toModel(find(id));
      });
    },

    async remove(id) {
      db.transaction(() => {
        find(id);
        db.prepare("UPDATE logged_models SET lifecycle = 'deleted', updated_at = ? WHERE model_id = ?").run(
          Date.now(),
          id,
        );
      });
    },

    async setTags(id, list) {
      return db.transaction(() => {
        find(id);
        for (const { key, value } of list) upsertTag.run(id, key, value);
        touch.run(Date.now(), id);
        return toModel(find(id));
      });
    },

    async deleteTag(id, key) {
      db.transaction(() => {
        find(id);
        if (db.prepare("DELETE FROM logged_model_tags WHERE model_id = ? AND key = ?").run(id, key) === 0) {
          throw missing(`No tag with key '${key}' on logged model ${id}.`);
        }
      });
    },

    async addParams(id, list) {
      db.transaction(() => {
        find(id);
        addParams(id, list);
      });
    },
  };
}
