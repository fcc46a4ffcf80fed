import { isDeepStrictEqual } from "node:util";
import { exists, invalid } from "../../errors.ts";
import { isGuarded } from "../aliases.ts";
import type { Judged, RegistryStore, Transition, VersionFile } from "../store.ts";
import type { KeyValue, ModelVersion, Stage, StageChange } from "../types.ts";
import { findPage, type SearchTable } from "./compile.ts";
import type { Connection, Database } from "./database.ts";
import { gatesOf, modelCards } from "./model-cards.ts";
import { hasRuns, insertFiles, productionOf, refuseGuarded } from "./registered.ts";
import {
  findModel,
  findVersion,
  getModel,
  getVersion,
  holdVersion,
  type ModelRow,
  toModels,
  touch,
  toVersions,
  type VersionRow,
} from "./registry-rows.ts";

/** MLflow's clients search for models that are not prompts, which must include models without this tag. */
const absentIsDifferent = ["mlflow.prompt.is_prompt"];

const MODELS: SearchTable = {
  attributes: { name: "m.name", last_updated_timestamp: "m.updated_at", creation_timestamp: "m.created_at" },
  keyed: { tag: { from: "FROM registered_model_tags t WHERE t.name = m.name AND t.key = ?", value: "t.value" } },
  absentIsDifferent,
};

const VERSIONS: SearchTable = {
  attributes: {
    name: "v.name",
    run_id: "v.run_id",
    source_path: "v.source",
    version_number: "v.version",
    current_stage: "v.stage",
    last_updated_timestamp: "v.updated_at",
    creation_timestamp: "v.created_at",
  },
  nullable: ["run_id"],
  keyed: {
    tag: {
      from: "FROM model_version_tags t WHERE t.name = v.name AND t.version = v.version AND t.key = ?",
      value: "t.value",
    },
  },
  absentIsDifferent,
};

async function setModelTag(tx: Connection, name: string, { key, value }: KeyValue): Promise<void> {
  await tx.run(
    "INSERT INTO registered_model_tags VALUES (?, ?, ?) ON CONFLICT (name, key) DO UPDATE SET value = excluded.value",
    name,
    key,
    value,
  );
}

async function setVersionTag(tx: Connection, name: string, version: number, { key, value }: KeyValue): Promise<void> {
  await tx.run(
    "INSERT INTO model_version_tags VALUES (?, ?, ?, ?) ON CONFLICT (name, version, key) DO UPDATE SET value = excluded.value",
    name,
    version,
    key,
    value,
  );
}

const versionsIn = (db: Connection, name: string, stage: Stage): Promise<VersionRow[]> =>
  db.all<VersionRow>("SELECT * FROM model_versions WHERE name = ? AND stage = ? ORDER BY version DESC", name, stage);

/** Records a change of stage, which is kept when the version is deleted. */
async function remember(tx: Connection, name: string, { gates, ...change }: StageChange): Promise<void> {
  await tx.run(
    "INSERT INTO stage_history (name, version, from_stage, to_stage, who, at, comment, gates) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
    name,
    change.version,
    change.from,
    change.to,
    change.who,
    change.at,
    change.comment,
    JSON.stringify(gates),
  );
}

const deletion = ({ version, stage }: VersionRow, who: string): StageChange => ({
  version,
  from: stage,
  to: "Deleted",
  who,
  at: Date.now(),
  comment: null,
  gates: [],
});

/** Whether a version's gates, and what they compare with, are still those that it was judged by. */
async function isJudgedBy(tx: Connection, { name, version }: VersionRow, judged: Judged): Promise<boolean> {
  const current = await productionOf(tx, name, version);
  const gates = await gatesOf(tx, name);
  return (current?.version ?? null) === judged.production && isDeepStrictEqual(gates, judged.gates);
}

async function transition(tx: Connection, wanted: Transition): Promise<ModelVersion | undefined> {
  const { name, version, stage, who } = wanted;
  const row = await holdVersion(tx, name, version);
  // A version that was in Production when its promotion began may have been moved since.
  const judged = wanted.judged ? await isJudgedBy(tx, row, wanted.judged) : row.stage === "Production";
  if (stage === "Production" && !judged) return undefined;
  const at = Date.now();
  const move = async (number: number, change: Omit<StageChange, "version" | "at">): Promise<void> => {
    await tx.run(
      "UPDATE model_versions SET stage = ?, updated_at = ? WHERE name = ? AND version = ?",
      change.to,
      at,
      name,
      number,
    );
    await remember(tx, name, { ...change, version: number, at });
  };
  if (wanted.archiveExisting && (stage === "Production" || stage === "Staging")) {
    for (const other of await versionsIn(tx, name, stage)) {
      if (other.version === version) continue;
      const comment = `Replaced by version ${version}.`;
      await move(other.version, { from: other.stage, to: "Archived", who, comment, gates: [] });
    }
  }
  if (row.stage !== stage) {
    await move(version, { from: row.stage, to: stage, who, comment: wanted.comment, gates: wanted.gates });
  }
  await touch(tx, name, version);
  return getVersion(tx, name, version);
}

