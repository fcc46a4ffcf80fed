import { createHash, randomUUID } from "node:crypto";
import { missing } from "../../errors.ts";
import type { EvaluationDatasetStore } from "../store.ts";
import type { EvaluationDataset, EvaluationRecord, KeyValue } from "../types.ts";
import {
  compileAfter,
  findPage,
  type OrderPart,
  orderBy,
  pageOf,
  positionOf,
  type SearchTable,
  sortColumns,
} from "./compile.ts";
import { type Connection, chunks, type Database, numericIds, push } from "./database.ts";
import { activeExperiment } from "./experiments.ts";
import { keyValuesOf } from "./key-values.ts";

interface Row {
  id: string;
  name: string;
  schema: string | null;
  created_at: number;
  updated_at: number;
  created_by: string | null;
  updated_by: string | null;
  records: number;
}

const TABLE: SearchTable = {
  attributes: {
    dataset_id: "d.id",
    name: "d.name",
    created_by: "d.created_by",
    last_updated_by: "d.updated_by",
    created_time: "d.created_at",
    last_update_time: "d.updated_at",
  },
  nullable: ["created_by", "last_updated_by"],
  keyed: { tag: { from: "FROM evaluation_dataset_tags x WHERE x.dataset_id = d.id AND x.key = ?", value: "x.value" } },
};

const NEWEST: OrderPart[] = [{ expression: "d.created_at", descending: true }, { expression: "d.id" }];
const OLDEST_RECORD: OrderPart[] = [{ expression: "r.created_at" }, { expression: "r.id" }];

const COLUMNS = "d.*, (SELECT COUNT(*) FROM evaluation_records r WHERE r.dataset_id = d.id) AS records";

async function find(db: Connection, id: string, { lock = false } = {}): Promise<Row> {
  const row = await db.get<Row>(`SELECT ${COLUMNS} FROM evaluation_datasets d WHERE d.id = ?`, id);
  if (!row) throw missing(`Evaluation dataset with id '${id}' not found.`);
  if (lock) await db.get(`SELECT 1 FROM evaluation_datasets WHERE id = ?${db.dialect.lock}`, id);
  return row;
}

/** The data sets of the rows, in the same order. */
async function toDatasets(db: Connection, rows: readonly Row[]): Promise<EvaluationDataset[]> {
  const ids = rows.map(({ id }) => id);
  const tags = await keyValuesOf(db, "evaluation_dataset_tags", "dataset_id", ids);
  const experiments = new Map<string, string[]>();
  for (const part of chunks(ids, 500)) {
    const found = await db.all<{ dataset_id: string; experiment_id: number }>(
      `SELECT dataset_id, experiment_id FROM evaluation_dataset_experiments
       WHERE ${db.dialect.among("dataset_id")} ORDER BY experiment_id`,
      part,
    );
    for (const { dataset_id, experiment_id } of found) push(experiments, dataset_id, String(experiment_id));
  }
  return rows.map((row) => ({
    id: row.id,
    name: row.name,
    schema: row.schema,
    createdAt: row.created_at,
    updatedAt: row.updated_at,
    createdBy: row.created_by,
    updatedBy: row.updated_by,
    records: row.records,
    tags: tags.get(row.id) ?? [],
    experimentIds: experiments.get(row.id) ?? [],
  }));
}

async function getDataset(db: Connection, id: string): Promise<EvaluationDataset> {
  const [dataset] = await toDatasets(db, [await find(db, id)]);
  if (!dataset) throw missing(`Evaluation dataset with id '${id}' not found.`);
  return dataset;
}

async function setTags(tx: Connection, id: string, tags: readonly KeyValue[]): Promise<void> {
  for (const { key, value } of tags) {
    await tx.run(
      "INSERT INTO evaluation_dataset_tags VALUES (?, ?, ?) ON CONFLICT (dataset_id, key) DO UPDATE SET value = excluded.value",
      id,
      key,
      value,
    );
  }
}

async function addExperiments(tx: Connection, id: string, experimentIds: readonly string[]): Promise<void> {
  for (const experimentId of experimentIds) {
    const { id: number } = await activeExperiment(tx, experimentId);
    await tx.run("INSERT INTO evaluation_dataset_experiments VALUES (?, ?) ON CONFLICT DO NOTHING", id, number);
  }
}

async function touch(tx: Connection, id: string, who: string): Promise<void> {
  await tx.run("UPDATE evaluation_datasets SET updated_at = ?, updated_by = ? WHERE id = ?", Date.now(), who, id);
}

