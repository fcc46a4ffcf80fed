import { setTimeout as pause } from "node:timers/promises";
import { afterEach, beforeEach, expect, test } from "vitest";
import { Events, type TrackerEvent } from "./events.ts";
import { watchHeartbeats } from "./heartbeats.ts";
import { TestTracker } from "./testing.ts";

let t: TestTracker;
beforeEach(async () => {
  t = await TestTracker.open();
});
afterEach(() => t.close());

const info = async (run_id: string) => (await t.get("runs/get", { run_id })).at("run.info") as Record<string, unknown>;
const beat = (id: string) => t.post(`/api/anneal/runs/${id}/heartbeat`);

test("runs are lost when their heartbeats end, and found when they begin again", async () => {
  const [watched, without, finished] = [await t.run(), await t.run(), await t.run()];
  await beat(watched);
  await beat(finished);
  await t.post("runs/update", { run_id: finished, status: "FINISHED", end_time: 7 });
  const told: TrackerEvent[] = [];
  const events = new Events();
  events.subscribe((event) => told.push(event));
  const before = Date.now();
  const end = watchHeartbeats(t.tracker.store.runs, events, { lostMs: 200, checkMs: 50 });
  // A client that is alive stays running.
  const alive = await t.run();
  for (let n = 0; n < 10; n++) {
    await beat(alive);
    await pause(50);
  }
  end();
  expect(await info(watched)).toMatchObject({ status: "FAILED" });
  expect(Number((await info(watched)).end_time)).toBeLessThanOrEqual(before);
  expect((await info(alive)).status).toBe("RUNNING");
  expect((await info(without)).status).toBe("RUNNING");
  expect(await info(finished)).toMatchObject({ status: "FINISHED", end_time: 7 });
  expect(told).toEqual([{ type: "run", experimentId: "0", runId: watched, change: "updated" }]);

  expect((await beat(watched)).body).toEqual({ status: "RUNNING" });
  expect(await info(watched)).toMatchObject({ status: "RUNNING" });
  expect(await info(watched)).not.toHaveProperty("end_time");
  // A run that was ended by hand is not revived.
  await t.post("runs/update", { run_id: watched, status: "KILLED", end_time: 9 });
  expect((await beat(watched)).body).toEqual({ status: "KILLED" });
});

test("a rewind that is sent twice, with what came before and after it, gives the same points", async () => {
  const run_id = await t.run();
  const log = (step: number, value: number) =>
    t.post("runs/log-metric", { run_id, key: "loss", value, step, timestamp: step });
  const all = async () => {
    for (const step of [1, 2, 3]) await log(step, step);
    await t.post(`/api/anneal/runs/${run_id}/rewinds`, { id: "r", step: 1 });
    await log(2, 20);
  };
  await all();
  await all();
  const { body } = await t.get("metrics/get-history", { run_id, metric_key: "loss" });
  expect(body.metrics).toMatchObject([
    { step: 1, value: 1 },
    { step: 2, value: 20 },
  ]);
  expect((await t.get("runs/get", { run_id })).at("run.data.metrics.0")).toMatchObject({ step: 2, value: 20 });
  expect((await t.get(`/api/anneal/runs/${run_id}/rewinds`)).at("rewinds.0")).toMatchObject({ id: "r", step: 1 });
  expect((await t.post(`/api/anneal/runs/${run_id}/rewinds`, { id: "../x", step: 1 })).status).toBe(400);
});
