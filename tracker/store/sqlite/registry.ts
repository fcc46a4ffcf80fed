import { exists, invalid, missing } from "../../errors.ts";
import type { RegistryStore } from "../store.ts";
import type {
  Alias,
  CardStatement,
  Gate,
  GateOperator,
  GateResult,
  KeyValue,
  ModelVersion,
  RegisteredModel,
  Stage,
  StageChange,
} from "../types.ts";
import { compileFilter, compileOrder, type SearchTable } from "./compile.ts";
import type { Database } from "./database.ts";

interface ModelRow {
  name: string;
  description: string | null;
  created_at: number;
  updated_at: number;
}

interface VersionRow {
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
}

interface GateRow {
  metric: string;
  op: GateOperator;
  bound: number | null;
  versus: "production" | null;
}

interface HistoryRow {
  version: number;
  from_stage: Stage;
  to_stage: Stage | "Deleted";
  who: string;
  at: number;
  comment: string | null;
  gates: string;
}

/** MLflow's clients ask for all models that are no prompts, which has to find models that lack this tag. */
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
  keyed: {
    tag: {
      from: "FROM model_version_tags t WHERE t.name = v.name AND t.version = v.version AND t.key = ?",
      value: "t.value",
    },
  },
  absentIsDifferent,
};

export function registryStore(db: Database): RegistryStore {
  const selectModel = db.prepare<ModelRow>("SELECT * FROM registered_models WHERE name = ?");
  const modelTags = db.prepare<KeyValue>("SELECT key, value FROM registered_model_tags WHERE name = ? ORDER BY key");
  const modelAliases = db.prepare<Alias>("SELECT alias, version FROM model_aliases WHERE name = ? ORDER BY alias");
  const touchModel = db.prepare("UPDATE registered_models SET updated_at = ? WHERE name = ?");
  const upsertModelTag = db.prepare(
    "INSERT INTO registered_model_tags VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET value = excluded.value",
  );
  const selectVersion = db.prepare<VersionRow>("SELECT * FROM model_versions WHERE name = ? AND version = ?");
  const versionTags = db.prepare<KeyValue>(
    "SELECT key, value FROM model_version_tags WHERE name = ? AND version = ? ORDER BY key",
  );
  const versionAliases = db.prepare<{ alias: string }>(
    "SELECT alias FROM model_aliases WHERE name = ? AND version = ? ORDER BY alias",
  );
  const touchVersion = db.prepare("UPDATE model_versions SET updated_at = ? WHERE name = ? AND version = ?");
  const upsertVersionTag = db.prepare(
    "INSERT INTO model_version_tags VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET value = excluded.value",
  );
  const setStage = db.prepare("UPDATE model_versions SET stage = ?, updated_at = ? WHERE name = ? AND version = ?");
  const remember = db.prepare(
    "INSERT INTO stage_history (name, version, from_stage, to_stage, who, at, comment, gates) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
  );

  const findModel = (name: string): ModelRow => {
    const row = selectModel.get(name);
    if (!row) throw missing(`Registered Model with name=${name} not found`);
    return row;
  };
  const findVersion = (name: string, version: number): VersionRow => {
    const row = selectVersion.get(name, version);
    if (!row) throw missing(`Model Version (name=${name}, version=${version}) not found`);
    return row;
  };
  const toModel = (row: ModelRow): RegisteredModel => ({
    name: row.name,
    description: row.description,
    createdAt: row.created_at,
    updatedAt: row.updated_at,
    tags: modelTags.all(row.name),
    aliases: modelAliases.all(row.name),
  });
  const toVersion = (row: VersionRow): ModelVersion => ({
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
    status: "READY",
    tags: versionTags.all(row.name, row.version),
    aliases: versionAliases.all(row.name, row.version).map(({ alias }) => alias),
  });
  const touch = (name: string, version?: number): void => {
    const now = Date.now();
    touchModel.run(now, name);
    if (version !== undefined) touchVersion.run(now, name, version);
  };
  const versionsIn = (name: string, stage: Stage): VersionRow[] =>
    db
      .prepare<VersionRow>("SELECT * FROM model_versions WHERE name = ? AND stage = ? ORDER BY version DESC")
      .all(name, stage);

  return {
    async createModel({ name, description, tags }) {
      return db.transaction(() => {
        if (selectModel.get(name)) throw exists(`Registered Model (name=${name}) already exists.`);
        const now = Date.now();
        db.prepare("INSERT INTO registered_models (name, description, created_at, updated_at) VALUES (?, ?, ?, ?)").run(
          name,
          description,
          now,
          now,
        );
        for (const { key, value } of tags) upsertModelTag.run(name, key, value);
        return toModel(findModel(name));
      });
    },

    async getModel(name) {
      return toModel(findModel(name));
    },

    async searchModels({ filter, order, offset, limit }) {
      const where = compileFilter(filter, MODELS);
      const by = compileOrder(order, MODELS, "m.name");
      const rows = db
        .once<ModelRow>(`SELECT m.* FROM registered_models m WHERE 1 = 1${where.text} ${by.text} LIMIT ? OFFSET ?`)
        .all(...where.values, ...by.values, limit + 1, offset);
      return { items: rows.slice(0, limit).map(toModel), more: rows.length > limit };
    },

    async renameModel(name, newName) {
      return db.transaction(() => {
        findModel(name);
        if (name !== newName && selectModel.get(newName)) {
          throw exists(`Registered Model (name=${newName}) already exists.`);
        }
        db.prepare("UPDATE registered_models SET name = ?, updated_at = ? WHERE name = ?").run(
          newName,
          Date.now(),
          name,
        );
        db.prepare("UPDATE stage_history SET name = ? WHERE name = ?").run(newName, name);
        return toModel(findModel(newName));
      });
    },

    async describeModel(name, description) {
      return db.transaction(() => {
        findModel(name);
        db.prepare("UPDATE registered_models SET description = ?, updated_at = ? WHERE name = ?").run(
          description,
          Date.now(),
          name,
        );
        return toModel(findModel(name));
      });
    },

    async deleteModel(name, who) {
      db.transaction(() => {
        findModel(name);
        const versions = db.prepare<VersionRow>("SELECT * FROM model_versions WHERE name = ?").all(name);
        for (const { version, stage } of versions) {
          remember.run(name, version, stage, "Deleted", who, Date.now(), null, "[]");
        }
        db.prepare("DELETE FROM registered_models WHERE name = ?").run(name);
      });
    },

    async setModelTag(name, { key, value }) {
      db.transaction(() => {
        findModel(name);
        upsertModelTag.run(name, key, value);
        touch(name);
      });
    },

    async deleteModelTag(name, key) {
      db.transaction(() => {
        findModel(name);
        db.prepare("DELETE FROM registered_model_tags WHERE name = ? AND key = ?").run(name, key);
        touch(name);
      });
    },

    async latestVersions(name) {
      findModel(name);
      return db
        .prepare<VersionRow>(
          `SELECT v.* FROM model_versions v
           JOIN (SELECT MAX(version) AS newest FROM model_versions WHERE name = ? GROUP BY stage) n ON v.version = n.newest
           WHERE v.name = ? ORDER BY v.version`,
        )
        .all(name, name)
        .map(toVersion);
    },

    async createVersion(version) {
      return db.transaction(() => {
        findModel(version.name);
        const now = Date.now();
        // Numbers are counted on the model and never used again, so that "version 3" stays one thing for ever.
        db.prepare("UPDATE registered_models SET last_version = last_version + 1, updated_at = ? WHERE name = ?").run(
          now,
          version.name,
        );
        const number = db
          .prepare<{ last_version: number }>("SELECT last_version FROM registered_models WHERE name = ?")
          .get(version.name)?.last_version;
        if (number === undefined) throw new Error("the model vanished while its version was made");
        db.prepare(
          `INSERT INTO model_versions (name, version, created_at, updated_at, description, user_id, source, run_id, run_link, model_id)
           VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
        ).run(
          version.name,
          number,
          now,
          now,
          version.description,
          version.userId,
          version.source,
          version.runId,
          version.runLink,
          version.modelId,
        );
        for (const { key, value } of version.tags) upsertVersionTag.run(version.name, number, key, value);
        return toVersion(findVersion(version.name, number));
      });
    },

    async getVersion(name, version) {
      return toVersion(findVersion(name, version));
    },

    async searchVersions({ filter, order, offset, limit }) {
      const where = compileFilter(filter, VERSIONS);
      const by = compileOrder(order, VERSIONS, "v.updated_at DESC, v.name, v.version DESC");
      const rows = db
        .once<VersionRow>(`SELECT v.* FROM model_versions v WHERE 1 = 1${where.text} ${by.text} LIMIT ? OFFSET ?`)
        .all(...where.values, ...by.values, limit + 1, offset);
      return { items: rows.slice(0, limit).map(toVersion), more: rows.length > limit };
    },

    async describeVersion(name, version, description) {
      return db.transaction(() => {
        findVersion(name, version);
        db.prepare("UPDATE model_versions SET description = ? WHERE name = ? AND version = ?").run(
          description,
          name,
          version,
        );
        touch(name, version);
        return toVersion(findVersion(name, version));
      });
    },

    async deleteVersion(name, version, who) {
      db.transaction(() => {
        const row = findVersion(name, version);
        remember.run(name, version, row.stage, "Deleted", who, Date.now(), null, "[]");
        db.prepare("DELETE FROM model_versions WHERE name = ? AND version = ?").run(name, version);
        touch(name);
      });
    },

    async setVersionTag(name, version, { key, value }) {
      db.transaction(() => {
        findVersion(name, version);
        upsertVersionTag.run(name, version, key, value);
        touch(name, version);
      });
    },

    async deleteVersionTag(name, version, key) {
      db.transaction(() => {
        findVersion(name, version);
        db.prepare("DELETE FROM model_version_tags WHERE name = ? AND version = ? AND key = ?").run(name, version, key);
        touch(name, version);
      });
    },

    async transition({ name, version, stage, archiveExisting, who, comment, gates, expectedProduction }) {
      return db.transaction(() => {
        const row = findVersion(name, version);
        if (expectedProduction !== undefined) {
          const current = versionsIn(name, "Production").find((other) => other.version !== version);
          if ((current?.version ?? null) !== expectedProduction) return undefined;
        }
        const now = Date.now();
        if (archiveExisting && (stage === "Production" || stage === "Staging")) {
          for (const other of versionsIn(name, stage)) {
            if (other.version === version) continue;
            setStage.run("Archived", now, name, other.version);
            const why = `Replaced by version ${version}.`;
            remember.run(name, other.version, other.stage, "Archived", who, now, why, "[]");
          }
        }
        if (row.stage !== stage) {
          setStage.run(stage, now, name, version);
          remember.run(name, version, row.stage, stage, who, now, comment, JSON.stringify(gates));
        }
        touch(name, version);
        return toVersion(findVersion(name, version));
      });
    },

    async setAlias(name, { alias, version }) {
      db.transaction(() => {
        findVersion(name, version);
        db.prepare(
          "INSERT INTO model_aliases VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET version = excluded.version",
        ).run(name, alias, version);
        touch(name);
      });
    },

    async deleteAlias(name, alias) {
      db.transaction(() => {
        findModel(name);
        db.prepare("DELETE FROM model_aliases WHERE name = ? AND alias = ?").run(name, alias);
        touch(name);
      });
    },

    async getByAlias(name, alias) {
      findModel(name);
      const row = db
        .prepare<{ version: number }>("SELECT version FROM model_aliases WHERE name = ? AND alias = ?")
        .get(name, alias);
      if (!row) throw invalid(`Registered model alias ${alias} not found.`);
      return toVersion(findVersion(name, row.version));
    },

    async gates(name) {
      findModel(name);
      return db
        .prepare<GateRow>("SELECT metric, op, bound, versus FROM gates WHERE name = ? ORDER BY position")
        .all(name)
        .map(
          ({ metric, op, bound, versus }): Gate => ({
            metric,
            op,
            ...(bound === null ? {} : { bound }),
            ...(versus === null ? {} : { versus }),
          }),
        );
    },

    async setGates(name, gates) {
      db.transaction(() => {
        findModel(name);
        db.prepare("DELETE FROM gates WHERE name = ?").run(name);
        const insert = db.prepare("INSERT INTO gates VALUES (?, ?, ?, ?, ?, ?)");
        gates.forEach(({ metric, op, bound, versus }, position) => {
          insert.run(name, position, metric, op, bound ?? null, versus ?? null);
        });
        touch(name);
      });
    },

    async history(name) {
      const rows = db.prepare<HistoryRow>("SELECT * FROM stage_history WHERE name = ? ORDER BY id DESC").all(name);
      if (rows.length === 0) findModel(name);
      return rows.map(
        (row): StageChange => ({
          version: row.version,
          from: row.from_stage,
          to: row.to_stage,
          who: row.who,
          at: row.at,
          comment: row.comment,
          gates: JSON.parse(row.gates) as GateResult[],
        }),
      );
    },

    async statements(name, version) {
      findVersion(name, version);
      return db
        .prepare<CardStatement>(
          "SELECT field, value, who, at FROM card_statements WHERE name = ? AND version = ? ORDER BY field",
        )
        .all(name, version)
        .map(({ field, value, who, at }) => ({ field, value, who, at }));
    },

    async setStatements(name, version, statements) {
      db.transaction(() => {
        findVersion(name, version);
        for (const { field, value, who, at } of statements) {
          if (value === "") {
            db.prepare("DELETE FROM card_statements WHERE name = ? AND version = ? AND field = ?").run(
              name,
              version,
              field,
            );
          } else {
            db.prepare(
              "INSERT INTO card_statements VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET value = excluded.value, who = excluded.who, at = excluded.at",
            ).run(name, version, field, value, who, at);
          }
        }
        touch(name, version);
      });
    },
  };
}
