// A registered version cannot change, and what is in use cannot be deleted.
import { createHash } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { request } from "node:http";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { collectGarbage, openTracker } from "../../tracker/index.ts";
import { AttackedServer, sha256, type User } from "./server.ts";

let server: AttackedServer;
let owner: User;
/** May edit everything. */
let eve: User;
let run: string;
let folder: string;
beforeEach(async () => {
  server = await AttackedServer.start();
  ({ owner } = server);
  eve = await server.user("eve", "editor");
  run = await owner.run("0", {
    metrics: { loss: 1 },
    files: { "model/weights": "registered", "model/deep/config": "{}", "notes.txt": "notes" },
  });
  folder = `0/${run}/artifacts`;
  await owner.version("m", { source: `runs:/${run}/model`, run_id: run });
});
afterEach(() => server.close());

const stage = (name: string, version: string, to: string, who = owner) =>
  who.post("model-versions/transition-stage", { name, version, stage: to });
const alias = (name: string, alias: string, version: string, who = owner) =>
  who.post("registered-models/alias", { name, alias, version });

describe("the files of a registered version", () => {
  const held = async (refused: { status: number; at(path: string): unknown }) =>
    expect([refused.status, refused.at("error_code"), refused.at("message")]).toEqual([
      409,
      "RESOURCE_CONFLICT",
      expect.stringContaining("version 1 of the registered model m"),
    ]);
  const unchanged = async () => {
    expect(await eve.versionFile("m", "1", "weights")).toEqual({ status: 200, text: "registered" });
    expect(await eve.file(`${folder}/model/weights`)).toEqual({ status: 200, text: "registered" });
  };

  test("are not overwritten, added to or deleted, by any door", async () => {
    for (const path of ["model/weights", "model/new", "model/deep/new", "model"]) {
      await held(await eve.upload(`${folder}/${path}`, "evil"));
      const form = await eve.fetch(
        `/ajax-api/2.0/mlflow/upload-artifact?${new URLSearchParams({ run_uuid: run, path })}`,
        { method: "POST", body: "evil" },
      );
      expect([path, form.status]).toEqual([path, 409]);
      await held(
        await eve.post(`/api/2.0/mlflow-artifacts/mpu/create/${folder}/${path}/..`.replace(/\/[^/]*\/\.\.$/, ""), {
          path: path.split("/").at(-1),
          num_parts: 1,
        }),
      );
      await held(
        await eve.post("/api/anneal/artifacts/uploads", { path: `${folder}/${path}`, size: 4, sha256: sha256("evil") }),
      );
      await eve.upload("0/evil", "evil");
      await held(
        await eve.post("/api/anneal/artifacts/copies", { path: `${folder}/${path}`, size: 4, sha256: sha256("evil") }),
      );
    }
    for (const path of ["model/weights", "model/deep", "model", ""]) {
      const at = `/api/2.0/mlflow-artifacts/artifacts/${folder}/${path}`.replace(/\/$/, "");
      await held(await eve.send("DELETE", at));
    }
    for (const path of [`0/${run}`, "0"]) {
      await held(await owner.send("DELETE", `/api/2.0/mlflow-artifacts/artifacts/${path}`));
    }
    await unchanged();
    // Other files of the run are free.
    expect((await eve.upload(`${folder}/notes.txt`, "more notes")).status).toBe(200);
    expect((await eve.upload(`${folder}/model-2/weights`, "other")).status).toBe(200);
  });

  test("in Production, too, and not by the owner of the server", async () => {
    await stage("m", "1", "Production");
    await held(await owner.upload(`${folder}/model/weights`, "evil"));
    await unchanged();
  });

  test("may be sent again as they are, as a client does that got no answer", async () => {
    expect((await eve.upload(`${folder}/model/weights`, "registered")).status).toBe(200);
    const same = { path: `${folder}/model/weights`, size: 10, sha256: sha256("registered") };
    expect((await eve.post("/api/anneal/artifacts/uploads", same)).body).toEqual({ stored: true });
    expect((await eve.post("/api/anneal/artifacts/copies", same)).body).toEqual({ copied: true });
    await unchanged();
  });

  test("are not replaced by an upload that began before they were registered", async () => {
    const late = await eve.run("0", { files: { "model/weights": "first" } });
    const path = `0/${late}/artifacts/model/weights`;
    // One upload in a single request that takes long...
    const { hostname, port } = new URL(server.url);
    const slow = request({
      hostname,
      port,
      method: "PUT",
      path: `/api/2.0/mlflow-artifacts/artifacts/${path}`,
      headers: { authorization: `Bearer ${eve.token}`, "content-length": 8 },
    });
    const answered = new Promise<number>((resolve, reject) => {
      slow.on("response", (response) => resolve(response.resume().statusCode ?? 0)).on("error", reject);
    });
    slow.write("late");
    // ... and two in parts.
    const content = "evil";
    const digest = createHash("sha256").update(content).digest("base64");
    const begun = await eve.must("POST", "/api/anneal/artifacts/uploads", { path, size: 4, sha256: sha256(content) });
    const mlflow = await eve.must("POST", `/api/2.0/mlflow-artifacts/mpu/create/0/${late}/artifacts/model`, {
      path: "weights",
      num_parts: 1,
    });
    const send = async (address: string): Promise<string> => {
      const url = new URL(address, server.url);
      const headers = { "content-digest": `sha-256=:${digest}:` };
      const sent = await fetch(url, { method: "PUT", body: content, headers });
      return String(sent.headers.get("etag")).replaceAll('"', "");
    };
    const [first, second] = [
      await send(begun.text("parts.0.url")),
      await send(new URL(mlflow.text("credentials.0.url")).pathname + new URL(mlflow.text("credentials.0.url")).search),
    ];

    expect((await owner.version("late", { source: `runs:/${late}/model`, run_id: late })).status).toBe(200);
    slow.end("late");
    expect(await answered).toBe(409);
    const upload_id = begun.text("upload_id");
    const complete = await eve.post(`/api/anneal/artifacts/uploads/${upload_id}/complete`, {
      size: 4,
      sha256: sha256(content),
      parts: [{ part_number: 1, etag: first }],
    });
    expect(complete.status).toBe(409);
    const other = await eve.post(`/api/2.0/mlflow-artifacts/mpu/complete/0/${late}/artifacts/model`, {
      path: "weights",
      upload_id: mlflow.text("upload_id"),
      parts: [{ part_number: 1, etag: second }],
    });
    expect(other.status).toBe(409);
    expect(await eve.versionFile("late", "1", "weights")).toEqual({ status: 200, text: "first" });
  });

  test("stay where they are when the version's name changes, and are free when it is deleted", async () => {
    await owner.must("POST", "registered-models/rename", { name: "m", new_name: "n" });
    const refused = await eve.upload(`${folder}/model/weights`, "evil");
    expect([refused.status, refused.text("message")]).toEqual([409, expect.stringContaining("registered model n")]);
    await owner.must("DELETE", "model-versions/delete", { name: "n", version: "1" });
    expect((await eve.upload(`${folder}/model/weights`, "new")).status).toBe(200);
  });

  test("are held by each version that has them", async () => {
    await owner.version("other", { source: "models:/m/1" });
    await owner.version("part", { source: "models:/m/1/deep" });
    await owner.must("DELETE", "model-versions/delete", { name: "m", version: "1" });
    expect((await eve.upload(`${folder}/model/weights`, "evil")).status).toBe(409);
    expect(await eve.versionFile("other", "1", "weights")).toEqual({ status: 200, text: "registered" });
    expect(await eve.versionFile("part", "1", "config")).toEqual({ status: 200, text: "{}" });
    expect((await eve.versionFile("part", "1", "weights")).status).toBe(404);
    await owner.must("DELETE", "model-versions/delete", { name: "other", version: "1" });
    expect((await eve.upload(`${folder}/model/weights`, "new")).status).toBe(200);
    expect((await eve.upload(`${folder}/model/deep/config`, "evil")).status).toBe(409);
  });

  test("a version without files gets none", async () => {
    const empty = await owner.run("0");
    await owner.version("empty", { source: `runs:/${empty}/model`, run_id: empty });
    expect((await eve.upload(`0/${empty}/artifacts/model/weights`, "evil")).status).toBe(409);
    expect((await eve.versionFile("empty", "1", "weights")).status).toBe(404);
  });

  test("that others work on are only registered by who may write to them, too", async () => {
    const running = (await owner.must("POST", "runs/create", { experiment_id: "0" })).text("run.info.run_id");
    await owner.upload(`0/${running}/artifacts/model/weights`, "so far");
    const viewer = await server.user("vera", "viewer");
    await owner.must("POST", "registered-models/create", { name: "hers" });
    const vera = await server.grant(viewer, "model", "hers", "editor");
    for (const source of [`runs:/${running}/model`, `runs:/${running}`, `mlflow-artifacts:/0/${running}/artifacts`]) {
      expect([source, (await vera.version("hers", { source })).status]).toEqual([source, 403]);
    }
    expect((await owner.upload(`0/${running}/artifacts/model/weights`, "more")).status).toBe(200);
    // Nor the whole folder of a run that has, which may get more files.
    expect((await vera.version("hers", { source: `runs:/${run}` })).status).toBe(403);
    // Nor files that belong to no run.
    await owner.upload("0/free/weights", "x");
    expect((await vera.version("hers", { source: "mlflow-artifacts:/0/free" })).status).toBe(403);
    expect((await owner.upload("0/free/weights", "y")).status).toBe(200);
    expect((await vera.version("hers", { source: `runs:/${run}/model`, run_id: run })).status).toBe(200);
  });
});

