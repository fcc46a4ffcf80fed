import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { findTracker, TrackerClient } from "./client.ts";
import { TrackerError } from "./error.ts";
import { dataFolder } from "./folder.ts";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "anneal-client-"));
  for (const name of ["ANNEAL_TRACKER_URI", "ANNEAL_TOKEN", "MLFLOW_TRACKING_URI"]) vi.stubEnv(name, undefined);
  vi.stubEnv("ANNEAL_DATA", folder);
});
afterEach(() => {
  vi.unstubAllEnvs();
  rmSync(folder, { recursive: true });
});

test("the tracker comes from the environment, otherwise from the data folder's studio", async () => {
  expect(dataFolder()).toBe(folder);
  expect(await findTracker()).toBeUndefined();
  writeFileSync(join(folder, "studio.json"), JSON.stringify({ url: "http://127.0.0.1:1/", token: "secret" }));
  expect(await findTracker()).toEqual({ uri: "http://127.0.0.1:1", token: "secret" });
  vi.stubEnv("MLFLOW_TRACKING_URI", "http://mlflow.test");
  expect(await findTracker()).toMatchObject({ uri: "http://mlflow.test" });
  vi.stubEnv("ANNEAL_TRACKER_URI", "http://own.test//");
  vi.stubEnv("ANNEAL_TOKEN", "mine");
  expect(await findTracker()).toEqual({ uri: "http://own.test", token: "mine" });
});

test("an unreachable tracker is a temporary error", async () => {
  const client = new TrackerClient({ uri: "http://127.0.0.1:1" });
  const error = await client.call("GET", "experiments/search").catch((reason: unknown) => reason);
  expect(error).toBeInstanceOf(TrackerError);
  expect(error).toMatchObject({ code: "UNREACHABLE", temporary: true, status: undefined });
});
