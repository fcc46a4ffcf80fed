import { missing } from "../../errors.ts";
import type { Alias, KeyValue, ModelVersion, RegisteredModel, Stage } from "../types.ts";
import { type Connection, chunks, push } from "./database.ts";
import { keyValuesOf } from "./key-values.ts";

export interface ModelRow {
  name: string;
  description: string | null;
  created_at: number;
  updated_at: number;
}

export interface VersionRow {
  name: string;
  version: number;
  created_at: number;
  updated_at: number;
  description: string | null;
  user_id: string | null;
  stage: Stage;
  source: string;
  run_id: string | null;
  run_link: string | null;
  model_id: string | null;
  root: string | null;
  origin_run: string | null;
  location: string | null;
}

export async function findModel(db: Connection, name: string, { lock = false } = {}): Promise<ModelRow> {
  const row = await db.get<ModelRow>(
    `SELECT name, description, created_at, updated_at FROM registered_models WHERE name = ?${lock ? db.dialect.lock : ""}`,
    name,
  );
  if (!row) throw missing(`Registered Model with name=${name} not found`);
  return row;
}

export async function findVersion(db: Connection, name: string, version: number): Promise<VersionRow> {
  const row = await db.get<VersionRow>("SELECT * FROM model_versions WHERE name = ? AND version = ?", name, version);
  if (!row) throw missing(`Model Version (name=${name}, version=${version}) not found`);
  return row;
}

/** A version that will be changed. Locks its model's row, so that changes of one model are serialized. */
export async function holdVersion(tx: Connection, name: string, version: number): Promise<VersionRow> {
  await tx.get(`SELECT 1 FROM registered_models WHERE name = ?${tx.dialect.lock}`, name);
  return findVersion(tx, name, version);
}

/** The models of the rows, in the same order. */
export async function toModels(db: Connection, rows: ModelRow[]): Promise<RegisteredModel[]> {
  const names = rows.map(({ name }) => name);
  const tags = await keyValuesOf(db, "registered_model_tags", "name", names);
  const aliases = new Map<string, Alias[]>();
  const mine = db.dialect.among("name");
  for (const part of chunks(names, 500)) {
    const named = await db.all<Alias & { name: string }>(
      `SELECT name, alias, version FROM model_aliases WHERE ${mine} ORDER BY name, alias`,
      part,
    );
    for (const { name, alias, version } of named) push(aliases, name, { alias, version });
  }
  return rows.map((row) => ({
    name: row.name,
    description: row.description,
    createdAt: row.created_at,
    updatedAt: row.updated_at,
    tags: tags.get(row.name) ?? [],
    aliases: aliases.get(row.name) ?? [],
  }));
}

/** The versions of the rows, in the same order. */
export async function toVersions(db: Connection, rows: VersionRow[]): Promise<ModelVersion[]> {
  const tags = new Map<string, KeyValue[]>();
  const aliases = new Map<string, string[]>();
  const mine = db.dialect.among("name");
  const keyOf = (name: string, version: number) => `${version}/${name}`;
  for (const part of chunks([...new Set(rows.map(({ name }) => name))], 500)) {
    const tagged = await db.all<KeyValue & { name: string; version: number }>(
      `SELECT name, version, key, value FROM model_version_tags WHERE ${mine} ORDER BY name, version, key`,
      part,
    );
    for (const { name, version, key, value } of tagged) push(tags, keyOf(name, version), { key, value });
    const named = await db.all<Alias & { name: string }>(
      `SELECT name, alias, version FROM model_aliases WHERE ${mine} ORDER BY name, alias`,
      part,
    );
    for (const { name, alias, version } of named) push(aliases, keyOf(name, version), alias);
  }
  return rows.map((row) => ({
    name: row.name,
    version: row.version,
    createdAt: row.created_at,
    updatedAt: row.updated_at,
    description: row.description,
    userId: row.user_id,
    stage: row.stage,
    source: row.source,
    runId: row.run_id,
    runLink: row.run_link,
    modelId: row.model_id,
    root: row.root,
    originRun: row.origin_run,
    location: row.location,
    status: "READY",
    tags: tags.get(keyOf(row.name, row.version)) ?? [],
    aliases: aliases.get(keyOf(row.name, row.version)) ?? [],
  }));
}

export async function getModel(db: Connection, name: string): Promise<RegisteredModel> {
  const [model] = await toModels(db, [await findModel(db, name)]);
  if (!model) throw missing(`Registered Model with name=${name} not found`);
  return model;
}

export async function getVersion(db: Connection, name: string, version: number): Promise<ModelVersion> {
  const [found] = await toVersions(db, [await findVersion(db, name, version)]);
  if (!found) throw missing(`Model Version (name=${name}, version=${version}) not found`);
  return found;
}

export async function touch(tx: Connection, name: string, version?: number): Promise<void> {
  const now = Date.now();
  await tx.run("UPDATE registered_models SET updated_at = ? WHERE name = ?", now, name);
  if (version !== undefined) {
    await tx.run("UPDATE model_versions SET updated_at = ? WHERE name = ? AND version = ?", now, name, version);
  }
}
