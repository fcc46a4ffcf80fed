// A location that a user records makes the clients of others read and write there, with their tokens. So only this server's
// own locations are recorded, and those that an administrator allowed.
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { cleanUp, Server, scratch } from "../support.ts";
import { AttackedServer, type User } from "./server.ts";

let server: AttackedServer;
let owner: User;
let eve: User;
beforeAll(async () => {
  server = await AttackedServer.start({ allowedLocations: ["s3://team-bucket/", "file:///mnt/models"] });
  ({ owner } = server);
  eve = await server.user("eve", "editor");
  await eve.must("POST", "registered-models/create", { name: "m" });
});
afterAll(() => server.close());

const FOREIGN = [
  "mlflow-artifacts://evil.test/steal",
  "mlflow-artifacts://evil.test:8080/steal",
  "mlflow-artifacts://user@evil.test/steal",
  "mlflow-artifacts://user:password@evil.test/steal",
  "mlflow-artifacts:////evil.test/steal",
  "mlflow-artifacts:\\\\evil.test\\steal",
  "mlflow-artifacts:/\\evil.test/steal",
  "mlflow-artifacts://\tevil.test/steal",
  "mlflow-artifacts:/\n/evil.test/steal",
  "MLFLOW-ARTIFACTS://evil.test/steal",
  "Mlflow-Artifacts:/0",
  " mlflow-artifacts://evil.test/steal",
  "mlflow-artifacts:evil.test",
  "mlflow-artifacts:/",
  "mlflow-artifacts:///x/../..",
  "mlflow-artifacts:/x/../0",
  "mlflow-artifacts:/x/%2e%2e/0",
  "mlflow-artifacts:/x/%252e%252e/0",
  "mlflow-artifacts:/x/..%2f0",
  "mlflow-artifacts:/%2fevil.test/steal",
  "mlflow-artifacts:/x\\..\\0",
  "http://evil.test/steal",
  "https://evil.test/steal",
  "HTTPS://evil.test/steal",
  "//evil.test/steal",
  "ftp://evil.test/steal",
  "/etc",
  "../..",
  "./x",
  "x",
  "file:///etc",
  "file:/etc",
  "FILE:///etc",
  "file://evil.test/etc",
  "C:\\Windows",
  "c:/Windows",
  "s3://other-bucket/x",
  "s3://team-bucket-of-eve/x",
  "s3://team-bucket/../other-bucket/x",
  "s3://team-bucket/%2e%2e/x",
  "s3://team-bucket@evil.test/x",
  "s3://user@team-bucket/x",
  "s3://team-bucket\\evil/x",
  "s3://team-bucket/x?endpoint=http://evil.test",
  "s3://team-bucket/x#y",
  "S3://team-bucket/x",
  "s3:/team-bucket/x",
  "file:///mnt/models/../../etc",
  "file:///mnt/models-of-eve",
  "dbfs:/x",
];

describe("locations of others are refused", () => {
  test.each([...FOREIGN, "runs:/0123456789abcdef0123456789abcdef/model", "models:/S/7", "models:/S@champion"])(
    "as an experiment's artifact_location: %j",
    async (artifact_location) => {
      const refused = await eve.post("experiments/create", { name: artifact_location, artifact_location });
      expect([artifact_location, refused.status, refused.at("error_code")]).toEqual([
        artifact_location,
        400,
        "INVALID_PARAMETER_VALUE",
      ]);
      expect((await owner.get("experiments/get-by-name", { experiment_name: artifact_location })).status).toBe(404);
    },
  );

  test.each([...FOREIGN, ""])("as a model version's source: %j", async (source) => {
    for (const who of [eve, owner]) {
      const refused = await who.post("model-versions/create", { name: "m", source });
      expect([source, refused.status, refused.at("error_code")]).toEqual([source, 400, "INVALID_PARAMETER_VALUE"]);
    }
    expect((await owner.get("model-versions/search")).at("model_versions")).toBeUndefined();
  });

  test("the error says what is allowed, and who can allow more", async () => {
    for (const refused of [
      await eve.post("experiments/create", { name: "x", artifact_location: "mlflow-artifacts://evil.test/" }),
      await eve.post("model-versions/create", { name: "m", source: "mlflow-artifacts://evil.test/" }),
    ]) {
      const message = refused.text("message");
      for (const part of [
        "'mlflow-artifacts://evil.test/'",
        "mlflow-artifacts:/<folder>",
        "s3://team-bucket/",
        "--allow-location",
      ]) {
        expect(message).toContain(part);
      }
    }
  });

  test("as the place of a trace, whoever sets it", async () => {
    const evil = "mlflow-artifacts://evil.test/steal";
    const key = "mlflow.artifactLocation";
    const trace_info = {
      trace_id: "tr-1",
      trace_location: { mlflow_experiment: { experiment_id: "0" } },
      tags: { [key]: evil },
    };
    await eve.must("POST", "/api/3.0/mlflow/traces", { trace: { trace_info } });
    const tags = async () => (await eve.get("/api/3.0/mlflow/traces/tr-1")).at("trace.trace_info.tags");
    const own = { [key]: "mlflow-artifacts:/0/traces/tr-1/artifacts" };
    expect(await tags()).toMatchObject(own);
    for (const value of [evil, "mlflow-artifacts:/1", ""]) {
      const refused = await eve.send("PATCH", "/api/3.0/mlflow/traces/tr-1/tags", { key, value });
      expect([refused.status, refused.at("error_code")]).toEqual([400, "INVALID_PARAMETER_VALUE"]);
    }
    expect((await eve.send("DELETE", "/api/3.0/mlflow/traces/tr-1/tags", { key })).status).toBe(400);
    expect(await tags()).toMatchObject(own);
  });

  test("as a data set's source, however it is written", async () => {
    const run_id = (await eve.must("POST", "runs/create", { experiment_id: "0" })).text("run.info.run_id");
    const log = (source: string, source_type = "mlflow_artifact") =>
      eve.post("runs/log-inputs", {
        run_id,
        datasets: [{ dataset: { name: "d", digest: "1", source_type, source } }],
      });
    const evil = "mlflow-artifacts://evil.test/steal";
    for (const source of [
      evil,
      JSON.stringify({ uri: evil }),
      JSON.stringify({ uri: evil }).replaceAll("/", "\\/"),
      JSON.stringify({ uri: evil }).replace("m", "\\u006d"),
      JSON.stringify({ uri: evil.toUpperCase() }),
      JSON.stringify({ a: [{ uri: ` ${evil}` }] }),
      JSON.stringify({ uri: "mlflow-artifacts:/\t/evil.test" }),
    ]) {
      expect([source, (await log(source)).status]).toEqual([source, 400]);
    }
    // Other sources are not read with the tracker's token.
    for (const source of [
      JSON.stringify({ uri: `mlflow-artifacts:/0/${run_id}/artifacts/data.csv` }),
      JSON.stringify({ url: "https://data.test/x.csv" }),
      "{}",
      "made by hand",
    ]) {
      expect([source, (await log(source)).status]).toEqual([source, 200]);
    }
  });
});