describe("files that were changed on the disk are not served", () => {
  const big = "registered ".repeat(100_000);
  let path: string;
  beforeEach(async () => {
    const other = await owner.run("0", { files: { "model/weights": big } });
    path = `0/${other}/artifacts/model/weights`;
    await owner.version("big", { source: `runs:/${other}/model`, run_id: other });
  });
  const ways = (): [string, (headers?: Record<string, string>) => Promise<{ status: number; text: string }>][] => [
    [
      "of the version",
      (headers) => eve.download("/model-versions/get-artifact?name=big&version=1&path=weights", headers),
    ],
    ["by path", (headers) => eve.download(`/api/2.0/mlflow-artifacts/artifacts/${path}`, headers)],
    ["of the run", (headers) => eve.download(`/get-artifact?run_id=${path.split("/")[1]}&path=model/weights`, headers)],
  ];

  test("whole files break off before their end, parts are refused", async () => {
    for (const [, get] of ways()) {
      expect((await get()).text).toBe(big);
      expect(await get({ range: "bytes=0-9" })).toEqual({ status: 206, text: "registered" });
    }
    const file = server.onDisk(path);
    const evil = Buffer.from(readFileSync(file));
    evil[evil.length - 2] = 33;
    writeFileSync(file, evil);
    for (const [what, get] of ways()) {
      const whole = await get();
      expect([what, whole.text.length < big.length]).toEqual([what, true]);
      const part = await get({ range: "bytes=0-9" });
      expect([what, part.status, part.text]).toEqual([
        what,
        409,
        expect.stringContaining("not the one that was registered"),
      ]);
    }
    writeFileSync(file, "short");
    for (const [what, get] of ways()) expect([what, (await get()).status]).toEqual([what, 409]);
    writeFileSync(file, big);
    for (const [, get] of ways()) {
      expect((await get()).text).toBe(big);
      expect((await get({ range: "bytes=0-9" })).status).toBe(206);
    }
  });

  test("a file that was added is not of the version", async () => {
    writeFileSync(`${server.onDisk(path)}.py`, "evil");
    expect((await eve.versionFile("big", "1", "weights.py")).status).toBe(404);
  });
});

