import { createReadStream } from "node:fs";
import { readdir, stat } from "node:fs/promises";
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import type { ArtifactIndex } from "../store/store.ts";
import type { KeyValue } from "../store/types.ts";
import type { SqlReader } from "./database.ts";
import { proxiedPath } from "./rest-source.ts";
import type { Source, SourceFile, SourceModel, SourcePoint, SourceRun } from "./source.ts";

/** Number of rows of a history that are read at a time. */
const PAGE = 20_000;

/** MLflow's numbers of the states of a logged model. */
const MODEL_STATUS = [
  "LOGGED_MODEL_STATUS_UNSPECIFIED",
  "LOGGED_MODEL_PENDING",
  "LOGGED_MODEL_READY",
  "LOGGED_MODEL_UPLOAD_FAILED",
];

/** MLflow stores infinities as the largest numbers. */
const LARGEST = 1.7976931348623157e308;

type Cell = string | number | null;
const text = (value: Cell): string => (value === null ? "" : String(value));
const filled = (value: Cell): string | undefined => (value === null || value === "" ? undefined : String(value));
const optional = <K extends string>(key: K, value: Cell): Partial<Record<K, string>> =>
  value === null ? {} : ({ [key]: String(value) } as Record<K, string>);

/** A value in the format of the protocol. */
function wireValue(value: Cell, isNan: Cell): number | string {
  const number = Number(value);
  if (isNan || value === null || Number.isNaN(number)) return "NaN";
  if (Math.abs(number) >= LARGEST) return number > 0 ? "Infinity" : "-Infinity";
  return number;
}

/**
 * An MLflow server's database, read directly from its tables.
 * @param artifactRoot the location of `mlflow-artifacts:/`: a folder or s3://bucket/prefix
 */