describe("what is accepted", () => {
  test.each([
    ["mlflow-artifacts:/shared/x", "mlflow-artifacts:/shared/x"],
    ["mlflow-artifacts:///shared/y/", "mlflow-artifacts:/shared/y"],
    ["mlflow-artifacts:/shared/100% and more", "mlflow-artifacts:/shared/100% and more"],
    ["s3://team-bucket", "s3://team-bucket"],
    ["s3://team-bucket/models/x", "s3://team-bucket/models/x"],
    ["file:///mnt/models/x", "file:///mnt/models/x"],
  ])("%s", async (artifact_location, stored) => {
    const id = await eve.experiment(artifact_location, { artifact_location });
    const { body } = await eve.get("experiments/get", { experiment_id: id });
    expect(body).toMatchObject({ experiment: { artifact_location: stored } });
    const run = await eve.must("POST", "runs/create", { experiment_id: id });
    expect(run.text("run.info.artifact_uri")).toBe(`${stored}/${run.text("run.info.run_id")}/artifacts`);
    expect((await eve.version("m", { source: artifact_location })).status).toBe(200);
  });

  test("a reference to another tracking server, which this one does not know", async () => {
    const run_id = "0123456789abcdef0123456789abcdef";
    for (const fields of [
      { source: `runs:/${run_id}/model`, run_id },
      { source: `runs:/${run_id}/model` },
      { source: "models:/m-0123456789abcdef0123456789abcdef", run_id, model_id: "m-0123456789abcdef0123456789abcdef" },
      { source: "s3://team-bucket/other/model", run_id },
    ]) {
      const made = await eve.version("beside", fields);
      expect([fields, made.status]).toEqual([fields, 200]);
      expect(made.body).toMatchObject({ model_version: fields });
    }
  });

  test("nothing in a location that is no longer allowed", async () => {
    const experiment_id = await eve.experiment("bucket", { artifact_location: "s3://team-bucket/runs" });
    await server.restart({ allowedLocations: [] });
    for (const [path, body] of [
      ["runs/create", { experiment_id }],
      ["logged-models", { experiment_id, name: "x" }],
    ] as const) {
      const refused = await eve.post(path, body);
      expect([refused.status, refused.text("message")]).toEqual([
        400,
        expect.stringContaining("s3://team-bucket/runs"),
      ]);
    }
  });
});

test("the command has a flag and a variable for what is allowed", async () => {
  const [data, other] = [scratch("allowed"), scratch("allowed")];
  const flags = ["--allow-location", "s3://a/models", "--allow-location", "s3://b"];
  const [byFlag, byVariable] = [
    await Server.start("tracker", data, flags),
    await Server.start("tracker", other, [], { ANNEAL_ALLOW_LOCATIONS: "s3://a/models, s3://b" }),
  ];
  const statuses = async (server: Server) => {
    const found: number[] = [];
    for (const artifact_location of ["s3://a/models/x", "s3://b/x", "s3://a/x", "s3://c"]) {
      const body = JSON.stringify({ name: artifact_location, artifact_location });
      const path = "/api/2.0/mlflow/experiments/create";
      found.push((await server.fetch(path, { method: "POST", body })).status);
    }
    return found;
  };
  expect(await statuses(byFlag)).toEqual([200, 200, 400, 400]);
  expect(await statuses(byVariable)).toEqual([200, 200, 400, 400]);
  await byFlag.stop();
  // What was recorded is reported by a server that does not allow it.
  const strict = await Server.start("tracker", data);
  await strict.command.says(/not allowed[\s\S]*experiment s3:\/\/b\/x: s3:\/\/b\/x/);
  await cleanUp();
});

test.each(["s3://", "s3:", "team-bucket", "/mnt/models", "s3://bucket/../x", "S3://bucket/", "https://", "*"])(
  "the server does not start with the allowed prefix %j",
  async (prefix) => {
    await expect(AttackedServer.start({ allowedLocations: [prefix] })).rejects.toThrow(`'${prefix}'`);
  },
);
