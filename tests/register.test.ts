// Registering a trained model with the functions for cells.
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import {
  findTracker,
  loadCheckpoint,
  ModelError,
  newestCheckpoint,
  registerModel,
  TrainingError,
  train,
  waitForRun,
} from "../src/index.ts";
import { toyModel, toyOptions } from "../src/train/toy.ts";
import { cleanUp, Server, scratch } from "./support.ts";

let tracker: Server;
const data = scratch("register");
beforeAll(async () => {
  process.env.ANNEAL_DATA = data;
  tracker = await Server.start("tracker", data);
  process.env.ANNEAL_TRACKER_URI = tracker.url;
  process.env.ANNEAL_TOKEN = tracker.token;
});
afterAll(cleanUp);

test("a trained model is registered from its run, and its checkpoint can be resumed", async () => {
  const outputDir = join(data, "checkpoints");
  const model = toyModel();
  expect((await findTracker())?.uri).toBe(tracker.url);
  const { runId, checkpoint, loss } = await train(model, { ...toyOptions(), maxSteps: 4, outputDir });
  await waitForRun(runId);
  expect((await tracker.run(runId)).metrics["train/loss"]).toBe(loss);

  const version = await registerModel(model, "toy", { tags: { kind: "test" } });
  expect(version).toMatchObject({ name: "toy", version: "1", runId });
  expect(version.url).toBe(`${tracker.url}/tracker/models/toy`);

  const { state, weights } = await loadCheckpoint(checkpoint);
  expect(state).toMatchObject({ step: 4, runId, loss });
  const now = await model.stateDict();
  expect(Object.keys(weights).sort()).toEqual(Object.keys(now).sort());
  for (const [name, { data: values }] of Object.entries(weights)) expect(values).toEqual(now[name].data);
  expect((await newestCheckpoint(outputDir))?.folder).toBe(checkpoint);
  await expect(loadCheckpoint(join(outputDir, "step-9"))).rejects.toThrow(ModelError);
  await model.release();
}, 120_000);

test("an invalid option causes an error before anything is changed", async () => {
  const model = toyModel();
  await expect(train(model, { ...toyOptions(), perDeviceTrainBatchSize: 0 })).rejects.toThrow(TrainingError);
  expect(model.runId).toBeUndefined();
});
