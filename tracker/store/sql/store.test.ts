import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, inject, test } from "vitest";
import type { TrackerEvent } from "../../events.ts";
import { TestTracker } from "../../testing.ts";
import { openPostgresql } from "./postgresql.ts";
import { openSqlite } from "./sqlite.ts";

const onPostgresql = inject("postgresql") !== undefined;

let t: TestTracker;
beforeEach(async () => {
  t = await TestTracker.open();
});
afterEach(() => t.close());

/** The tracker's database, beside the tracker. */
async function database() {
  if (t.options.store === undefined) return openSqlite(join(t.dataDir, "tracker.db"));
  const { db, relay } = await openPostgresql(t.options.store, t.dataDir);
  await relay.close();
  return db;
}

describe("a database of another schema", () => {
  test("that is older is migrated with its data and backed up", async () => {
    const run_id = await t.run();
    await t.log(run_id, { metrics: [{ key: "loss", value: 2, timestamp: 1 }] });
    const db = await database();
    await db.execute(
      "DROP TABLE rewound_points; DROP TABLE rewinds; DROP INDEX runs_by_heartbeat; ALTER TABLE runs DROP COLUMN alive_at; ALTER TABLE runs DROP COLUMN lost; DROP TABLE model_version_files; DROP INDEX model_versions_by_root; ALTER TABLE model_versions DROP COLUMN root; ALTER TABLE model_versions DROP COLUMN origin_run; ALTER TABLE model_versions DROP COLUMN sealed; ALTER TABLE model_versions DROP COLUMN location; DROP TABLE scorer_versions; DROP TABLE scorers; DROP TABLE evaluation_records; DROP TABLE evaluation_dataset_experiments; DROP TABLE evaluation_dataset_tags; DROP TABLE evaluation_datasets; DROP INDEX artifact_files_by_digest; DROP TABLE spans; DROP TABLE trace_assessments; DROP TABLE trace_metadata; DROP TABLE trace_tags; DROP TABLE traces; DROP TABLE webhooks; DROP TABLE audit_log; DROP TABLE grants; DROP TABLE tokens; DROP TABLE users; DROP INDEX series_by_value; ALTER TABLE series DROP COLUMN experiment_id; UPDATE schema_version SET version = 1",
    );
    await db.close();
    await t.restart();
    const found = await t.post("runs/search", { experiment_ids: ["0"], order_by: ["metrics.loss"] });
    expect(found.at("runs.0.data.metrics.0")).toMatchObject({ key: "loss", value: 2 });
    const copies = readdirSync(t.dataDir).filter((name) => name.includes("schema-1"));
    // PostgreSQL's own tool makes it, where that is installed.
    if (!onPostgresql || existsSync("/usr/bin/pg_dump")) expect(copies).toHaveLength(1);
  });

  test("that is newer is not changed", async () => {
    const db = await database();
    const known = await db.get<{ version: number }>("SELECT version FROM schema_version");
    await db.run("UPDATE schema_version SET version = 1000");
    await expect(t.restart()).rejects.toThrow(/written by a newer Anneal \(schema 1000/);
    await db.run("UPDATE schema_version SET version = ?", known?.version ?? 0);
    await db.close();
    await t.restart();
    expect((await t.get("experiments/get", { experiment_id: "0" })).status).toBe(200);
  });
});

test("what a transaction has written is seen by others when it ends, and not at all when it fails", async () => {
  const db = await database();
  const tags = () => db.all("SELECT value FROM experiment_tags WHERE experiment_id = 0");
  const write = (fails: boolean) =>
    db.transaction(async (tx) => {
      await tx.run("INSERT INTO experiment_tags VALUES (0, 'k', 'v')");
      expect(await tags()).toEqual([]);
      expect(await tx.all("SELECT value FROM experiment_tags WHERE experiment_id = 0")).toHaveLength(1);
      if (fails) throw new Error("on purpose");
    });
  await expect(write(true)).rejects.toThrow("on purpose");
  expect(await tags()).toEqual([]);
  await write(false);
  expect(await tags()).toHaveLength(1);
  await db.close();
});

test("runs ordered by a metric come in pages: numbers, then NaN, then those that lack it", async () => {
  const values = ["3", "1", "NaN", "2", undefined, "1", "NaN", undefined, "0"];
  for (const [i, value] of values.entries()) {
    const run_id = await t.run({ run_name: `${i}`, start_time: i });
    if (value !== undefined) await t.log(run_id, { metrics: [{ key: "m", value, timestamp: 1 }] });
  }
  for (const [order, expected] of [
    ["ASC", "8 5 1 3 0 6 2 7 4"],
    ["DESC", "0 3 5 1 8 6 2 7 4"],
  ] as const) {
    for (const max_results of [1, 2, 4, 9]) {
      const names: unknown[] = [];
      for (let page_token: unknown = ""; page_token !== undefined; ) {
        const order_by = [`metrics.m ${order}`];
        const page = await t.post("runs/search", { experiment_ids: ["0"], order_by, max_results, page_token });
        for (const { info } of page.at("runs") as { info: { run_name: string } }[]) names.push(info.run_name);
        page_token = page.at("next_page_token");
      }
      expect([max_results, names.join(" ")]).toEqual([max_results, expected]);
    }
  }
});

test("a history is paged by its points: one that is added meanwhile shifts no page", async () => {
  const run_id = await t.run();
  const point = (step: number) => ({ key: "m", value: step, timestamp: 1, step });
  await t.log(run_id, { metrics: Array.from({ length: 10 }, (_, i) => point(2 * i)) });
  const steps: number[] = [];
  for (let page_token: unknown = ""; page_token !== undefined; ) {
    const page = await t.get("metrics/get-history", {
      run_id,
      metric_key: "m",
      max_results: "4",
      page_token: String(page_token),
    });
    steps.push(...(page.at("metrics") as { step: number }[]).map(({ step }) => step));
    page_token = page.at("next_page_token");
    if (steps.length === 4) await t.log(run_id, { metrics: [point(1)] });
  }
  expect(steps).toEqual([0, 2, 4, 6, 8, 10, 12, 14, 16, 18]);
  expect((await t.get("metrics/get-history", { run_id, metric_key: "m", page_token: "bm9uZQ==" })).status).toBe(400);
});

describe.runIf(onPostgresql)("two processes on one database", () => {
  let other: TestTracker;
  beforeEach(async () => {
    other = await TestTracker.open(t.options);
  });
  afterEach(() => other.close());

  test("receive each other's events", async () => {
    const heard: TrackerEvent[] = [];
    other.tracker.events.subscribe((event) => heard.push(event));
    const runId = await t.run();
    const keys = Array.from({ length: 700 }, (_, i) => `metric/with/a/long/name/${i}`);
    await t.log(runId, { metrics: keys.map((key) => ({ key, value: 1, timestamp: 1 })) });
    const told = () => heard.flatMap((event) => (event.type === "metrics" ? event.keys : []));
    await expect.poll(() => heard.map(({ type }) => type)).toContain("run");
    // More than one notification can carry.
    await expect.poll(() => new Set(told()).size).toBe(700);
  });

  test("log to one run at once: every point arrives once, and the latest is the latest", async () => {
    const run_id = await t.run();
    const log = (tracker: TestTracker, step: number) =>
      tracker.log(run_id, { metrics: [{ key: "m", value: step, timestamp: 1, step }] });
    await Promise.all(Array.from({ length: 60 }, (_, step) => log(step % 2 ? t : other, step)));
    const history = await t.get("metrics/get-history", { run_id, metric_key: "m" });
    expect((history.at("metrics") as unknown[]).length).toBe(60);
    expect((await other.get("runs/get", { run_id })).at("run.data.metrics.0.step")).toBe(59);
  });

  test("create the same experiment, model and run concurrently: one of each is created", async () => {
    const both = [t, other, t, other, t, other];
    const created = await Promise.all(both.map((it) => it.post("experiments/create", { name: "same" })));
    expect(created.map(({ status }) => status).sort()).toEqual([200, 400, 400, 400, 400, 400]);
    expect(created.find(({ status }) => status === 400)?.text("error_code")).toBe("RESOURCE_ALREADY_EXISTS");
    const models = await Promise.all(both.map((it) => it.post("registered-models/create", { name: "same" })));
    expect(models.map(({ status }) => status).sort()).toEqual([200, 400, 400, 400, 400, 400]);
    const tags = [{ key: "anneal.client_id", value: "0123456789abcdef0123456789abcdef" }];
    const ids = await Promise.all(both.map((it) => it.run({ tags })));
    expect(new Set(ids).size).toBe(1);
    const versions = await Promise.all(
      both.map((it) => it.post("model-versions/create", { name: "same", source: `runs:/${ids[0]}/model` })),
    );
    expect(versions.map((it) => it.at("model_version.version")).sort()).toEqual(["1", "2", "3", "4", "5", "6"]);
  });

  test("promote at once: only the better version is left in Production", async () => {
    await t.post("registered-models/create", { name: "m" });
    await t.send("PUT", "/api/anneal/registered-models/m/gates", {
      gates: [{ metric: "loss", op: "<", versus: "production" }],
    });
    for (const value of [3, 1, 2]) {
      const run_id = await t.run();
      await t.log(run_id, { metrics: [{ key: "loss", value, timestamp: 1 }] });
      await t.post("model-versions/create", { name: "m", source: `runs:/${run_id}/model`, run_id });
    }
    const promote = (it: TestTracker, version: string) =>
      it.post("model-versions/transition-stage", {
        name: "m",
        version,
        stage: "Production",
        archive_existing_versions: true,
      });
    await promote(t, "1");
    await Promise.all([promote(t, "2"), promote(other, "3")]);
    const production = await t.get("model-versions/search", { filter: "name = 'm'" });
    const versions = production.at("model_versions") as { version: string; current_stage: string }[];
    expect(versions.filter((it) => it.current_stage === "Production").map((it) => it.version)).toEqual(["2"]);
  });
});

test.runIf(onPostgresql)("an address that cannot be opened says so, without the password", async () => {
  const wrong = new URL(inject("postgresql"));
  wrong.pathname = "/nowhere";
  wrong.password = "secret";
  const opened = openPostgresql(wrong.href, t.dataDir);
  await expect(opened).rejects.toThrow(/cannot be opened: database "nowhere" does not exist/);
  await expect(opened).rejects.not.toThrow(/secret/);
});
