// References: to what does not exist yet, and to what the one who makes or follows them may not see.
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { AttackedServer, type User } from "./server.ts";

let server: AttackedServer;
let owner: User;
/** May create experiments and models, but sees nothing of the private ones. */
let eve: User;
beforeEach(async () => {
  server = await AttackedServer.start();
  ({ owner } = server);
  eve = await server.user("eve", "editor");
});
afterEach(() => server.close());

/** Creates an experiment that eve may not see. */
async function secretExperiment(): Promise<string> {
  const id = await owner.experiment("secret");
  eve = await server.grant(eve, "experiment", id, "none");
  return id;
}

/** Registers a secret model in an experiment and a registered model that eve may not see. */
async function secretModel(name: string): Promise<{ run: string; experiment: string; version: string }> {
  const experiment = await secretExperiment();
  const run = await owner.run(experiment, { files: { "model/weights": "SECRET" }, metrics: { loss: 0.1 } });
  await owner.must("POST", "registered-models/create", { name });
  eve = await server.grant(eve, "model", name, "none");
  const made = await owner.version(name, { source: `runs:/${run}/model`, run_id: run });
  await owner.must("POST", "registered-models/alias", { name, alias: "best", version: "1" });
  return { run, experiment, version: made.text("model_version.version") };
}

/** Everything that eve can be given of her version. */
async function leaks(name: string, version: string): Promise<string> {
  const said: string[] = [];
  for (const path of ["weights", "model/weights", "S/weights"]) {
    said.push((await eve.versionFile(name, version, path)).text);
  }
  for (const path of [
    `model-versions/get-download-uri?name=${name}&version=${version}`,
    `/api/anneal/model-versions/${name}/${version}/card`,
    `/api/anneal/model-versions/${name}/${version}/gates`,
  ]) {
    said.push((await eve.download(path.startsWith("/") ? path : `/api/2.0/mlflow/${path}`)).text);
  }
  return said.join("\n");
}

describe("a reference to what does not exist yet", () => {
  test.each(["models:/S/1", "models:/S/1/model", "models:/S@best", "models:/S@champion", "models:/S/Production"])(
    "%s gives nothing of what is made later",
    async (source) => {
      expect((await eve.version("mine", { source })).status).toBe(200);
      const { run } = await secretModel("S");
      const text = await leaks("mine", "1");
      expect(text).not.toContain("SECRET");
      expect(text).not.toContain(run);
      const file = await eve.versionFile("mine", "1", "weights");
      expect(file.status).toBe(404);
      // Nor by a reference to the reference.
      expect((await eve.version("mine", { source: "models:/mine/1" })).status).toBe(200);
      expect(await leaks("mine", "2")).not.toContain("SECRET");
      // Made again, it is refused.
      expect((await eve.version("mine", { source: source.replace(/@champion|\/Production/, "@best") })).status).toBe(
        403,
      );
    },
  );

  test("a run id that somebody else uses later gives neither files nor facts", async () => {
    const id = "0123456789abcdef0123456789abcdef";
    for (const fields of [
      { source: `runs:/${id}/model`, run_id: id },
      { source: `mlflow-artifacts:/1/${id}/artifacts/model`, run_id: id },
    ]) {
      expect((await eve.version("mine", fields)).status).toBe(200);
    }
    const experiment_id = await secretExperiment();
    expect(experiment_id).toBe("1");
    await owner.must("POST", "runs/create", { experiment_id, tags: [{ key: "anneal.client_id", value: id }] });
    await owner.must("POST", "runs/log-parameter", { run_id: id, key: "recipe", value: "SECRET" });
    await owner.upload(`${experiment_id}/${id}/artifacts/model/weights`, "SECRET");
    for (const version of ["1", "2"]) {
      expect(await leaks("mine", version)).not.toContain("SECRET");
      // Not even for those who may see the run: the version is of another tracking server.
      expect((await owner.versionFile("mine", version, "weights")).status).toBe(404);
      expect((await owner.download(`/api/anneal/model-versions/mine/${version}/card`)).text).not.toContain("SECRET");
    }
  });

  test("a run that its maker creates later is no evidence for a gate", async () => {
    const id = "0123456789abcdef0123456789abcdef";
    await owner.must("POST", "registered-models/create", { name: "gated" });
    await owner.must("PUT", "/api/anneal/registered-models/gated/gates", {
      gates: [{ metric: "loss", op: "<", bound: 1 }],
    });
    await eve.version("gated", { source: `runs:/${id}/model`, run_id: id });
    const tags = [{ key: "anneal.client_id", value: id }];
    await eve.must("POST", "runs/create", { experiment_id: "0", tags });
    await eve.must("POST", "runs/log-metric", { run_id: id, key: "loss", value: 0, timestamp: 1 });
    await eve.upload(`0/${id}/artifacts/model/weights`, "BAD");
    const refused = await eve.post("model-versions/transition-stage", {
      name: "gated",
      version: "1",
      stage: "Production",
    });
    expect([refused.status, refused.text("message")]).toEqual([
      409,
      expect.stringContaining("not those of a run of this tracker"),
    ]);
  });

  test("a run's id is not used a second time", async () => {
    const experiment_id = await secretExperiment();
    const run = await owner.run(experiment_id);
    const tags = [{ key: "anneal.client_id", value: run }];
    const refused = await eve.post("runs/create", { experiment_id: "0", tags });
    expect([refused.status, refused.at("error_code")]).toEqual([400, "RESOURCE_ALREADY_EXISTS"]);
  });

  test("the folder of an experiment that does not exist yet is nobody's", async () => {
    for (const artifact_location of ["mlflow-artifacts:/57", "mlflow-artifacts:/57/x", "mlflow-artifacts:/007"]) {
      const refused = await eve.post("experiments/create", { name: artifact_location, artifact_location });
      expect([artifact_location, refused.status]).toEqual([artifact_location, 404]);
    }
    expect((await eve.upload("57/run/artifacts/planted", "x")).status).toBe(404);
    expect((await eve.upload("00/planted", "x")).status).toBe(404);
    const begun = await eve.post("/api/anneal/artifacts/uploads", { path: "57/x", size: 1, sha256: "0".repeat(64) });
    expect(begun.status).toBe(404);
    const parts = await eve.post("/api/2.0/mlflow-artifacts/mpu/create/57", { path: "x", num_parts: 1 });
    expect(parts.status).toBe(404);
  });
});

