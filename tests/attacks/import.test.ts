// Importing from an MLflow server whose users recorded locations that are not theirs.
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import Libsql from "libsql";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
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

describe("a server that means harm", () => {
  type Handler = (request: IncomingMessage, response: ServerResponse) => void;
  let servers: Server[] = [];
  afterEach(() => {
    for (const it of servers) {
      it.closeAllConnections();
      it.close();
    }
    servers = [];
  });

  async function serve(handler: Handler): Promise<string> {
    const it = createServer(handler);
    servers.push(it);
    await new Promise<void>((resolve) => it.listen(0, "127.0.0.1", resolve));
    return `http://127.0.0.1:${(it.address() as AddressInfo).port}`;
  }

  const EXPERIMENT = { experiment_id: "7", name: "theirs" };
  const THEIR_RUN = {
    info: {
      run_id: RUN,
      run_name: "r",
      status: "FINISHED",
      start_time: 1,
      artifact_uri: `mlflow-artifacts:/7/${RUN}/artifacts`,
    },
    data: { metrics: [{ key: "loss", value: 1, timestamp: 1, step: 0 }] },
  };
  /** A tracker with an experiment and a run, which answers otherwise where it is told. */
  const tracker =
    (others: Record<string, Handler | object>): Handler =>
    (request, response) => {
      const path = (request.url ?? "").split("?")[0]?.replace("/api/2.0/mlflow/", "") ?? "";
      const other = others[path];
      if (typeof other === "function") return other(request, response);
      const answers: Record<string, object> = {
        "experiments/search": { experiments: [EXPERIMENT] },
        "runs/search": { runs: [THEIR_RUN] },
        "metrics/get-history": { metrics: THEIR_RUN.data.metrics },
        ...(others as Record<string, object>),
      };
      response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(answers[path] ?? {}));
    };
  const importFrom = (uri: string, token?: string) =>
    importMlflow({ uri, ...(token ? { token } : {}) }, { uri: server.url, token: owner.token });
  /** The files of the run that was imported. */
  const filesOf = async (): Promise<unknown> =>
    (await owner.get("artifacts/list", { run_id: RUN })).at("files") as unknown;

  test.each([301, 302, 303, 307, 308])("takes no token to another place by a redirect with %s", async (status) => {
    const heard: unknown[] = [];
    const other = await serve((request, response) => {
      heard.push(request.headers.authorization ?? "asked");
      tracker({})(request, response);
    });
    for (const path of ["experiments/search", "metrics/get-history", "artifacts/list", "model-versions/search"]) {
      const redirect: Handler = (request, response) =>
        response.writeHead(status, { location: `${other}${request.url}` }).end();
      const registered = { registered_models: [{ name: "theirs" }] };
      const uri = await serve(tracker({ "registered-models/search": registered, [path]: redirect }));
      const told = await importFrom(uri, "SECRET token").then(
        ({ problems }) => problems.join(),
        (error: Error) => error.message,
      );
      expect([path, told]).toEqual([path, expect.stringContaining("redirects to")]);
    }
    expect(heard).toEqual([]);
  });

  test.each([
    "experiments/search",
    "runs/search",
    "metrics/get-history",
    "logged-models/search",
    "registered-models/search",
  ])("cannot keep an import busy with pages without end of %s", async (path) => {
    let asked = 0;
    const again = { ...(path === "runs/search" ? {} : {}), next_page_token: "again" };
    const cycle: Handler = (_, response) => response.end(JSON.stringify({ next_page_token: ["a", "b"][++asked % 2] }));
    const empty: Handler = (_, response) => response.end(JSON.stringify({ next_page_token: `page ${++asked}` }));
    for (const answer of [again, cycle, empty]) {
      const told = await importFrom(await serve(tracker({ [path]: answer }))).then(
        ({ problems }) => problems.join(),
        (error: Error) => error.message,
      );
      expect(told).toContain("without end");
    }
    expect(asked).toBeLessThan(200);
  });

  test("cannot fill the memory with an answer", async () => {
    let sent = 0;
    const endless: Handler = (_, response) => {
      response.writeHead(response.statusCode, { "content-type": "application/json" });
      const part = Buffer.alloc(1 << 20, " ");
      const more = (): void => {
        while (!response.destroyed && sent < 2e9) {
          sent += part.length;
          if (!response.write(part)) return void response.once("drain", more);
        }
        response.end();
      };
      more();
    };
    await expect(importFrom(await serve(tracker({ "experiments/search": endless })))).rejects.toThrow("more than");
    expect(sent).toBeLessThan(400e6);
    sent = 0;
    const failing: Handler = (request, response) => {
      response.statusCode = 400;
      endless(request, response);
    };
    await expect(importFrom(await serve(tracker({ "experiments/search": failing })))).rejects.toThrow("400");
    expect(sent).toBeLessThan(10e6);
  });

  test("can send a history of a million points in one page", async () => {
    const metrics = Array.from({ length: 300_000 }, (_, step) => ({ key: "loss", value: 1, timestamp: 1, step }));
    const report = await importFrom(await serve(tracker({ "metrics/get-history": { metrics } })));
    expect([report.points, report.problems]).toEqual([300_000, []]);
  });

  test.each([
    "../planted",
    "../../../7/planted",
    "../../../../../../anneal/grants",
    "a/../../../../../../../../anneal/grants",
    "..%2f..%2f../anneal/grants",
    "..\\..\\planted",
    "/planted",
    "a//b",
    "./a",
    ".",
    "",
    "a\nb",
    "a\u0000b",
  ])("does not reach another address of the tracker by a file named %j", async (path) => {
    await server.user("eve", "viewer");
    const id = await owner.experiment("mine");
    const grant = JSON.stringify({ user: "eve", kind: "experiment", target: id, role: "admin" });
    const list: Handler = (_, response) =>
      response.end(JSON.stringify({ files: [{ path, is_dir: false, file_size: grant.length }] }));
    const uri = await serve((request, response) => {
      if (request.url?.startsWith("/get-artifact")) return response.end(grant);
      tracker({ "artifacts/list": list })(request, response);
    });
    const report = await importFrom(uri);
    expect(report.problems).toEqual([expect.stringMatching(/not the path of a file|Invalid (artifact )?path/)]);
    expect((await owner.get("/api/anneal/grants", { user: "eve" })).at("grants")).toEqual([]);
    expect(await filesOf()).toBeUndefined();
    expect((await owner.get("/api/2.0/mlflow-artifacts/artifacts", { path: "7" })).at("files")).toBeUndefined();
  });

  test("does not lead through folders without end", async () => {
    let asked = 0;
    const same: Handler = (_, response) =>
      response.end(JSON.stringify({ files: ++asked > 300 ? [] : [{ path: "a", is_dir: true }] }));
    const deeper: Handler = (request, response) => {
      const folder = new URL(request.url ?? "", "http://x").searchParams.get("path");
      const path = folder ? `${folder}/a` : "a";
      response.end(JSON.stringify({ files: ++asked > 900 ? [] : [{ path, is_dir: true }] }));
    };
    for (const list of [same, deeper]) {
      asked = 0;
      const report = await importFrom(await serve(tracker({ "artifacts/list": list })));
      expect(report.problems).toHaveLength(1);
      expect(asked).toBeLessThan(150);
    }
  });

  test.each([
    [4, 8],
    [8, 4],
    [0, 8],
    [undefined, 8],
    [-1, 8],
    ["many", 8],
    [8, 10_000_000],
  ])("stores no file that is announced with %s bytes and has %s", async (file_size, size) => {
    const started = performance.now();
    const list = { files: [{ path: "weights", is_dir: false, file_size }] };
    const uri = await serve((request, response) => {
      if (request.url?.startsWith("/get-artifact")) return response.end(Buffer.alloc(size, 1));
      tracker({ "artifacts/list": list })(request, response);
    });
    const report = await importFrom(uri);
    expect(report.problems).toEqual([expect.stringContaining("weights")]);
    expect([report.files, await filesOf()]).toEqual([0, undefined]);
    // What cannot succeed is not tried again.
    expect(performance.now() - started).toBeLessThan(4000);
  });

  test("does not write to the terminal with its words", async () => {
    const refuse: Handler = (_, response) => {
      response.statusCode = 400;
      response.end(JSON.stringify({ message: "\u001b]0;title\u0007\u001b[2J" }));
    };
    const report = await importFrom(await serve(tracker({ "metrics/get-history": refuse })));
    expect(report.problems).toHaveLength(1);
    expect(report.problems.join()).not.toMatch(/\p{Cc}/u);
  });
});