export async function databaseSource(sql: SqlReader, artifactRoot: string | undefined): Promise<Source> {
  const tables = new Set(await sql.tables());
  if (!tables.has("experiments") || !tables.has("runs") || !tables.has("metrics")) {
    throw new Error(`${sql.name} is no database of MLflow: it has no tables experiments, runs and metrics.`);
  }
  const has = async (table: string, column: string): Promise<boolean> =>
    tables.has(table) && (await sql.columns(table)).includes(column);
  const [storedElsewhere, hasInputs, hasModels, hasRegistry, hasAliases] = [
    await has("model_versions", "storage_location"),
    tables.has("inputs"),
    tables.has("logged_models"),
    tables.has("registered_models"),
    tables.has("registered_model_aliases"),
  ];
  const hasStep = await has("inputs", "step");

  const pairs = async (table: string, column: string, id: Cell): Promise<KeyValue[]> =>
    (await sql.rows(`SELECT key, value FROM ${table} WHERE ${column} = ?`, [id])).map(({ key, value }) => ({
      key: text(key),
      value: text(value),
    }));

  const datasetsOf = async (runId: string): Promise<SourceRun["datasets"]> => {
    const rows = await sql.rows(
      `SELECT i.input_uuid AS input, d.name AS name, d.digest AS digest, d.dataset_source_type AS kind,
              d.dataset_source AS source, d.dataset_schema AS fields, d.dataset_profile AS profile
       FROM inputs i JOIN datasets d ON d.dataset_uuid = i.source_id
       WHERE i.source_type = 'DATASET' AND i.destination_type = 'RUN' AND i.destination_id = ?`,
      [runId],
    );
    return Promise.all(
      rows.map(async (row) => ({
        dataset: {
          name: text(row.name),
          digest: text(row.digest),
          source_type: text(row.kind),
          source: text(row.source),
          ...optional("schema", row.fields),
          ...optional("profile", row.profile),
        },
        tags: (await sql.rows("SELECT name, value FROM input_tags WHERE input_uuid = ?", [row.input])).map((tag) => ({
          key: text(tag.name),
          value: text(tag.value),
        })),
      })),
    );
  };

  const modelsOf = async (runId: string, kind: "INPUT" | "OUTPUT"): Promise<{ modelId: string; step: number }[]> =>
    (
      await sql.rows(
        `SELECT destination_id AS model${hasStep ? ", step" : ""} FROM inputs
         WHERE source_type = 'RUN_${kind}' AND source_id = ? AND destination_type = 'MODEL_${kind}'`,
        [runId],
      )
    ).map(({ model, step }) => ({ modelId: text(model), step: Number(step ?? 0) }));

  const toRun = async (row: Record<string, Cell>): Promise<SourceRun> => {
    const id = text(row.run_uuid);
    const tags = await pairs("tags", "run_uuid", id);
    const latest = await sql.rows("SELECT key, value, timestamp, step, is_nan FROM latest_metrics WHERE run_uuid = ?", [
      id,
    ]);
    return {
      id,
      name: filled(row.name) ?? tags.find(({ key }) => key === "mlflow.runName")?.value ?? "",
      userId: text(row.user_id),
      status: text(row.status),
      startTime: Number(row.start_time),
      endTime: row.end_time === null ? undefined : Number(row.end_time),
      deleted: row.lifecycle_stage === "deleted",
      artifactUri: text(row.artifact_uri),
      params: await pairs("params", "run_uuid", id),
      tags,
      metrics: latest.map(toPoint),
      datasets: hasInputs ? await datasetsOf(id) : [],
      inputModels: hasInputs ? (await modelsOf(id, "INPUT")).map(({ modelId }) => modelId) : [],
      outputModels: hasInputs ? await modelsOf(id, "OUTPUT") : [],
    };
  };

  const toPoint = (row: Record<string, Cell>): SourcePoint => ({
    key: text(row.key),
    value: wireValue(row.value, row.is_nan),
    timestamp: Number(row.timestamp),
    step: Number(row.step ?? 0),
  });

  return {
    async *experiments() {
      for (const row of await sql.rows("SELECT * FROM experiments ORDER BY experiment_id", [])) {
        yield {
          id: text(row.experiment_id),
          name: text(row.name),
          deleted: row.lifecycle_stage === "deleted",
          tags: tables.has("experiment_tags") ? await pairs("experiment_tags", "experiment_id", row.experiment_id) : [],
        };
      }
    },

    async *runs(experimentId) {
      const ids = await sql.rows("SELECT run_uuid FROM runs WHERE experiment_id = ? ORDER BY start_time, run_uuid", [
        Number(experimentId),
      ]);
      for (const { run_uuid } of ids) {
        for (const row of await sql.rows("SELECT * FROM runs WHERE run_uuid = ?", [run_uuid])) yield toRun(row);
      }
    },

    async *history(runId, key) {
      for (let offset = 0; ; offset += PAGE) {
        const rows = await sql.rows(
          `SELECT key, value, timestamp, step, is_nan FROM metrics WHERE run_uuid = ? AND key = ?
           ORDER BY timestamp, step, value, is_nan LIMIT ${PAGE} OFFSET ${offset}`,
          [runId, key],
        );
        if (rows.length > 0) yield rows.map(toPoint);
        if (rows.length < PAGE) return;
      }
    },

    async *loggedModels(experimentId) {
      if (!hasModels) return;
      const models = await sql.rows(
        "SELECT * FROM logged_models WHERE experiment_id = ? AND lifecycle_stage = 'active' ORDER BY creation_timestamp_ms",
        [Number(experimentId)],
      );
      for (const row of models) {
        const id = text(row.model_id);
        const of = async (table: string, key: string, value: string): Promise<KeyValue[]> =>
          (await sql.rows(`SELECT ${key} AS key, ${value} AS value FROM ${table} WHERE model_id = ?`, [id])).map(
            (it) => ({
              key: text(it.key),
              value: text(it.value),
            }),
          );
        const metrics = await sql.rows("SELECT * FROM logged_model_metrics WHERE model_id = ?", [id]);
        yield {
          id,
          name: text(row.name),
          modelType: filled(row.model_type),
          sourceRunId: filled(row.source_run_id),
          status: MODEL_STATUS[Number(row.status)] ?? "LOGGED_MODEL_READY",
          artifactUri: text(row.artifact_location),
          tags: await of("logged_model_tags", "tag_key", "tag_value"),
          params: await of("logged_model_params", "param_key", "param_value"),
          metrics: metrics.map((it) => ({
            key: text(it.metric_name),
            value: wireValue(it.metric_value, null),
            timestamp: Number(it.metric_timestamp_ms),
            step: Number(it.metric_step),
            runId: filled(it.run_id),
            ...optional("datasetName", it.dataset_name),
            ...optional("datasetDigest", it.dataset_digest),
          })),
        } satisfies SourceModel;
      }
    },

    async *registeredModels() {
      if (!hasRegistry) return;
      for (const { name, description } of await sql.rows("SELECT * FROM registered_models ORDER BY name", [])) {
        const rows = await sql.rows("SELECT * FROM model_versions WHERE name = ? ORDER BY version", [name]);
        const versions = rows
          .filter((row) => row.current_stage !== "Deleted_Internal")
          .map(async (row) => ({
            version: Number(row.version),
            // For a version of a logged model, `source` is only its id.
            source: text(storedElsewhere && row.storage_location ? row.storage_location : row.source),
            runId: filled(row.run_id),
            runLink: filled(row.run_link),
            modelId: /^models:\/(m-[^/]+)$/.exec(text(row.source))?.[1],
            description: filled(row.description),
            stage: text(row.current_stage) || "None",
            tags: (
              await sql.rows("SELECT key, value FROM model_version_tags WHERE name = ? AND version = ?", [
                name,
                row.version,
              ])
            ).map(({ key, value }) => ({ key: text(key), value: text(value) })),
          }));
        yield {
          name: text(name),
          description: filled(description),
          tags: await pairs("registered_model_tags", "name", name),
          aliases: hasAliases
            ? (await sql.rows("SELECT alias, version FROM registered_model_aliases WHERE name = ?", [name])).map(
                (it) => ({
                  alias: text(it.alias),
                  version: Number(it.version),
                }),
              )
            : [],
          versions: await Promise.all(versions),
        };
      }
    },

    async *files({ artifactUri, id }) {
      checkFolder(artifactUri, id);
      const proxied = proxiedPath(artifactUri);
      if (proxied !== undefined && artifactRoot === undefined) {
        throw new Error(`files at ${artifactUri} lie at the server's artifact root: name it with --artifacts`);
      }
      yield* filesAt(proxied === undefined ? artifactUri : `${artifactRoot?.replace(/\/+$/, "")}/${proxied}`);
    },

    close: () => sql.close(),
  };
}

