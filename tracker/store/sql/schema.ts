import type { Database, Dialect } from "./database.ts";

/**
 * The schema, as steps that each move a database one version forward. A step that has been
 * released never changes: what comes later is a new step. Written as SQLite takes it; see {@link inDialect}.
 *
 * A metric of a run is a row of `series`, which also holds its latest point; its points hang on the
 * series' number, so that a point costs few bytes and lies beside its neighbours. NaN, which SQLite
 * cannot hold, is `is_nan = 1` with value 0.
 */
const STEPS: readonly string[] = [
  `
  CREATE TABLE experiments (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL UNIQUE,
    artifact_location TEXT NOT NULL,
    lifecycle TEXT NOT NULL DEFAULT 'active',
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
  );
  CREATE TABLE experiment_tags (
    experiment_id INTEGER NOT NULL REFERENCES experiments ON DELETE CASCADE,
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (experiment_id, key)
  ) WITHOUT ROWID;

  CREATE TABLE runs (
    seq INTEGER PRIMARY KEY,
    run_id TEXT NOT NULL UNIQUE,
    experiment_id INTEGER NOT NULL REFERENCES experiments,
    name TEXT NOT NULL,
    user_id TEXT NOT NULL,
    status TEXT NOT NULL,
    start_time INTEGER NOT NULL,
    end_time INTEGER,
    artifact_uri TEXT NOT NULL,
    lifecycle TEXT NOT NULL DEFAULT 'active',
    deleted_at INTEGER,
    client_id TEXT
  );
  CREATE INDEX runs_by_experiment ON runs (experiment_id, lifecycle, start_time DESC, run_id);
  CREATE INDEX runs_by_start ON runs (lifecycle, start_time DESC, run_id);
  CREATE UNIQUE INDEX runs_by_client ON runs (experiment_id, client_id) WHERE client_id IS NOT NULL;

  CREATE TABLE params (
    run INTEGER NOT NULL REFERENCES runs ON DELETE CASCADE,
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (run, key)
  ) WITHOUT ROWID;
  CREATE TABLE tags (
    run INTEGER NOT NULL REFERENCES runs ON DELETE CASCADE,
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (run, key)
  ) WITHOUT ROWID;

  CREATE TABLE series (
    id INTEGER PRIMARY KEY,
    run INTEGER NOT NULL REFERENCES runs ON DELETE CASCADE,
    key TEXT NOT NULL,
    step INTEGER NOT NULL,
    timestamp INTEGER NOT NULL,
    value REAL NOT NULL,
    is_nan INTEGER NOT NULL,
    UNIQUE (run, key)
  );
  CREATE TABLE points (
    series INTEGER NOT NULL REFERENCES series ON DELETE CASCADE,
    step INTEGER NOT NULL,
    timestamp INTEGER NOT NULL,
    is_nan INTEGER NOT NULL,
    value REAL NOT NULL,
    PRIMARY KEY (series, step, timestamp, is_nan, value)
  ) WITHOUT ROWID;

  CREATE TABLE datasets (
    id INTEGER PRIMARY KEY,
    experiment_id INTEGER NOT NULL REFERENCES experiments,
    name TEXT NOT NULL,
    digest TEXT NOT NULL,
    source_type TEXT NOT NULL,
    source TEXT NOT NULL,
    schema TEXT,
    UNIQUE (experiment_id, name, digest)
  );
  CREATE TABLE inputs (
    id INTEGER PRIMARY KEY,
    run INTEGER NOT NULL REFERENCES runs ON DELETE CASCADE,
    dataset INTEGER NOT NULL REFERENCES datasets,
    context TEXT NOT NULL,
    profile TEXT,
    UNIQUE (run, dataset, context)
  );
  CREATE TABLE input_tags (
    input INTEGER NOT NULL REFERENCES inputs ON DELETE CASCADE,
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (input, key)
  ) WITHOUT ROWID;
  CREATE TABLE model_inputs (
    run INTEGER NOT NULL REFERENCES runs ON DELETE CASCADE,
    model_id TEXT NOT NULL,
    PRIMARY KEY (run, model_id)
  ) WITHOUT ROWID;
  CREATE TABLE model_outputs (
    run INTEGER NOT NULL REFERENCES runs ON DELETE CASCADE,
    model_id TEXT NOT NULL,
    step INTEGER NOT NULL,
    PRIMARY KEY (run, model_id, step)
  ) WITHOUT ROWID;

  CREATE TABLE logged_models (
    model_id TEXT PRIMARY KEY,
    experiment_id INTEGER NOT NULL REFERENCES experiments,
    name TEXT NOT NULL,
    artifact_uri TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    status TEXT NOT NULL,
    status_message TEXT,
    model_type TEXT,
    source_run_id TEXT,
    lifecycle TEXT NOT NULL DEFAULT 'active'
  );
  CREATE INDEX logged_models_by_experiment ON logged_models (experiment_id, created_at DESC);
  CREATE TABLE logged_model_tags (
    model_id TEXT NOT NULL REFERENCES logged_models ON DELETE CASCADE,
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (model_id, key)
  ) WITHOUT ROWID;
  CREATE TABLE logged_model_params (
    model_id TEXT NOT NULL REFERENCES logged_models ON DELETE CASCADE,
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (model_id, key)
  ) WITHOUT ROWID;
  CREATE TABLE logged_model_metrics (
    model_id TEXT NOT NULL REFERENCES logged_models ON DELETE CASCADE,
    key TEXT NOT NULL,
    timestamp INTEGER NOT NULL,
    step INTEGER NOT NULL,
    value REAL NOT NULL,
    is_nan INTEGER NOT NULL,
    run_id TEXT NOT NULL,
    dataset_name TEXT NOT NULL,
    dataset_digest TEXT NOT NULL,
    PRIMARY KEY (model_id, key, step, timestamp, is_nan, value, run_id, dataset_name, dataset_digest)
  ) WITHOUT ROWID;

  CREATE TABLE registered_models (
    name TEXT PRIMARY KEY,
    description TEXT,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    last_version INTEGER NOT NULL DEFAULT 0
  );
  CREATE TABLE registered_model_tags (
    name TEXT NOT NULL REFERENCES registered_models ON UPDATE CASCADE ON DELETE CASCADE,
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (name, key)
  ) WITHOUT ROWID;
  CREATE TABLE model_versions (
    name TEXT NOT NULL REFERENCES registered_models ON UPDATE CASCADE ON DELETE CASCADE,
    version INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    description TEXT,
    user_id TEXT,
    stage TEXT NOT NULL DEFAULT 'None',
    source TEXT NOT NULL,
    run_id TEXT,
    run_link TEXT,
    model_id TEXT,
    PRIMARY KEY (name, version)
  );
  CREATE INDEX model_versions_by_run ON model_versions (run_id);
  CREATE TABLE model_version_tags (
    name TEXT NOT NULL,
    version INTEGER NOT NULL,
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (name, version, key),
    FOREIGN KEY (name, version) REFERENCES model_versions ON UPDATE CASCADE ON DELETE CASCADE
  ) WITHOUT ROWID;
  CREATE TABLE model_aliases (
    name TEXT NOT NULL,
    alias TEXT NOT NULL,
    version INTEGER NOT NULL,
    PRIMARY KEY (name, alias),
    FOREIGN KEY (name, version) REFERENCES model_versions ON UPDATE CASCADE ON DELETE CASCADE
  ) WITHOUT ROWID;
  CREATE TABLE gates (
    name TEXT NOT NULL REFERENCES registered_models ON UPDATE CASCADE ON DELETE CASCADE,
    position INTEGER NOT NULL,
    metric TEXT NOT NULL,
    op TEXT NOT NULL,
    bound REAL,
    versus TEXT,
    PRIMARY KEY (name, position)
  ) WITHOUT ROWID;
  CREATE TABLE card_statements (
    name TEXT NOT NULL,
    version INTEGER NOT NULL,
    field TEXT NOT NULL,
    value TEXT NOT NULL,
    who TEXT NOT NULL,
    at INTEGER NOT NULL,
    PRIMARY KEY (name, version, field),
    FOREIGN KEY (name, version) REFERENCES model_versions ON UPDATE CASCADE ON DELETE CASCADE
  ) WITHOUT ROWID;
  -- No foreign key: who was in Production, and when, outlives the version.
  CREATE TABLE stage_history (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    version INTEGER NOT NULL,
    from_stage TEXT NOT NULL,
    to_stage TEXT NOT NULL,
    who TEXT NOT NULL,
    at INTEGER NOT NULL,
    comment TEXT,
    gates TEXT NOT NULL
  );
  CREATE INDEX stage_history_by_name ON stage_history (name, id);

  CREATE TABLE artifact_files (
    path TEXT PRIMARY KEY,
    size INTEGER NOT NULL,
    sha256 TEXT NOT NULL,
    created_at INTEGER NOT NULL
  ) WITHOUT ROWID;
  `,
  `
  -- A metric's latest values in order, to list an experiment's runs by them without looking at each run.
  ALTER TABLE series ADD COLUMN experiment_id INTEGER NOT NULL DEFAULT 0;
  UPDATE series SET experiment_id = (SELECT experiment_id FROM runs WHERE runs.seq = series.run);
  CREATE INDEX series_by_value ON series (experiment_id, key, is_nan, value, run);
  `,
  `
  CREATE TABLE users (
    name TEXT PRIMARY KEY,
    role TEXT NOT NULL,
    disabled INTEGER NOT NULL DEFAULT 0,
    subject TEXT UNIQUE,
    created_at INTEGER NOT NULL
  );
  CREATE TABLE tokens (
    id TEXT PRIMARY KEY,
    user_name TEXT NOT NULL REFERENCES users ON DELETE CASCADE,
    label TEXT NOT NULL,
    scope TEXT NOT NULL,
    session INTEGER NOT NULL,
    hash TEXT NOT NULL UNIQUE,
    created_at INTEGER NOT NULL,
    expires_at INTEGER,
    last_used_at INTEGER
  );
  CREATE INDEX tokens_by_user ON tokens (user_name);
  CREATE TABLE grants (
    user_name TEXT NOT NULL REFERENCES users ON DELETE CASCADE,
    kind TEXT NOT NULL,
    target TEXT NOT NULL,
    role TEXT NOT NULL,
    PRIMARY KEY (user_name, kind, target)
  ) WITHOUT ROWID;
  CREATE INDEX grants_by_target ON grants (kind, target);
  -- No foreign key: what somebody did outlives them.
  CREATE TABLE audit_log (
    id INTEGER PRIMARY KEY,
    at INTEGER NOT NULL,
    who TEXT NOT NULL,
    action TEXT NOT NULL,
    target TEXT NOT NULL,
    status INTEGER NOT NULL
  );
  CREATE INDEX audit_log_by_who ON audit_log (who, id);
  `,
  `
  CREATE TABLE webhooks (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    description TEXT,
    url TEXT NOT NULL,
    secret TEXT,
    events TEXT NOT NULL,
    active INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    last_at INTEGER,
    last_ok INTEGER,
    last_why TEXT
  );
  `,
  `
  CREATE TABLE traces (
    trace_id TEXT PRIMARY KEY,
    experiment_id INTEGER NOT NULL REFERENCES experiments ON DELETE CASCADE,
    client_request_id TEXT,
    request_time INTEGER NOT NULL,
    duration INTEGER,
    state TEXT NOT NULL,
    request_preview TEXT,
    response_preview TEXT
  );
  CREATE INDEX traces_by_experiment ON traces (experiment_id, request_time DESC, trace_id);
  CREATE TABLE trace_tags (
    trace_id TEXT NOT NULL REFERENCES traces ON DELETE CASCADE,
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (trace_id, key)
  ) WITHOUT ROWID;
  CREATE TABLE trace_metadata (
    trace_id TEXT NOT NULL REFERENCES traces ON DELETE CASCADE,
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (trace_id, key)
  ) WITHOUT ROWID;
  CREATE INDEX trace_metadata_by_value ON trace_metadata (key, value);
  CREATE TABLE trace_assessments (
    trace_id TEXT NOT NULL REFERENCES traces ON DELETE CASCADE,
    assessment_id TEXT NOT NULL,
    content TEXT NOT NULL,
    PRIMARY KEY (trace_id, assessment_id)
  ) WITHOUT ROWID;
  CREATE TABLE spans (
    trace_id TEXT NOT NULL REFERENCES traces ON DELETE CASCADE,
    span_id TEXT NOT NULL,
    start TEXT NOT NULL,
    content TEXT NOT NULL,
    PRIMARY KEY (trace_id, span_id)
  ) WITHOUT ROWID;
  `,
];

