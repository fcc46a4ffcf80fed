// A version that is judged by the metrics of one run, and serves the files of another.
import { writeFileSync } from "node:fs";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { AttackedServer, type User } from "./server.ts";

let server: AttackedServer;
let owner: User;
let eve: User;
let good: string;
let bad: string;
beforeAll(async () => {
  server = await AttackedServer.start({ allowedLocations: ["s3://team-bucket"] });
  ({ owner } = server);
  eve = await server.user("eve", "editor");
  good = await eve.run("0", { metrics: { loss: 0.1 }, files: { "model/weights": "good" } });
  bad = await eve.run("0", { metrics: { loss: 9 }, files: { "model/weights": "bad" } });
});
afterAll(() => server.close());

let name: string;
let count = 0;
beforeEach(async () => {
  name = `model ${++count}`;
  await owner.must("POST", "registered-models/create", { name });
  await owner.must("PUT", `/api/anneal/registered-models/${encodeURIComponent(name)}/gates`, {
    gates: [{ metric: "loss", op: "<", bound: 1 }],
  });
});

const promote = (version = "1") => eve.post("model-versions/transition-stage", { name, version, stage: "Production" });

/** Creates a logged model with a file. */
async function logged(source_run_id: string, status = "LOGGED_MODEL_READY"): Promise<string> {
  const made = await eve.must("POST", "logged-models", { experiment_id: "0", source_run_id, name: "model" });
  const model_id = made.text("model.info.model_id");
  await eve.upload(`0/models/${model_id}/artifacts/weights`, `of ${source_run_id}`);
  await eve.must("PATCH", `logged-models/${model_id}`, { model_id, status });
  return model_id;
}

describe("a source and a run_id that disagree are refused", () => {
  test.each([
    ["runs:/", (run: string) => `runs:/${run}/model`],
    ["a path", (run: string) => `mlflow-artifacts:/0/${run}/artifacts/model`],
    ["a path in another spelling", (run: string) => `mlflow-artifacts:///0/${run}/artifacts/model/`],
  ])("by %s", async (_what, sourceOf) => {
    const refused = await eve.version(name, { source: sourceOf(bad), run_id: good });
    expect([refused.status, refused.at("error_code")]).toEqual([400, "INVALID_PARAMETER_VALUE"]);
    expect(refused.text("message")).toContain(`belongs to run ${bad}, not to run ${good}`);
    expect((await eve.version(name, { source: sourceOf(good), run_id: good })).status).toBe(200);
    expect((await promote()).status).toBe(200);
  });

  test("by a logged model", async () => {
    const [ofGood, ofBad] = [await logged(good), await logged(bad)];
    for (const fields of [
      { source: `models:/${ofBad}`, run_id: good },
      { source: `models:/${ofBad}`, run_id: good, model_id: ofBad },
      { source: `models:/${ofBad}`, model_id: ofGood },
      { source: `mlflow-artifacts:/0/models/${ofBad}/artifacts`, run_id: good },
      { source: `runs:/${bad}/model`, model_id: ofGood },
    ]) {
      expect([fields, (await eve.version(name, fields)).status]).toEqual([fields, 400]);
    }
    const right = { source: `models:/${ofGood}`, run_id: good, model_id: ofGood };
    expect((await eve.version(name, right)).body).toMatchObject({ model_version: right });
    expect((await promote()).status).toBe(200);
  });

  test("by another version", async () => {
    await eve.version("plain", { source: `runs:/${bad}/model`, run_id: bad });
    expect((await eve.version(name, { source: "models:/plain/1", run_id: good })).status).toBe(400);
    expect((await eve.version(name, { source: "models:/plain/1" })).body).toMatchObject({
      model_version: { run_id: bad },
    });
    expect((await promote()).status).toBe(409);
  });

  test("by files that are of no known run", async () => {
    await eve.upload("0/elsewhere/weights", "bad");
    await eve.upload("shared/elsewhere/weights", "bad");
    for (const source of [
      "mlflow-artifacts:/0/elsewhere",
      "mlflow-artifacts:/shared/elsewhere",
      "mlflow-artifacts:/nothing/there",
      "runs:/0123456789abcdef0123456789abcdef/model",
      "models:/unknown/1",
      "models:/m-0123456789abcdef0123456789abcdef",
      "s3://team-bucket/model",
    ]) {
      const refused = await eve.version(name, { source, run_id: good });
      expect([source, refused.status, refused.at("message")]).toEqual([
        source,
        400,
        expect.stringContaining(`does not belong to run ${good}`),
      ]);
      // Without the claim it is a version, but nothing speaks for it.
      const version = (await eve.version(name, { source })).text("model_version.version");
      expect([source, (await promote(version)).status]).toEqual([source, 409]);
    }
  });

  test("by the folder of several runs", async () => {
    for (const source of ["mlflow-artifacts:/0", "mlflow-artifacts:/0/models"]) {
      expect([source, (await eve.version(name, { source })).status]).toEqual([source, 400]);
    }
  });
});

