import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { collectGarbage } from "./garbage.ts";
import { TestTracker } from "./testing.ts";

let tracker: TestTracker;
beforeEach(async () => {
  tracker = await TestTracker.open();
});
afterEach(() => tracker.close());

const api = "/api/2.0/mlflow";
const soon = () => Date.now() + 1000;

/** Creates a run with a metric and a file. */
async function makeRun(experiment = "0"): Promise<string> {
  const created = await tracker.post(`${api}/runs/create`, { experiment_id: experiment, start_time: 1 });
  const id = created.text("run.info.run_id");
  await tracker.post(`${api}/runs/log-batch`, {
    run_id: id,
    metrics: [{ key: "loss", value: 1, timestamp: 1, step: 1 }],
    params: [{ key: "p", value: "1" }],
  });
  await tracker.app.inject({
    method: "PUT",
    url: `/api/2.0/mlflow-artifacts/artifacts/${experiment}/${id}/artifacts/model/weights.bin`,
    payload: Buffer.alloc(1000),
  });
  return id;
}

const folderOf = (id: string, experiment = "0") => join(tracker.dataDir, "artifacts", experiment, id);

describe("garbage collection", () => {
  test("removes deleted runs with all their data, and no others", async () => {
    const [deleted, remaining] = [await makeRun(), await makeRun()];
    await tracker.post(`${api}/runs/delete`, { run_id: deleted });
    const report = await collectGarbage(tracker.tracker, { before: soon() });
    expect(report).toMatchObject({ runs: [{ id: deleted }], kept: [], files: 1, bytes: 1000 });
    expect((await tracker.get(`${api}/runs/get`, { run_id: deleted })).status).toBe(404);
    expect(existsSync(folderOf(deleted))).toBe(false);
    expect((await tracker.get(`${api}/runs/get`, { run_id: remaining })).status).toBe(200);
    expect(readdirSync(join(folderOf(remaining), "artifacts", "model"))).toEqual(["weights.bin"]);
    expect((await collectGarbage(tracker.tracker, { before: soon() })).runs).toEqual([]);
  });

  test("only reports in a dry run, and skips what was deleted later", async () => {
    const id = await makeRun();
    await tracker.post(`${api}/runs/delete`, { run_id: id });
    expect((await collectGarbage(tracker.tracker, { before: soon(), dryRun: true })).runs).toHaveLength(1);
    expect((await collectGarbage(tracker.tracker, { before: Date.now() - 60_000 })).runs).toEqual([]);
    expect(existsSync(folderOf(id))).toBe(true);
    expect((await tracker.post(`${api}/runs/restore`, { run_id: id })).status).toBe(200);
  });

  test("keeps the source run of a registered model", async () => {
    const id = await makeRun();
    await tracker.post(`${api}/registered-models/create`, { name: "m" });
    await tracker.post(`${api}/model-versions/create`, { name: "m", source: `runs:/${id}/model`, run_id: id });
    await tracker.post(`${api}/runs/delete`, { run_id: id });
    expect(await collectGarbage(tracker.tracker, { before: soon() })).toMatchObject({ runs: [], kept: [{ id }] });
    expect(existsSync(folderOf(id))).toBe(true);
  });

  test("removes empty deleted experiments and frees their names", async () => {
    const created = await tracker.post(`${api}/experiments/create`, { name: "mine" });
    const experiment = created.text("experiment_id");
    await makeRun(experiment);
    await tracker.app.inject({
      method: "PUT",
      url: `/api/2.0/mlflow-artifacts/artifacts/${experiment}/traces/tr-1/artifacts/traces.json`,
      payload: "{}",
    });
    await tracker.post(`${api}/experiments/delete`, { experiment_id: experiment });
    expect((await tracker.post(`${api}/experiments/create`, { name: "mine" })).status).not.toBe(200);
    expect(await collectGarbage(tracker.tracker, { before: soon() })).toMatchObject({ experiments: [experiment] });
    expect(existsSync(join(tracker.dataDir, "artifacts", experiment))).toBe(false);
    expect((await tracker.post(`${api}/experiments/create`, { name: "mine" })).status).toBe(200);
  });
});