/** A step in the words of a database: PostgreSQL wants other types, and text compared by its bytes as SQLite does. */
function inDialect(step: string, { name }: Dialect): string {
  if (name === "sqlite") return step;
  return step
    .replace(/INTEGER PRIMARY KEY( AUTOINCREMENT)?/g, "BIGINT GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY")
    .replace(/\bINTEGER\b/g, "BIGINT")
    .replace(/\bREAL\b/g, "DOUBLE PRECISION")
    .replace(/\bTEXT\b/g, 'TEXT COLLATE "C"')
    .replace(/ WITHOUT ROWID/g, "");
}

/** Any number will do, if it is the same in every process. */
const MIGRATION_LOCK = 20_261_121;

const versionOf = async (db: Pick<Database, "get">): Promise<number> =>
  (await db.get<{ version: number }>("SELECT version FROM schema_version"))?.version ?? 0;

/**
 * Brings a database to this program's schema, after copying it aside. One that a newer Anneal wrote is left alone.
 * @returns where the copy is, if one was made
 */
export async function migrate(db: Database): Promise<{ backup?: string; from: number; to: number }> {
  await db.execute("CREATE TABLE IF NOT EXISTS schema_version (version INTEGER NOT NULL)");
  const from = await versionOf(db);
  const to = STEPS.length;
  if (from > to) {
    throw new Error(
      `${db.name} was written by a newer Anneal (schema ${from}, this one knows ${to}). Update Anneal, or use another data folder.`,
    );
  }
  if (from === to) return { from, to };
  const backup = from === 0 ? undefined : await db.backup(from);
  await db.transaction(async (tx) => {
    // Of several processes that start at once, one migrates and the others find it done.
    if (tx.dialect.name === "postgresql") await tx.run("SELECT pg_advisory_xact_lock(?)", MIGRATION_LOCK);
    const version = await versionOf(tx);
    for (const step of STEPS.slice(version)) {
      for (const statement of statementsOf(inDialect(step, tx.dialect))) await tx.run(statement);
    }
    if (version === 0) {
      const now = Date.now();
      await tx.run(
        "INSERT INTO experiments (id, name, artifact_location, created_at, updated_at) VALUES (0, 'Default', 'mlflow-artifacts:/0', ?, ?)",
        now,
        now,
      );
    }
    await tx.run("DELETE FROM schema_version");
    await tx.run("INSERT INTO schema_version (version) VALUES (?)", to);
  });
  return { from, to, ...(backup === undefined ? {} : { backup }) };
}

/** The statements of a step; none of them holds a semicolon of its own. */
const statementsOf = (step: string): string[] =>
  step
    .replace(/^ *--.*$/gm, "")
    .split(";")
    .filter((statement) => statement.trim() !== "");