describe("what is in Production or has a guarded alias", () => {
  const guards: [string, () => Promise<unknown>][] = [
    ["is in Production", () => stage("m", "1", "Production")],
    ["has the alias champion", () => alias("m", "champion", "1")],
    ["has the alias Production", () => alias("m", "Production", "1")],
  ];

  test.each(guards)("%s: nothing that it needs is deleted", async (_what, guard) => {
    await guard();
    for (const [method, path, body] of [
      ["DELETE", "model-versions/delete", { name: "m", version: "1" }],
      ["DELETE", "registered-models/delete", { name: "m" }],
      ["POST", "runs/delete", { run_id: run }],
      ["POST", "experiments/delete", { experiment_id: "0" }],
    ] as const) {
      const refused = await owner.send(method, path, body);
      expect([path, refused.status, refused.at("error_code"), refused.at("message")]).toEqual([
        path,
        409,
        "RESOURCE_CONFLICT",
        expect.stringContaining("version 1 of m"),
      ]);
    }
    expect((await owner.get("runs/get", { run_id: run })).at("run.info.lifecycle_stage")).toBe("active");
    await stage("m", "1", "Archived");
    for (const name of ["champion", "Production"]) {
      await owner.send("DELETE", "registered-models/alias", { name: "m", alias: name });
    }
    for (const [method, path, body] of [
      ["DELETE", "model-versions/delete", { name: "m", version: "1" }],
      ["POST", "runs/delete", { run_id: run }],
      ["DELETE", "registered-models/delete", { name: "m" }],
    ] as const) {
      expect([path, (await owner.send(method, path, body)).status]).toEqual([path, 200]);
    }
  });

  test("nor its logged model, or the experiment that its files are in", async () => {
    const experiment_id = await owner.experiment("e");
    const made = await owner.must("POST", "logged-models", { experiment_id, name: "x" });
    const model_id = made.text("model.info.model_id");
    await owner.upload(`${experiment_id}/models/${model_id}/artifacts/weights`, "x");
    await owner.must("PATCH", `logged-models/${model_id}`, { model_id, status: "LOGGED_MODEL_READY" });
    await owner.version("l", { source: `models:/${model_id}` });
    await owner.upload(`${experiment_id}/free/weights`, "x");
    await owner.version("f", { source: `mlflow-artifacts:/${experiment_id}/free` });
    await stage("l", "1", "Production");
    expect((await owner.send("DELETE", `logged-models/${model_id}`)).status).toBe(409);
    expect((await owner.post("experiments/delete", { experiment_id })).status).toBe(409);
    await stage("l", "1", "None");
    await stage("f", "1", "Production");
    expect((await owner.post("experiments/delete", { experiment_id })).status).toBe(409);
    expect((await owner.send("DELETE", `logged-models/${model_id}`)).status).toBe(200);
  });

  test("garbage collection keeps the files of every registered version", async () => {
    const experiment_id = await owner.experiment("e");
    const [kept, gone] = [
      await owner.run(experiment_id, { files: { "model/weights": "kept" } }),
      await owner.run(experiment_id, { files: { "model/weights": "gone" } }),
    ];
    await owner.version("k", { source: `mlflow-artifacts:/${experiment_id}/${kept}/artifacts/model` });
    const made = await owner.must("POST", "logged-models", { experiment_id, name: "x" });
    const model_id = made.text("model.info.model_id");
    await owner.upload(`${experiment_id}/models/${model_id}/artifacts/weights`, "kept");
    await owner.must("PATCH", `logged-models/${model_id}`, { model_id, status: "LOGGED_MODEL_READY" });
    await owner.version("k", { source: `models:/${model_id}` });
    const free = await owner.experiment("free");
    await owner.upload(`${free}/weights/x`, "kept");
    await owner.version("k", { source: `mlflow-artifacts:/${free}/weights` });
    await owner.must("DELETE", `logged-models/${model_id}`);
    for (const id of [experiment_id, free]) await owner.must("POST", "experiments/delete", { experiment_id: id });
    await server.restart({}, async () => {
      const tracker = await openTracker(server.options);
      const report = await collectGarbage(tracker, { before: Date.now() + 1000 });
      await tracker.close();
      expect(report).toMatchObject({ runs: [{ id: gone }], models: [], experiments: [] });
      expect(report.kept.map(({ id }) => id).sort()).toEqual([kept, model_id].sort());
    });
    expect(await eve.versionFile("k", "1", "weights")).toEqual({ status: 200, text: "kept" });
    expect(await eve.versionFile("k", "2", "weights")).toEqual({ status: 200, text: "kept" });
    expect(await eve.versionFile("k", "3", "x")).toEqual({ status: 200, text: "kept" });
  });
});

