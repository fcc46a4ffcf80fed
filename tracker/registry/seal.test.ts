import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { openPostgresql } from "../store/sql/postgresql.ts";
import { openSqlite } from "../store/sql/sqlite.ts";
import { TestTracker } from "../testing.ts";

let t: TestTracker;
beforeEach(async () => {
  t = await TestTracker.open();
});
afterEach(() => t.close());

/** Makes versions look as an earlier release wrote them, and starts the tracker again. */
async function restartFromEarlierRelease(statements: string[] = []): Promise<void> {
  const open = async () => {
    if (t.options.store === undefined) return openSqlite(join(t.dataDir, "tracker.db"));
    const { db, relay } = await openPostgresql(t.options.store, t.dataDir);
    await relay.close();
    return db;
  };
  const db = await open();
  await db.run("UPDATE model_versions SET root = NULL, origin_run = NULL, sealed = 0");
  await db.run("DELETE FROM model_version_files");
  for (const statement of statements) await db.run(statement);
  await db.close();
  await t.restart();
}

const put = (path: string, payload: string) =>
  t.app.inject({ method: "PUT", url: `/api/2.0/mlflow-artifacts/artifacts/${path}`, payload });
const file = async (name: string, version: string, path: string) =>
  (await t.app.inject({ url: "/model-versions/get-artifact", query: { name, version, path } })).body;

test("the files of versions of an earlier release are recorded at the start", async () => {
  const [run_id, other] = [await t.run(), await t.run()];
  await put(`0/${run_id}/artifacts/model/weights`, "registered");
  for (const name of ["m", "n", "late"]) await t.post("registered-models/create", { name });
  await t.post("model-versions/create", { name: "m", source: `runs:/${run_id}/model`, run_id });
  await t.post("model-versions/create", { name: "n", source: "models:/m/1" });
  await t.post("model-versions/create", { name: "late", source: "models:/m/1" });
  await t.post("model-versions/create", { name: "late", source: `runs:/${run_id}/model`, run_id });
  await restartFromEarlierRelease([
    // It was a reference to a version that did not exist yet, which an earlier release followed.
    "UPDATE model_versions SET created_at = created_at - 60000 WHERE name = 'late' AND version = 1",
    // Its metrics were of another run than its files.
    `UPDATE model_versions SET run_id = '${other}' WHERE name = 'late' AND version = 2`,
  ]);

  expect(await file("m", "1", "weights")).toBe("registered");
  expect(await file("n", "1", "weights")).toBe("registered");
  expect((await put(`0/${run_id}/artifacts/model/weights`, "evil")).statusCode).toBe(409);
  expect(await file("late", "1", "weights")).toContain("RESOURCE_DOES_NOT_EXIST");
  expect(await file("late", "2", "weights")).toBe("registered");
  const { registry } = t.tracker.store;
  expect(await registry.getVersion("m", 1)).toMatchObject({ originRun: run_id });
  expect(await registry.getVersion("late", 2)).toMatchObject({ originRun: null });
  expect(await t.tracker.store.registered.unsealed()).toEqual([]);
});

test("a location that is not allowed any more gives nothing", async () => {
  const run_id = await t.run();
  await put(`0/${run_id}/artifacts/model/weights`, "x");
  await t.post("registered-models/create", { name: "m" });
  await t.post("model-versions/create", { name: "m", source: `runs:/${run_id}/model` });
  await restartFromEarlierRelease([
    `UPDATE model_versions SET source = 'mlflow-artifacts://elsewhere/0/${run_id}/artifacts/model'`,
  ]);
  expect(await file("m", "1", "weights")).toContain("RESOURCE_DOES_NOT_EXIST");
  const uri = await t.get("model-versions/get-download-uri", { name: "m", version: "1" });
  expect([uri.status, uri.text("message")]).toEqual([400, expect.stringContaining("mlflow-artifacts://elsewhere")]);
  expect(await t.tracker.store.registered.locations()).toMatchObject([{ what: "version 1 of model m" }]);
});
