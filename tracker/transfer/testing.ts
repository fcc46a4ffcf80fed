import Libsql from "libsql";
import pg from "pg";

/** The tables of MLflow 3's database that are read, with the columns that it has. */
const SCHEMA = `
  CREATE TABLE experiments (experiment_id INTEGER PRIMARY KEY, name VARCHAR(256) UNIQUE, artifact_location VARCHAR(256),
    lifecycle_stage VARCHAR(32), creation_time BIGINT, last_update_time BIGINT);
  CREATE TABLE experiment_tags (key VARCHAR(250), value VARCHAR(5000), experiment_id INTEGER);
  CREATE TABLE runs (run_uuid VARCHAR(32) PRIMARY KEY, name VARCHAR(250), source_type VARCHAR(20), source_name VARCHAR(500),
    entry_point_name VARCHAR(50), user_id VARCHAR(256), status VARCHAR(9), start_time BIGINT, end_time BIGINT,
    deleted_time BIGINT, source_version VARCHAR(50), lifecycle_stage VARCHAR(20), artifact_uri VARCHAR(200),
    experiment_id INTEGER);
  CREATE TABLE params (key VARCHAR(250), value VARCHAR(8000), run_uuid VARCHAR(32));
  CREATE TABLE tags (key VARCHAR(250), value VARCHAR(8000), run_uuid VARCHAR(32));
  CREATE TABLE metrics (key VARCHAR(250), value FLOAT, timestamp BIGINT, run_uuid VARCHAR(32), step BIGINT, is_nan BOOLEAN);
  CREATE TABLE latest_metrics (key VARCHAR(250), value FLOAT, timestamp BIGINT, step BIGINT, is_nan BOOLEAN, run_uuid VARCHAR(32));
  CREATE TABLE datasets (dataset_uuid VARCHAR(36), experiment_id INTEGER, name VARCHAR(500), digest VARCHAR(36),
    dataset_source_type VARCHAR(36), dataset_source TEXT, dataset_schema TEXT, dataset_profile TEXT);
  CREATE TABLE inputs (input_uuid VARCHAR(36), source_type VARCHAR(36), source_id VARCHAR(36), destination_type VARCHAR(36),
    destination_id VARCHAR(36), step BIGINT DEFAULT 0);
  CREATE TABLE input_tags (input_uuid VARCHAR(36), name VARCHAR(255), value VARCHAR(500));
  CREATE TABLE logged_models (model_id VARCHAR(36) PRIMARY KEY, experiment_id INTEGER, name VARCHAR(500),
    artifact_location VARCHAR(1000), creation_timestamp_ms BIGINT, last_updated_timestamp_ms BIGINT, status INTEGER,
    lifecycle_stage VARCHAR(32), model_type VARCHAR(500), source_run_id VARCHAR(32), status_message VARCHAR(1000));
  CREATE TABLE logged_model_params (model_id VARCHAR(36), experiment_id INTEGER, param_key VARCHAR(255), param_value TEXT);
  CREATE TABLE logged_model_tags (model_id VARCHAR(36), experiment_id INTEGER, tag_key VARCHAR(255), tag_value TEXT);
  CREATE TABLE logged_model_metrics (model_id VARCHAR(36), metric_name VARCHAR(500), metric_timestamp_ms BIGINT,
    metric_step BIGINT, metric_value FLOAT, experiment_id INTEGER, run_id VARCHAR(32), dataset_uuid VARCHAR(36),
    dataset_name VARCHAR(500), dataset_digest VARCHAR(36));
  CREATE TABLE registered_models (name VARCHAR(256) PRIMARY KEY, creation_time BIGINT, last_updated_time BIGINT,
    description VARCHAR(5000));
  CREATE TABLE registered_model_tags (key VARCHAR(250), value VARCHAR(5000), name VARCHAR(256));
  CREATE TABLE registered_model_aliases (alias VARCHAR(256), version INTEGER, name VARCHAR(256));
  CREATE TABLE model_versions (name VARCHAR(256), version INTEGER, creation_time BIGINT, last_updated_time BIGINT,
    description VARCHAR(5000), user_id VARCHAR(256), current_stage VARCHAR(20), source VARCHAR(500), run_id VARCHAR(32),
    run_link VARCHAR(500), status VARCHAR(20), status_message VARCHAR(500), storage_location VARCHAR(500));
  CREATE TABLE model_version_tags (key VARCHAR(250), value VARCHAR(5000), name VARCHAR(256), version INTEGER);
`;

/**
 * Writes a database as MLflow leaves one: two runs, one of them deleted, a logged model, and versions 1 and 3 of a model.
 * @param uri sqlite:///file or postgresql://...
 */
