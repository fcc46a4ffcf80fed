import { TrackerError } from "../../errors.ts";
import { GUARDED_ALIASES } from "../aliases.ts";
import type { RegisteredStore, VersionFile, VersionName } from "../store.ts";
import type { Connection, Database, SqlValue } from "./database.ts";
import { toVersions, type VersionRow } from "./registry-rows.ts";

/** The bounds of all paths in a folder: "0" is the character after "/". */
const within = (folder: string): [string, string] => [`${folder}/`, `${folder}0`];

/** The condition that a version `v` has its files in the folder of an artifact URI. */
export function inFolder(uri: string): { condition: string; values: string[] } {
  const folder = uri.replace(/^mlflow-artifacts:\/+/, "");
  return { condition: "(v.root = ? OR (v.root > ? AND v.root < ?))", values: [folder, ...within(folder)] };
}

/** A path and the folders that it is in, without the artifact root. */
function upwards(path: string): string[] {
  const parts = path.split("/");
  return parts.map((_, index) => parts.slice(0, index + 1).join("/"));
}

export async function insertFiles(tx: Connection, name: string, version: number, files: readonly VersionFile[]) {
  for (const { path, size, sha256 } of files) {
    await tx.run("INSERT INTO model_version_files VALUES (?, ?, ?, ?, ?)", name, version, path, size, sha256);
  }
}

/** The condition for a version `v` that is in Production or has a guarded alias. */
const GUARDED = `(v.stage = 'Production' OR EXISTS (
  SELECT 1 FROM model_aliases a WHERE a.name = v.name AND a.version = v.version
  AND LOWER(a.alias) IN (${GUARDED_ALIASES.map((alias) => `'${alias}'`).join(", ")})))`;

/**
 * Checks that no version in Production, or with a guarded alias, depends on what is to be deleted.
 * @param condition SQL on the version `v`
 * @throws RESOURCE_CONFLICT which names the version
 */
export async function refuseGuarded(tx: Connection, what: string, condition: string, values: SqlValue[]) {
  const found = await tx.get<VersionName & { stage: string }>(
    `SELECT v.name, v.version, v.stage FROM model_versions v WHERE ${GUARDED} AND (${condition}) ORDER BY v.name, v.version`,
    ...values,
  );
  if (!found) return;
  const { name, version, stage } = found;
  const why =
    stage === "Production" ? "is in Production" : `has an alias that is guarded (${GUARDED_ALIASES.join(" or ")})`;
  throw new TrackerError(
    "RESOURCE_CONFLICT",
    `${what} cannot be deleted: version ${version} of ${name} ${why}. Move it to another stage, or remove the alias, first.`,
  );
}

/** The version that a new one is compared with: the newest other one in Production, or else with a guarded alias. */
export async function productionOf(db: Connection, name: string, except: number): Promise<VersionRow | undefined> {
  return db.get<VersionRow>(
    `SELECT v.* FROM model_versions v WHERE v.name = ? AND v.version <> ? AND ${GUARDED}
     ORDER BY CASE WHEN v.stage = 'Production' THEN 0 ELSE 1 END, v.version DESC LIMIT 1`,
    name,
    except,
  );
}

export async function hasRuns(db: Connection, folder: string): Promise<boolean> {
  for (const table of ["runs", "logged_models"]) {
    const query = `SELECT 1 FROM ${table} WHERE artifact_uri > ? AND artifact_uri < ? LIMIT 1`;
    if (await db.get(query, ...within(`mlflow-artifacts:/${folder}`))) return true;
  }
  return false;
}

export function registeredStore(db: Database): RegisteredStore {
  const { among } = db.dialect;
  return {
    holders: (path) =>
      db.all<VersionName>(
        `SELECT name, version FROM model_versions WHERE ${among("root")} OR (root > ? AND root < ?) ORDER BY name, version`,
        upwards(path),
        ...within(path),
      ),

    async file(path) {
      const holders = await db.all<VersionName & { root: string }>(
        `SELECT name, version, root FROM model_versions WHERE ${among("root")} ORDER BY name, version`,
        upwards(path),
      );
      for (const { name, version, root } of holders) {
        const found = await db.get<VersionFile>(
          "SELECT path, size, sha256 FROM model_version_files WHERE name = ? AND version = ? AND path = ?",
          name,
          version,
          path.slice(root.length + 1),
        );
        if (found) return { name, version, ...found };
      }
      return undefined;
    },

    async locations() {
      const outside = (column: string) =>
        `(${column} NOT LIKE 'mlflow-artifacts:/%' OR ${column} LIKE 'mlflow-artifacts://%')`;
      const experiments = await db.all<{ name: string; uri: string }>(
        `SELECT name, artifact_location AS uri FROM experiments WHERE ${outside("artifact_location")} ORDER BY id`,
      );
      const versions = await db.all<VersionName & { uri: string }>(
        `SELECT name, version, source AS uri FROM model_versions
         WHERE ${outside("source")} AND source NOT LIKE 'runs:/%' AND source NOT LIKE 'models:/%' ORDER BY name, version`,
      );
      return [
        ...experiments.map(({ name, uri }) => ({ what: `experiment ${name}`, uri })),
        ...versions.map(({ name, version, uri }) => ({ what: `version ${version} of model ${name}`, uri })),
      ];
    },

    async unsealed() {
      return toVersions(
        db,
        await db.all<VersionRow>("SELECT * FROM model_versions WHERE sealed = 0 ORDER BY created_at"),
      );
    },

    seal: ({ name, version }, { root, originRun, files }) =>
      db.transaction(async (tx) => {
        const changed = await tx.run(
          "UPDATE model_versions SET root = ?, origin_run = ?, sealed = 1 WHERE name = ? AND version = ? AND sealed = 0",
          root,
          originRun,
          name,
          version,
        );
        if (changed > 0) await insertFiles(tx, name, version, files);
      }),
  };
}