/**
 * Checks that files are at `<anything>/<id>/artifacts`, where MLflow puts them. Users of an MLflow server can record other
 * locations, but an import must not read any folder of this machine for them.
 */
function checkFolder(artifactUri: string, id: string): void {
  let folder = artifactUri.replace(/[/\\]+$/, "");
  try {
    folder = decodeURIComponent(folder);
  } catch {
    // A folder's name may have a percent sign.
  }
  const parts = folder.split(/[/\\]/);
  if (parts.includes("..") || parts.at(-1) !== "artifacts" || parts.at(-2) !== id) {
    throw new Error(`files at ${artifactUri} are not read: MLflow puts the files of ${id} at .../${id}/artifacts`);
  }
}

/** Files below a folder or an S3 prefix. @throws an Error for other addresses */
async function* filesAt(uri: string): AsyncGenerator<SourceFile> {
  if (/^s3:/i.test(uri)) {
    yield* filesInS3(uri);
    return;
  }
  if (/^[a-z][a-z0-9+.-]+:/i.test(uri) && !/^file:/i.test(uri))
    throw new Error(`files at ${uri} cannot be read from here`);
  // MLflow writes file:///path, file:path and plain paths.
  const root = /^file:\/\//i.test(uri) ? fileURLToPath(uri) : resolve(uri.replace(/^file:/i, ""));
  const found = await stat(root).catch(() => undefined);
  // A run without files may have no folder.
  if (!found?.isDirectory()) return;
  const folders = [""];
  for (let folder = folders.pop(); folder !== undefined; folder = folders.pop()) {
    for (const entry of await readdir(join(root, folder), { withFileTypes: true })) {
      const path = folder === "" ? entry.name : `${folder}/${entry.name}`;
      if (entry.isDirectory()) folders.push(path);
      if (!entry.isFile()) continue;
      const file = join(root, path);
      yield { path, size: (await stat(file)).size, open: async () => createReadStream(file) };
    }
  }
}

async function* filesInS3(uri: string): AsyncGenerator<SourceFile> {
  const [{ openBucket }, { s3Artifacts }] = await Promise.all([
    import("../artifacts/s3-client.ts"),
    import("../artifacts/s3.ts"),
  ]);
  // It is only read, and has no index.
  const index: ArtifactIndex = {
    record: async () => {},
    find: async () => undefined,
    withDigest: async () => [],
    remove: async () => {},
  };
  const artifacts = s3Artifacts(await openBucket(uri), index);
  try {
    const folders = [""];
    for (let folder = folders.pop(); folder !== undefined; folder = folders.pop()) {
      for (const { path, isDir, size = 0 } of await artifacts.list(folder)) {
        if (isDir) folders.push(path);
        else yield { path, size, open: async () => (await artifacts.get(path)).open() };
      }
    }
  } finally {
    await artifacts.close();
  }
}