describe("aliases by which a model is used", () => {
  beforeEach(async () => {
    await owner.must("PUT", "/api/anneal/registered-models/m/gates", {
      gates: [
        { metric: "loss", op: "<", bound: 0.5 },
        { metric: "loss", op: "<", versus: "production" },
      ],
    });
  });
  const better = async (loss: number): Promise<string> => {
    const id = await eve.run("0", { metrics: { loss }, files: { "model/weights": String(loss) } });
    return (await eve.version("m", { source: `runs:/${id}/model`, run_id: id })).text("model_version.version");
  };

  test.each(["champion", "production", "Champion", "PRODUCTION"])("%s passes the gates", async (guarded) => {
    const refused = await alias("m", guarded, "1", eve);
    expect([refused.status, refused.at("error_code")]).toEqual([409, "RESOURCE_CONFLICT"]);
    expect(refused.text("message")).toContain("loss is 1, which is not < 0.5");
    expect(refused.at("gates.0")).toMatchObject({ metric: "loss", passed: false });
    expect((await owner.get("registered-models/alias", { name: "m", alias: guarded })).status).toBe(400);
    const version = await better(0.1);
    expect((await alias("m", guarded, version, eve)).status).toBe(200);
    // The next one has to beat the one that is in use.
    const worse = await better(0.2);
    const beaten = await alias("m", guarded, worse, eve);
    const why = `not < 0.1 of version ${version}, which is used as @${guarded}`;
    expect([beaten.status, beaten.text("message")]).toEqual([409, expect.stringContaining(why)]);
    expect((await stage("m", worse, "Production", eve)).status).toBe(409);
    expect((await alias("m", guarded, await better(0.01), eve)).status).toBe(200);
  });

  test("other aliases are free", async () => {
    for (const free of ["challenger", "best", "champion-2"]) {
      expect((await alias("m", free, "1", eve)).status).toBe(200);
    }
  });

  test("two at once: only the better one is left", async () => {
    const versions = [await better(0.3), await better(0.2), await better(0.1)];
    await Promise.all(versions.map((version) => alias("m", "champion", version, eve)));
    const { body } = await owner.get("registered-models/alias", { name: "m", alias: "champion" });
    expect(body).toMatchObject({ model_version: { version: versions[2] } });
  });
});