describe("a reference to what its maker may not see", () => {
  test("is refused, in every form", async () => {
    const { run, experiment } = await secretModel("S");
    const made = await owner.must("POST", "logged-models", {
      experiment_id: experiment,
      source_run_id: run,
      name: "logged",
    });
    const model_id = made.text("model.info.model_id");
    await owner.must("PATCH", `logged-models/${model_id}`, { model_id, status: "LOGGED_MODEL_READY" });
    const own = await eve.run("0", { files: { "model/weights": "mine" } });
    for (const fields of [
      { source: `runs:/${run}/model` },
      { source: `models:/${model_id}` },
      { source: "models:/S/1" },
      { source: "models:/S@best" },
      { source: `mlflow-artifacts:/${experiment}/${run}/artifacts/model` },
      { source: `mlflow-artifacts:///${experiment}/${run}/artifacts/model` },
      { source: `mlflow-artifacts:/${experiment}/elsewhere` },
      { source: `runs:/${own}/model`, run_id: run },
      { source: `runs:/${own}/model`, run_id: own, model_id },
    ]) {
      const refused = await eve.version("mine", fields);
      expect([fields, [400, 403].includes(refused.status)]).toEqual([fields, true]);
    }
    expect(
      (await owner.get("model-versions/search", { filter: "name = 'mine'" })).at("model_versions"),
    ).toBeUndefined();
    for (const [path, body] of [
      ["logged-models", { experiment_id: "0", name: "x", source_run_id: run }],
      ["logged-models", { experiment_id: experiment, name: "x" }],
      ["traces/link-to-run", { run_id: run, trace_ids: ["tr-x"] }],
    ] as const) {
      expect([path, (await eve.post(path, body)).status]).toEqual([path, 403]);
    }
  });

  test("a trace is not shown with a run of others", async () => {
    const { run } = await secretModel("S");
    const trace = (run_id: string) => ({
      trace: {
        trace_info: {
          trace_id: "tr-x",
          trace_location: { mlflow_experiment: { experiment_id: "0" } },
          trace_metadata: { "mlflow.sourceRun": run_id },
        },
      },
    });
    expect((await eve.post("/api/3.0/mlflow/traces", trace(run))).status).toBe(403);
    const attributes = [{ key: "mlflow.sourceRun", value: { stringValue: run } }];
    const span = {
      traceId: "0af7651916cd43dd8448eb211c80319c",
      spanId: "00f067aa0ba902b0",
      name: "x",
      startTimeUnixNano: "1",
      endTimeUnixNano: "2",
      attributes,
    };
    const sent = await eve.post("/v1/traces", { resourceSpans: [{ scopeSpans: [{ spans: [span] }] }] });
    expect(sent.status).toBe(403);
    // A run of another tracking server is only a name.
    expect((await eve.post("/api/3.0/mlflow/traces", trace("of-another-server"))).status).toBe(200);
    // And a trace does not move to another experiment.
    const other = await eve.experiment("other");
    const moved = trace("x");
    moved.trace.trace_info.trace_location.mlflow_experiment.experiment_id = other;
    expect((await eve.post("/api/3.0/mlflow/traces", moved)).status).toBe(400);
    expect((await eve.get("/api/3.0/mlflow/traces/tr-x")).at("trace.trace_info.tags")).toMatchObject({
      "mlflow.artifactLocation": "mlflow-artifacts:/0/traces/tr-x/artifacts",
    });
  });
});