test("a copy of a version has its run, and its files if the tracker has them", async () => {
  const outside = await eve.experiment("outside", { artifact_location: "s3://team-bucket/runs" });
  const far = await eve.run(outside, { metrics: { loss: 0.1 } });
  const source = `s3://team-bucket/runs/${far}/artifacts/model`;
  expect((await eve.version("original", { source, run_id: far })).status).toBe(200);
  expect((await eve.version("original", { source: `runs:/${good}/model`, run_id: good })).status).toBe(200);
  for (const [number, run_id] of [
    ["1", far],
    ["2", good],
  ]) {
    const copy = await eve.version(name, { source: `models:/original/${number}`, run_id });
    expect(copy.body).toMatchObject({ model_version: { run_id } });
  }
  // Files outside the tracker cannot be verified, so the metrics of their run are no evidence.
  expect((await promote("1")).status).toBe(409);
  expect((await promote("2")).status).toBe(200);
  expect(await eve.versionFile(name, "2", "weights")).toEqual({ status: 200, text: "good" });
});

test("a logged model is in the experiment of its source run, so whoever makes it may write to that run", async () => {
  const other = await eve.experiment("other");
  const refused = await eve.post("logged-models", { experiment_id: other, source_run_id: good, name: "x" });
  expect([refused.status, refused.text("message")]).toEqual([400, expect.stringContaining("is in experiment 0")]);
});

test("a logged model is registered when it is whole", async () => {
  const pending = await logged(good, "LOGGED_MODEL_PENDING");
  const refused = await eve.version(name, { source: `models:/${pending}` });
  expect([refused.status, refused.at("error_code")]).toEqual([400, "INVALID_STATE"]);
});

test("the run of a version without run_id is that of its files", async () => {
  await eve.version(name, { source: `runs:/${good}/model` });
  expect((await eve.get("model-versions/get", { name, version: "1" })).at("model_version.run_id")).toBe(good);
  const card = await eve.get(`/api/anneal/model-versions/${encodeURIComponent(name)}/1/card`);
  expect(card.at("facts.run.id")).toBe(good);
  expect((await promote()).status).toBe(200);
});

describe("files that changed on the disk since they were registered", () => {
  const change: [string, (folder: string) => void][] = [
    ["changed", (folder) => writeFileSync(`${folder}/weights`, "evil")],
    ["longer", (folder) => writeFileSync(`${folder}/weights`, "much longer")],
    ["added", (folder) => writeFileSync(`${folder}/code.py`, "evil")],
  ];
  test.each(change)("%s: the version is not promoted, nor given a guarded alias", async (_what, work) => {
    const run = await eve.run("0", {
      metrics: { loss: 0.1 },
      files: { "model/weights": "good", "model/config": "{}" },
    });
    await eve.version(name, { source: `runs:/${run}/model`, run_id: run });
    work(server.onDisk(`0/${run}/artifacts/model`));
    for (const refused of [
      await promote(),
      await eve.post("/api/anneal/model-versions/promote", { name, version: "1", stage: "Production" }),
      await eve.post("registered-models/alias", { name, alias: "champion", version: "1" }),
    ]) {
      expect([refused.status, refused.text("message")]).toEqual([
        409,
        expect.stringMatching(/no longer those that were registered|not the one that was registered/),
      ]);
    }
  });
});