/** JSON that is the same for equal values: with sorted keys. */
function canonical(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(canonical).join()}]`;
  if (typeof value !== "object" || value === null) return JSON.stringify(value) ?? "null";
  const members = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1));
  return `{${members.map(([key, it]) => `${JSON.stringify(key)}:${canonical(it)}`).join()}}`;
}

/** A record as it is stored. */
type Content = Omit<EvaluationRecord, "id" | "createdAt">;

export function evaluationDatasetStore(db: Database): EvaluationDatasetStore {
  return {
    create: ({ name, tags, experimentIds, who }) =>
      db.transaction(async (tx) => {
        const id = `d-${randomUUID().replaceAll("-", "")}`;
        const now = Date.now();
        await tx.run(
          "INSERT INTO evaluation_datasets (id, name, created_at, updated_at, created_by, updated_by) VALUES (?, ?, ?, ?, ?, ?)",
          id,
          name,
          now,
          now,
          who,
          who,
        );
        await setTags(tx, id, tags);
        await addExperiments(tx, id, experimentIds);
        return getDataset(tx, id);
      }),

    get: (id) => getDataset(db, id),

    async search({ experimentIds, except, ...search }) {
      const { among } = db.dialect;
      const of = "FROM evaluation_dataset_experiments e WHERE e.dataset_id = d.id";
      const conditions: { text: string; values: number[][] }[] = [];
      if (experimentIds) {
        const ids = numericIds(experimentIds);
        conditions.push({ text: `EXISTS (SELECT 1 ${of} AND ${among("e.experiment_id")})`, values: [ids] });
      }
      if (except && except.length > 0) {
        const others = `EXISTS (SELECT 1 ${of} AND ${among("e.experiment_id", true)})`;
        conditions.push({ text: `(NOT EXISTS (SELECT 1 ${of}) OR ${others})`, values: [numericIds(except)] });
      }
      const from = {
        text: `FROM evaluation_datasets d WHERE ${["1 = 1", ...conditions.map(({ text }) => text)].join(" AND ")}`,
        values: conditions.flatMap(({ values }) => values),
      };
      const { rows, ...page } = await findPage<Row>(db, TABLE, COLUMNS, from, NEWEST, search);
      return { items: await toDatasets(db, rows), ...page };
    },

    remove: (id) =>
      db.transaction(async (tx) => {
        await find(tx, id, { lock: true });
        await tx.run("DELETE FROM evaluation_datasets WHERE id = ?", id);
      }),

    setTags: (id, tags, who) =>
      db.transaction(async (tx) => {
        await find(tx, id, { lock: true });
        await setTags(tx, id, tags);
        await touch(tx, id, who);
        return getDataset(tx, id);
      }),

    deleteTag: (id, key, who) =>
      db.transaction(async (tx) => {
        await find(tx, id, { lock: true });
        await tx.run("DELETE FROM evaluation_dataset_tags WHERE dataset_id = ? AND key = ?", id, key);
        await touch(tx, id, who);
      }),

    addExperiments: (id, experimentIds, who) =>
      db.transaction(async (tx) => {
        await find(tx, id, { lock: true });
        await addExperiments(tx, id, experimentIds);
        await touch(tx, id, who);
        return getDataset(tx, id);
      }),

    removeExperiments: (id, experimentIds, who) =>
      db.transaction(async (tx) => {
        await find(tx, id, { lock: true });
        await tx.run(
          `DELETE FROM evaluation_dataset_experiments WHERE dataset_id = ? AND ${tx.dialect.among("experiment_id")}`,
          id,
          numericIds(experimentIds),
        );
        await touch(tx, id, who);
        return getDataset(tx, id);
      }),

    upsert: (id, records, { who, describe }) =>
      db.transaction(async (tx) => {
        const { schema } = await find(tx, id, { lock: true });
        let inserted = 0;
        for (const record of records) {
          const now = Date.now();
          const hash = createHash("sha256").update(canonical(record.inputs)).digest("hex");
          const known = await tx.get<{ id: string; content: string }>(
            "SELECT id, content FROM evaluation_records WHERE dataset_id = ? AND input_hash = ?",
            id,
            hash,
          );
          const user = record.tags?.["mlflow.user"];
          if (known) {
            const old = JSON.parse(known.content) as Content;
            const next: Content = {
              ...old,
              ...("outputs" in record ? { outputs: record.outputs } : {}),
              expectations: record.expectations ? { ...old.expectations, ...record.expectations } : old.expectations,
              tags: { ...old.tags, ...record.tags },
              updatedAt: now,
              updatedBy: user ?? who,
            };
            await tx.run("UPDATE evaluation_records SET content = ? WHERE id = ?", JSON.stringify(next), known.id);
            continue;
          }
          inserted++;
          const content: Content = {
            inputs: record.inputs,
            outputs: record.outputs ?? null,
            expectations: record.expectations ?? null,
            tags: record.tags ?? {},
            source: record.source ?? null,
            updatedAt: now,
            createdBy: user ?? who,
            updatedBy: user ?? who,
          };
          await tx.run(
            "INSERT INTO evaluation_records (id, dataset_id, input_hash, created_at, content) VALUES (?, ?, ?, ?, ?)",
            `dr-${randomUUID().replaceAll("-", "")}`,
            id,
            hash,
            now,
            JSON.stringify(content),
          );
        }
        await tx.run("UPDATE evaluation_datasets SET schema = ? WHERE id = ?", describe(schema), id);
        await touch(tx, id, who);
        return { inserted, updated: records.length - inserted };
      }),

    async records(id, { after, limit }) {
      await find(db, id);
      const start = after ? compileAfter(OLDEST_RECORD, after) : { text: "", values: [] };
      const found = await db.all<{ id: string; created_at: number; content: string }>(
        `SELECT r.*, ${sortColumns(OLDEST_RECORD).text} FROM evaluation_records r
         WHERE r.dataset_id = ?${start.text} ${orderBy(OLDEST_RECORD)} LIMIT ?`,
        id,
        ...start.values,
        limit + 1,
      );
      const { rows, ...page } = pageOf(found, limit, (row) => positionOf(row, OLDEST_RECORD));
      const items = rows.map((row) => ({
        ...(JSON.parse(row.content) as Content),
        id: row.id,
        createdAt: row.created_at,
      }));
      return { items, ...page };
    },

    removeRecords: (id, recordIds, who) =>
      db.transaction(async (tx) => {
        await find(tx, id, { lock: true });
        const gone = await tx.run(
          `DELETE FROM evaluation_records WHERE dataset_id = ? AND ${tx.dialect.among("id")}`,
          id,
          recordIds,
        );
        if (gone > 0) await touch(tx, id, who);
        return gone;
      }),
  };
}