describe("rights that change later", () => {
  test("an open stream of events follows them", async () => {
    const experiment_id = await owner.experiment("shared");
    const listen = async (user: User) => {
      const heard = { text: "", ended: false };
      const { body } = await user.fetch("/api/anneal/events");
      const read = async () => {
        const decoder = new TextDecoder();
        for await (const chunk of body ?? []) heard.text += decoder.decode(chunk);
        heard.ended = true;
      };
      void read().catch(() => {
        heard.ended = true;
      });
      await expect.poll(() => heard.text).toContain("event: open");
      return heard;
    };
    const vera = await server.user("vera", "viewer");
    const [hers, eves] = [await listen(vera), await listen(eve)];
    const happens = () => owner.must("POST", "runs/create", { experiment_id });
    await happens();
    await expect.poll(() => hers.text).toContain("event: run");
    await expect.poll(() => eves.text).toContain("event: run");
    await server.grant(eve, "experiment", experiment_id, "none");
    await owner.must("PATCH", "/api/anneal/users/vera", { disabled: true });
    await expect.poll(() => hers.ended).toBe(true);
    let count = 0;
    const eveHears = async (): Promise<boolean> => {
      const before = eves.text.length;
      await happens();
      // An experiment that she sees tells that all before it has arrived.
      const name = `marker ${++count}`;
      const { experiment_id: marker } = (await owner.must("POST", "experiments/create", { name })).body;
      await expect.poll(() => eves.text.slice(before)).toContain(`"experiment_id":"${marker}"`);
      return eves.text.slice(before).includes("event: run");
    };
    await expect.poll(eveHears).toBe(false);
  });

  test("a version goes on serving what its maker could see then, and nothing more", async () => {
    const experiment = await owner.experiment("shared");
    const run = await owner.run(experiment, { files: { "model/weights": "registered" } });
    expect((await eve.version("mine", { source: `runs:/${run}/model`, run_id: run })).status).toBe(200);
    eve = await server.grant(eve, "experiment", experiment, "none");
    expect(await eve.versionFile("mine", "1", "weights")).toEqual({ status: 200, text: "registered" });
    expect((await eve.file(`${experiment}/${run}/artifacts/model/weights`)).status).toBe(403);
    expect((await eve.download("/api/anneal/model-versions/mine/1/card")).status).toBe(403);
    // Following it once more needs the right once more.
    expect((await eve.version("mine", { source: "models:/mine/1" })).status).toBe(403);
    expect((await eve.version("mine", { source: `runs:/${run}/model` })).status).toBe(403);
  });

  test("a reader asks for the right to the model each time", async () => {
    const run = await owner.run("0", { files: { "model/weights": "registered" } });
    await owner.version("m", { source: `runs:/${run}/model`, run_id: run });
    expect((await eve.versionFile("m", "1", "weights")).status).toBe(200);
    eve = await server.grant(eve, "model", "m", "none");
    expect((await eve.versionFile("m", "1", "weights")).status).toBe(403);
    expect((await eve.get("model-versions/get-download-uri", { name: "m", version: "1" })).status).toBe(403);
  });

  test("a card names an earlier run that the reader may not see by its id only", async () => {
    const { run: secret } = await secretModel("S");
    await owner.must("POST", "runs/set-tag", { run_id: secret, key: "mlflow.runName", value: "SECRET name" });
    const run = await eve.run("0", { files: { "model/weights": "x" } });
    await eve.must("POST", "runs/set-tag", { run_id: run, key: "anneal.base_run_id", value: secret });
    await eve.version("mine", { source: `runs:/${run}/model`, run_id: run });
    const card = await eve.get("/api/anneal/model-versions/mine/1/card");
    expect(card.status).toBe(200);
    expect(card.at("facts.lineage")).toEqual([{ id: secret, name: null }]);
    expect(JSON.stringify(card.body)).not.toContain("SECRET");
  });
});
