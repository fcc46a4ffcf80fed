// The client against a real tracker. Its types must match the API document.
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { TrackerClient, TrackerError } from "../src/track/index.ts";
import { typesText } from "./api-types.ts";
import { root } from "./reference.ts";
import { cleanUp, Server, scratch } from "./support.ts";

let tracker: Server;
let client: TrackerClient;
let data: string;
beforeAll(async () => {
  data = scratch("client");
  tracker = await Server.start("tracker", data);
  client = new TrackerClient({ uri: tracker.url, token: tracker.token });
});
afterAll(cleanUp);

async function all<T>(items: AsyncIterable<T>): Promise<T[]> {
  const list: T[] = [];
  for await (const item of items) list.push(item);
  return list;
}

test("its types match the declared endpoints (node scripts/api-types.js generates them)", async () => {
  expect(readFileSync(join(root, "src/track/api/types.ts"), "utf8")).toBe(await typesText());
});

test("creates, finds and updates experiments", async () => {
  const id = await client.experiments.create("first", { team: "a" });
  await client.experiments.setTag(id, "team", "b");
  await client.experiments.rename(id, "second");
  expect(await client.experiments.getByName("second")).toMatchObject({
    experiment_id: id,
    tags: [{ key: "team", value: "b" }],
  });
  await client.experiments.delete(id);
  expect((await all(client.experiments.search({ view: "DELETED_ONLY" }))).map(({ name }) => name)).toEqual(["second"]);
  await client.experiments.restore(id);
  expect((await client.experiments.get(id)).lifecycle_stage).toBe("active");
  const refused = client.experiments.create("second").catch((error: unknown) => error);
  expect(await refused).toBeInstanceOf(TrackerError);
  expect(await refused).toMatchObject({ code: "RESOURCE_ALREADY_EXISTS", temporary: false, status: 400 });
});

test("creates runs, logs to them, and reads everything with paging", async () => {
  const experiment = await client.experiments.create("runs");
  const { info } = await client.runs.create(experiment, { name: "by hand", tags: { kind: "odd" } });
  const points = Array.from({ length: 900 }, (_, step) => ({
    key: "loss",
    value: step === 1 ? Number.NaN : 1 / step,
    step,
  }));
  await client.runs.log(info.run_id, { metrics: points, params: { lr: "0.1" }, tags: { mood: "good" } });
  const dataset = { name: "d", digest: "1", source_type: "local", source: "{}" };
  await client.runs.logInput(info.run_id, dataset, "train");
  await client.runs.deleteTag(info.run_id, "mood");
  expect((await client.runs.update(info.run_id, { status: "FINISHED" })).end_time).toBeGreaterThan(info.start_time);

  const run = await client.runs.get(info.run_id);
  expect(run.data.params).toEqual([{ key: "lr", value: "0.1" }]);
  expect(run.inputs.dataset_inputs).toMatchObject([{ dataset }]);
  const history = await all(client.runs.history(info.run_id, "loss"));
  expect(history).toHaveLength(900);
  expect(history[0].value).toBe(Number.MAX_VALUE);
  expect([history[1].value, history[4].value]).toEqual(["NaN", 0.25]);

  for (let i = 0; i < 5; i++) await client.runs.create(experiment, { name: `run ${i}` });
  expect(await all(client.runs.search([experiment]))).toHaveLength(6);
  expect(await all(client.runs.search([experiment], { limit: 4 }))).toHaveLength(4);
  const [odd, ...others] = await all(client.runs.search([experiment], { filter: "tags.kind = 'odd'" }));
  expect([odd.info.run_id, others]).toEqual([info.run_id, []]);
  await client.runs.delete(info.run_id);
  expect(await all(client.runs.search([experiment]))).toHaveLength(5);
  await client.runs.restore(info.run_id);
});

test("stores and reads artifacts, and registers models", async () => {
  const experiment = await client.experiments.create("models");
  const { run_id } = (await client.runs.create(experiment)).info;
  const file = join(data, "file.bin");
  writeFileSync(file, "content");
  await client.uploadArtifact(experiment, run_id, "model/file.bin", file);
  expect(await client.runs.artifacts(run_id, "model")).toEqual([
    { path: "model/file.bin", is_dir: false, file_size: 7 },
  ]);
  expect(Buffer.from(await client.downloadArtifact(run_id, "model/file.bin")).toString()).toBe("content");

  const name = "a model & more";
  await client.models.create(name, { description: "d", tags: { a: "b" } });
  const version = await client.models.createVersion(name, `runs:/${run_id}/model`, { runId: run_id });
  await client.models.createVersion(name, `runs:/${run_id}/model`, { runId: run_id });
  await client.models.describeVersion(name, "1", "the first");
  await client.models.setVersionTag(name, "1", "checked", "yes");
  await client.models.setAlias(name, "champion", version.version);
  expect(await client.models.getByAlias(name, "champion")).toMatchObject({ version: "1", description: "the first" });
  await client.models.transition(name, "2", "Staging");
  expect((await client.models.getVersion(name, "2")).current_stage).toBe("Staging");
  const newest = { filter: `run_id = '${run_id}'`, orderBy: ["version_number DESC"] };
  expect((await all(client.models.searchVersions(newest))).map(({ version }) => version)).toEqual(["2", "1"]);
  await client.models.deleteAlias(name, "champion");
  await client.models.deleteVersion(name, "2");
  await client.models.setTag(name, "c", "d");
  expect((await client.models.rename(name, "renamed")).tags).toHaveLength(2);
  expect((await all(client.models.search({ filter: "name LIKE 'ren%'" }))).map((model) => model.name)).toEqual([
    "renamed",
  ]);
  await client.models.describe("renamed", "e");
  expect((await client.models.get("renamed")).description).toBe("e");
  await client.models.delete("renamed");
  expect(await all(client.models.search())).toEqual([]);

  const { model } = await client.call<{ model: { info: { model_id: string } } }>("POST", "logged-models", {
    experiment_id: experiment,
    name: "m",
    source_run_id: run_id,
  });
  const { model_id } = model.info;
  await client.loggedModels.setTags(model_id, { x: "y" });
  const models = await all(client.loggedModels.search([experiment], { filter: `source_run_id = '${run_id}'` }));
  expect(models.map(({ info }) => info.tags)).toEqual([[{ key: "x", value: "y" }]]);
  expect((await client.loggedModels.get(model_id)).info.name).toBe("m");
  await client.loggedModels.delete(model_id);
  expect(await all(client.loggedModels.search([experiment]))).toEqual([]);
});