export function registryStore(db: Database): RegistryStore {
  return {
    ...modelCards(db),

    createModel: ({ name, description, tags }) =>
      db.transaction(async (tx) => {
        if (await tx.get("SELECT 1 FROM registered_models WHERE name = ?", name)) {
          throw exists(`Registered Model (name=${name}) already exists.`);
        }
        const now = Date.now();
        await tx.run(
          "INSERT INTO registered_models (name, description, created_at, updated_at) VALUES (?, ?, ?, ?)",
          name,
          description,
          now,
          now,
        );
        for (const tag of tags) await setModelTag(tx, name, tag);
        return getModel(tx, name);
      }),

    getModel: (name) => getModel(db, name),

    async searchModels(search) {
      const from = { text: "FROM registered_models m WHERE 1 = 1", values: [] };
      const { rows, ...page } = await findPage<ModelRow>(db, MODELS, "m.*", from, [{ expression: "m.name" }], search);
      return { items: await toModels(db, rows), ...page };
    },

    renameModel: (name, newName) =>
      db.transaction(async (tx) => {
        await findModel(tx, name, { lock: true });
        if (name !== newName && (await tx.get("SELECT 1 FROM registered_models WHERE name = ?", newName))) {
          throw exists(`Registered Model (name=${newName}) already exists.`);
        }
        await tx.run("UPDATE registered_models SET name = ?, updated_at = ? WHERE name = ?", newName, Date.now(), name);
        await tx.run("UPDATE stage_history SET name = ? WHERE name = ?", newName, name);
        await tx.run("UPDATE grants SET target = ? WHERE kind = 'model' AND target = ?", newName, name);
        return getModel(tx, newName);
      }),

    describeModel: (name, description) =>
      db.transaction(async (tx) => {
        await findModel(tx, name, { lock: true });
        await tx.run("UPDATE registered_models SET description = ? WHERE name = ?", description, name);
        await touch(tx, name);
        return getModel(tx, name);
      }),

    deleteModel: (name, who) =>
      db.transaction(async (tx) => {
        await findModel(tx, name, { lock: true });
        await refuseGuarded(tx, `Model ${name}`, "v.name = ?", [name]);
        const versions = await tx.all<VersionRow>("SELECT * FROM model_versions WHERE name = ?", name);
        for (const version of versions) await remember(tx, name, deletion(version, who));
        await tx.run("DELETE FROM registered_models WHERE name = ?", name);
        // A later model with this name is a different one.
        await tx.run("DELETE FROM grants WHERE kind = 'model' AND target = ?", name);
      }),

    setModelTag: (name, tag) =>
      db.transaction(async (tx) => {
        await findModel(tx, name, { lock: true });
        await setModelTag(tx, name, tag);
        await touch(tx, name);
      }),

    deleteModelTag: (name, key) =>
      db.transaction(async (tx) => {
        await findModel(tx, name, { lock: true });
        await tx.run("DELETE FROM registered_model_tags WHERE name = ? AND key = ?", name, key);
        await touch(tx, name);
      }),

    async latestVersions(name) {
      await findModel(db, name);
      const rows = await db.all<VersionRow>(
        `SELECT v.* FROM model_versions v
         JOIN (SELECT MAX(version) AS newest FROM model_versions WHERE name = ? GROUP BY stage) n ON v.version = n.newest
         WHERE v.name = ? ORDER BY v.version`,
        name,
        name,
      );
      return toVersions(db, rows);
    },

    createVersion: (version) =>
      db.transaction(async (tx) => {
        const { name } = version;
        await findModel(tx, name, { lock: true });
        const now = Date.now();
        // Version numbers are never reused, so that "version 3" always means the same.
        const [counted] = await tx.all<{ number: number }>(
          "UPDATE registered_models SET last_version = last_version + 1, updated_at = ? WHERE name = ? RETURNING last_version AS number",
          now,
          name,
        );
        if (counted === undefined) throw new Error("the model vanished while its version was made");
        await tx.run(
          `INSERT INTO model_versions (name, version, created_at, updated_at, description, user_id, source, run_id, run_link, model_id,
                                       root, origin_run, location, sealed)
           VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 1)`,
          name,
          counted.number,
          now,
          now,
          version.description,
          version.userId,
          version.source,
          version.runId,
          version.runLink,
          version.modelId,
          version.root,
          version.originRun,
          version.location,
        );
        await insertFiles(tx, name, counted.number, version.files);
        for (const tag of version.tags) await setVersionTag(tx, name, counted.number, tag);
        return getVersion(tx, name, counted.number);
      }),

    getVersion: (name, version) => getVersion(db, name, version),

    async searchVersions(search) {
      const from = { text: "FROM model_versions v WHERE 1 = 1", values: [] };
      const otherwise = [
        { expression: "v.updated_at", descending: true },
        { expression: "v.name" },
        { expression: "v.version", descending: true },
      ];
      const { rows, ...page } = await findPage<VersionRow>(db, VERSIONS, "v.*", from, otherwise, search);
      return { items: await toVersions(db, rows), ...page };
    },

    describeVersion: (name, version, description) =>
      db.transaction(async (tx) => {
        await holdVersion(tx, name, version);
        await tx.run(
          "UPDATE model_versions SET description = ? WHERE name = ? AND version = ?",
          description,
          name,
          version,
        );
        await touch(tx, name, version);
        return getVersion(tx, name, version);
      }),

    deleteVersion: (name, version, who) =>
      db.transaction(async (tx) => {
        const row = await holdVersion(tx, name, version);
        await refuseGuarded(tx, `Version ${version} of ${name}`, "v.name = ? AND v.version = ?", [name, version]);
        await remember(tx, name, deletion(row, who));
        await tx.run("DELETE FROM model_versions WHERE name = ? AND version = ?", name, version);
        await touch(tx, name);
      }),

    setVersionTag: (name, version, tag) =>
      db.transaction(async (tx) => {
        await holdVersion(tx, name, version);
        await setVersionTag(tx, name, version, tag);
        await touch(tx, name, version);
      }),

    deleteVersionTag: (name, version, key) =>
      db.transaction(async (tx) => {
        await holdVersion(tx, name, version);
        await tx.run("DELETE FROM model_version_tags WHERE name = ? AND version = ? AND key = ?", name, version, key);
        await touch(tx, name, version);
      }),

    transition: (wanted) => db.transaction((tx) => transition(tx, wanted)),

    hasRuns: (folder) => hasRuns(db, folder),

    async files(name, version, path) {
      await findVersion(db, name, version);
      return db.all<VersionFile>(
        `SELECT path, size, sha256 FROM model_version_files
         WHERE name = ? AND version = ?${path === undefined ? "" : " AND path = ?"} ORDER BY path`,
        name,
        version,
        ...(path === undefined ? [] : [path]),
      );
    },

    async production(name, except) {
      const row = await productionOf(db, name, except);
      return row && (await toVersions(db, [row]))[0];
    },

    setAlias: (name, { alias, version }, judged) =>
      db.transaction(async (tx) => {
        const row = await holdVersion(tx, name, version);
        if (isGuarded(alias)) {
          if (judged === undefined) throw new Error(`the alias ${alias} was set without its gates`);
          if (!(await isJudgedBy(tx, row, judged))) return false;
        }
        await tx.run(
          "INSERT INTO model_aliases VALUES (?, ?, ?) ON CONFLICT (name, alias) DO UPDATE SET version = excluded.version",
          name,
          alias,
          version,
        );
        await touch(tx, name);
        return true;
      }),

    deleteAlias: (name, alias) =>
      db.transaction(async (tx) => {
        await findModel(tx, name, { lock: true });
        await tx.run("DELETE FROM model_aliases WHERE name = ? AND alias = ?", name, alias);
        await touch(tx, name);
      }),

    async getByAlias(name, alias) {
      await findModel(db, name);
      if (alias.toLowerCase() === "latest") {
        const newest = await db.get<VersionRow>(
          "SELECT * FROM model_versions WHERE name = ? ORDER BY version DESC LIMIT 1",
          name,
        );
        if (newest) return getVersion(db, name, newest.version);
      }
      const row = await db.get<{ version: number }>(
        "SELECT version FROM model_aliases WHERE name = ? AND alias = ?",
        name,
        alias,
      );
      if (!row) throw invalid(`Registered model alias ${alias} not found.`);
      return getVersion(db, name, row.version);
    },
  };
}