export async function writeMlflowDatabase(
  uri: string,
  { artifacts, run, gone }: { artifacts: string; run: string; gone: string },
): Promise<void> {
  const db = await connect(uri);
  for (const statement of SCHEMA.split(";").filter((it) => it.trim() !== "")) await db.run(statement, []);
  const insert = async (table: string, ...rows: (string | number | null)[][]): Promise<void> => {
    for (const row of rows) await db.run(`INSERT INTO ${table} VALUES (${row.map(() => "?").join(", ")})`, row);
  };
  const at = 1_700_000_000_000;
  await db.run("BEGIN", []);
  await insert(
    "experiments",
    [0, "Default", `${artifacts}/0`, "active", at, at],
    [1, "fine-tuning", `${artifacts}/1`, "active", at, at],
    [2, "given up", `${artifacts}/2`, "deleted", at, at],
  );
  await insert("experiment_tags", ["team", "language", 1]);
  const job = ["LOCAL", "train.py", ""];
  await insert(
    "runs",
    [
      run,
      "first",
      ...job,
      "ada",
      "FINISHED",
      at,
      at + 100_000,
      null,
      "",
      "active",
      `${artifacts}/1/${run}/artifacts`,
      1,
    ],
    [
      gone,
      "second",
      ...job,
      "ada",
      "FAILED",
      at + 1,
      at + 2,
      at + 3,
      "",
      "deleted",
      `mlflow-artifacts:/1/${gone}/artifacts`,
      1,
    ],
  );
  await insert("params", ["lr", "2e-4", run], ["prompt", "It's a 'test'; ünïcode", run], ["lr", "1", gone]);
  await insert(
    "tags",
    ["mlflow.runName", "first", run],
    ["mlflow.note.content", "# Notes", run],
    ["mlflow.runName", "second", gone],
  );
  await insert("metrics", ...Array.from({ length: 2500 }, (_, i) => ["loss", 1 / (i + 1), at + i, run, i, 0]));
  const largest = 1.7976931348623157e308;
  const odd = [1, largest, -largest, -2.5, 0].map((value, step) => [
    "odd",
    value,
    at + step,
    run,
    step,
    step === 4 ? 1 : 0,
  ]);
  await insert("metrics", ...odd);
  await insert("latest_metrics", ["loss", 1 / 2500, at + 2499, 2499, 0, run], ["odd", 0, at + 4, 4, 1, run]);
  await insert("datasets", ["ds-1", 1, "chats", "d1g3st", "local", "{}", null, '{"rows":3}']);
  await insert(
    "inputs",
    ["in-1", "DATASET", "ds-1", "RUN", run, 0],
    ["in-2", "RUN_OUTPUT", run, "MODEL_OUTPUT", "m-abc", 7],
  );
  await insert("input_tags", ["in-1", "mlflow.data.context", "training"]);
  const stored = `${artifacts}/1/models/m-abc/artifacts`;
  await insert("logged_models", ["m-abc", 1, "adapter", stored, at, at, 2, "active", "lora", run, null]);
  await insert("logged_model_params", ["m-abc", 1, "rank", "8"]);
  await insert("logged_model_tags", ["m-abc", 1, "kind", "adapter"]);
  await insert("logged_model_metrics", ["m-abc", "accuracy", at, 3, 0.5, 1, run, null, null, null]);
  await insert("registered_models", ["chat model", at, at, "for chats"]);
  await insert("registered_model_tags", ["task", "chat", "chat model"]);
  await insert("registered_model_aliases", ["champion", 3, "chat model"]);
  const folder = `${artifacts}/1/${run}/artifacts/model`;
  await insert(
    "model_versions",
    ["chat model", 1, at, at, "the first", "ada", "Archived", folder, run, "", "READY", null, null],
    ["chat model", 2, at, at, null, "ada", "Deleted_Internal", "REDACTED-SOURCE-PATH", null, "", "READY", null, null],
    ["chat model", 3, at, at, null, "ada", "Production", "models:/m-abc", run, "", "READY", null, stored],
  );
  await insert("model_version_tags", ["reviewed", "yes", "chat model", 3]);
  await db.run("COMMIT", []);
  await db.close();
}

interface Connection {
  run(sql: string, values: (string | number | null)[]): Promise<unknown>;
  close(): Promise<void>;
}

async function connect(uri: string): Promise<Connection> {
  if (uri.startsWith("sqlite:")) {
    const db = new Libsql(uri.replace("sqlite:///", ""));
    return {
      run: async (sql, values) => db.prepare(sql).run(values),
      async close() {
        db.close();
      },
    };
  }
  const client = new pg.Client(uri);
  await client.connect();
  return {
    run(sql, values) {
      let number = 0;
      return client.query(
        sql.replace(/\?/g, () => `$${++number}`),
        values,
      );
    },
    close: () => client.end(),
  };
}
