import { randomUUID } from "node:crypto";
import { exists, invalid, missing } from "../../errors.ts";
import type { NewRun, RunStore } from "../store.ts";
import type { KeyValue, RunData } from "../types.ts";
import { type Connection, type Database, rowsOf } from "./database.ts";
import { activeExperiment } from "./experiments.ts";
import { writePoints } from "./metrics.ts";
import { inFolder, refuseGuarded } from "./registered.ts";
import { runInputs } from "./run-inputs.ts";
import { runLife } from "./run-life.ts";
import { activeRun, findRun, type RunRecord, toRun } from "./run-records.ts";
import { runSearch, withData } from "./run-search.ts";

const NAME_TAG = "mlflow.runName";

async function dataOf(db: Connection, row: RunRecord): Promise<RunData> {
  const [data] = await withData(db, [row]);
  if (!data) throw missing(`Run with id=${row.run_id} not found`);
  return data;
}

async function setTags(tx: Connection, run: number, tags: readonly KeyValue[]): Promise<void> {
  // If a tag is set twice in one batch, the last value is kept.
  const last = new Map(tags.map(({ key, value }) => [key, value]));
  for (const { marks, values } of rowsOf([...last].map(([key, value]) => [run, key, value]))) {
    await tx.run(
      `INSERT INTO tags (run, key, value) VALUES ${marks} ON CONFLICT (run, key) DO UPDATE SET value = excluded.value`,
      ...values,
    );
  }
  const name = last.get(NAME_TAG);
  if (name !== undefined) await tx.run("UPDATE runs SET name = ? WHERE seq = ?", name, run);
}

async function setParams(tx: Connection, run: RunRecord, params: readonly KeyValue[]): Promise<void> {
  let added = 0;
  for (const { marks, values } of rowsOf(params.map(({ key, value }) => [run.seq, key, value]))) {
    added += await tx.run(`INSERT INTO params (run, key, value) VALUES ${marks} ON CONFLICT DO NOTHING`, ...values);
  }
  if (added === params.length) return;
  const known = await tx.all<KeyValue>(
    `SELECT key, value FROM params WHERE run = ? AND ${tx.dialect.among("key")}`,
    run.seq,
    params.map(({ key }) => key),
  );
  const before = new Map(known.map(({ key, value }) => [key, value]));
  for (const { key, value } of params) {
    const old = before.get(key);
    if (old === value) continue;
    throw invalid(
      `Changing param values is not allowed. Param with key='${key}' was already logged with value='${old}' for run ID='${run.run_id}'. Attempted logging new value '${value}'.`,
    );
  }
}

async function create(tx: Connection, run: NewRun): Promise<{ data: RunData; created: boolean }> {
  const experiment = await activeExperiment(tx, run.experimentId);
  if (run.clientId !== undefined) {
    const known = await tx.get<RunRecord>(
      "SELECT * FROM runs WHERE experiment_id = ? AND client_id = ?",
      experiment.id,
      run.clientId,
    );
    if (known) return { data: await dataOf(tx, known), created: false };
  }
  // A client that chooses the ids of its runs can log while no server responds.
  const own = /^[0-9a-f]{32}$/.exec(run.clientId ?? "")?.[0];
  if (own !== undefined && (await tx.get("SELECT 1 FROM runs WHERE run_id = ?", own))) {
    throw exists(`A run with id=${own} exists in another experiment: set the tag anneal.client_id to another id.`);
  }
  const id = own ?? randomUUID().replaceAll("-", "");
  const [row] = await tx.all<{ seq: number }>(
    `INSERT INTO runs (run_id, experiment_id, name, user_id, status, start_time, artifact_uri, client_id)
     VALUES (?, ?, ?, ?, 'RUNNING', ?, ?, ?) RETURNING seq`,
    id,
    experiment.id,
    run.name,
    run.userId,
    run.startTime,
    `${experiment.artifact_location.replace(/\/+$/, "")}/${id}/artifacts`,
    run.clientId ?? null,
  );
  if (!row) throw new Error("the run was not stored");
  await setTags(tx, row.seq, [...run.tags, { key: NAME_TAG, value: run.name }]);
  return { data: await dataOf(tx, await findRun(tx, id)), created: true };
}

export function runStore(db: Database): RunStore {
  return {
    ...runSearch(db),
    ...runInputs(db),
    ...runLife(db),

    create: (run) => db.transaction((tx) => create(tx, run)),

    async get(id) {
      return toRun(await findRun(db, id));
    },

    async getData(id) {
      return dataOf(db, await findRun(db, id));
    },

    update: (id, { status, endTime, name }) =>
      db.transaction(async (tx) => {
        const row = await activeRun(tx, id);
        await tx.run(
          "UPDATE runs SET status = ?, end_time = ?, lost = ? WHERE seq = ?",
          status ?? row.status,
          // A run that is resumed has no end.
          endTime ?? (status === "RUNNING" ? null : row.end_time),
          status === undefined ? row.lost : 0,
          row.seq,
        );
        if (name !== undefined) await setTags(tx, row.seq, [{ key: NAME_TAG, value: name }]);
        return toRun(await findRun(tx, id));
      }),

    setLifecycle: (id, lifecycle) =>
      db.transaction(async (tx) => {
        const row = await findRun(tx, id);
        if (lifecycle === "deleted") {
          const { condition, values } = inFolder(row.artifact_uri);
          await refuseGuarded(tx, `Run ${id}`, `v.origin_run = ? OR ${condition}`, [id, ...values]);
        }
        await tx.run(
          "UPDATE runs SET lifecycle = ?, deleted_at = ? WHERE seq = ?",
          lifecycle,
          lifecycle === "deleted" ? Date.now() : null,
          row.seq,
        );
        return toRun(await findRun(tx, id));
      }),

    log: (id, { metrics, params, tags }) =>
      db.transaction(async (tx) => {
        const row = await activeRun(tx, id);
        await setParams(tx, row, params);
        await setTags(tx, row.seq, tags);
        await writePoints(tx, row, metrics);
        return toRun(row);
      }),

    deleteTag: (id, key) =>
      db.transaction(async (tx) => {
        const row = await activeRun(tx, id);
        if ((await tx.run("DELETE FROM tags WHERE run = ? AND key = ?", row.seq, key)) === 0) {
          throw missing(`No tag with name: ${key} in run with id ${id}`);
        }
        return toRun(row);
      }),
  };
}
