// Importing from an MLflow server whose users recorded locations that are not theirs.
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import Libsql from "libsql";
import { afterEach, beforeEach, expect, test } from "vitest";
import { importMlflow } from "../../tracker/index.ts";
import { writeMlflowDatabase } from "../../tracker/transfer/testing.ts";
import { AttackedServer, type User } from "./server.ts";

const RUN = "11111111111111111111111111111111";
const GONE = "22222222222222222222222222222222";

let server: AttackedServer;
let owner: User;
let folder: string;
let file: string;
beforeEach(async () => {
  server = await AttackedServer.start();
  ({ owner } = server);
  folder = mkdtempSync(join(tmpdir(), "anneal-import-"));
  file = join(folder, "mlflow.db");
  await writeMlflowDatabase(`sqlite:///${file}`, { artifacts: join(folder, "mlruns"), run: RUN, gone: GONE });
  const model = join(folder, "mlruns", "1", RUN, "artifacts", "model");
  mkdirSync(model, { recursive: true });
  writeFileSync(join(model, "MLmodel"), "flavors: {}");
  mkdirSync(join(folder, "private"));
  writeFileSync(join(folder, "private", "key"), "SECRET");
});
afterEach(async () => {
  await server.close();
  rmSync(folder, { recursive: true, force: true });
});

/** Imports the database after some statements were run in it. */
async function imported(...statements: [string, ...string[]][]) {
  const db = new Libsql(file);
  for (const [sql, ...values] of statements) db.prepare(sql).run(values);
  db.close();
  return importMlflow({ uri: `sqlite:///${file}` }, { uri: server.url, token: owner.token });
}

const versions = async (): Promise<Record<string, unknown>[]> => {
  const found = await owner.get("model-versions/search", { order_by: "version_number ASC" });
  return (found.at("model_versions") ?? []) as Record<string, unknown>[];
};

test.each(["mlflow-artifacts://evil.test/model", "https://evil.test/model", "s3://not-allowed/model", "/etc", "../.."])(
  "a version's source %s is not taken over, but the other versions are",
  async (source) => {
    const report = await imported(["UPDATE model_versions SET source = ?, run_id = NULL WHERE version = 1", source]);
    expect(report.problems).toContainEqual(
      expect.stringMatching(/^version 1 of chat model: .*Invalid model version source/),
    );
    const found = await versions();
    expect(found.map(({ version, current_stage }) => [version, current_stage])).toEqual([["3", "Production"]]);
    expect(JSON.stringify(found)).not.toContain(source);
  },
);

test("a run's or model's location is not taken over, and files of this machine are not read for it", async () => {
  const locations = (uri: string): [string, ...string[]][] => [
    ["UPDATE experiments SET artifact_location = ?", uri],
    ["UPDATE runs SET artifact_uri = ?", uri],
    ["UPDATE logged_models SET artifact_location = ?", uri],
  ];
  const secret = join(folder, "private");
  for (const uri of [
    secret,
    `file://${secret}`,
    `${secret}/${RUN}/artifacts/../..`,
    `file://${secret}/${RUN}/artifacts/%2e%2e/%2e%2e`,
    "mlflow-artifacts://evil.test/x",
    "s3://evil/x",
  ]) {
    const report = await imported(...locations(uri));
    expect(report.problems.filter((it) => it.includes("are not read"))).toHaveLength(3);
    const { body } = await owner.post("runs/search", { experiment_ids: ["1"], run_view_type: "ALL" });
    expect(JSON.stringify(body)).not.toContain("evil");
    expect(JSON.stringify(body)).not.toContain(secret);
    expect((await owner.download(`/get-artifact?run_id=${RUN}&path=key`)).status).toBe(404);
  }
});

test("a version that claims another run's metrics is not taken over", async () => {
  const report = await imported(["UPDATE model_versions SET run_id = ? WHERE version = 1", GONE]);
  expect(report.problems).toContainEqual(
    expect.stringMatching(/^version 1 of chat model: .*belongs to run 1+, not to run 2+/),
  );
});

test("a data set that names another server is not taken over", async () => {
  const report = await imported(["UPDATE datasets SET dataset_source = ?", '{"uri":"mlflow-artifacts://evil.test/x"}']);
  expect(report.problems).toContainEqual(expect.stringMatching(/^data set chats of run 1+: .*Invalid data set source/));
});
