import { connect } from "node:net";
import Fastify, { type FastifyInstance } from "fastify";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { guard } from "../access/guard.ts";
import { TestTracker } from "../testing.ts";
import { answerError, trackerPlugin } from "./plugin.ts";

/*
 * What somebody who means harm would send, to every route there is: each answers in the 400s (or does what was asked, where
 * that is harmless), never in the 500s, and the tracker holds afterwards what it held before.
 */

let t: TestTracker;
let app: FastifyInstance;
let port: number;
const routes: { method: string; url: string; fields: readonly string[] }[] = [];
const authorization = "Bearer secret";
let run_id: string;
let experiment_id: string;

beforeAll(async () => {
  t = await TestTracker.open();
  app = Fastify({ forceCloseConnections: true, routerOptions: { maxParamLength: 4096 }, requestTimeout: 5000 });
  app.addHook("onRoute", ({ method, url, config }) => {
    const request = config?.endpoint?.request;
    const fields = request ? Object.keys(request.properties) : FIELDS;
    for (const each of [method].flat()) if (each !== "HEAD") routes.push({ method: each, url, fields });
  });
  app.setErrorHandler(answerError);
  await guard(app, { token: "secret", host: "127.0.0.1", access: t.tracker.store.access });
  await app.register(trackerPlugin, { tracker: t.tracker });
  await app.listen({ port: 0, host: "127.0.0.1" });
  port = Number(new URL(app.listeningOrigin).port);
  experiment_id = (await t.post("experiments/create", { name: "kept" })).text("experiment_id");
  run_id = await t.run({ experiment_id });
  await t.log(run_id, { params: [{ key: "kept", value: "1" }], metrics: [{ key: "kept", value: 1, timestamp: 1 }] });
  await t.post("registered-models/create", { name: "kept" });
  await t.post("model-versions/create", { name: "kept", source: `runs:/${run_id}/model`, run_id });
});
afterAll(async () => {
  const kept = await t.get("runs/get", { run_id });
  expect(kept.at("run.data.params")).toContainEqual({ key: "kept", value: "1" });
  expect((await t.get("registered-models/get", { name: "kept" })).status).toBe(200);
  await app.close();
  await t.close();
});

/** Fields that some route or other reads. */
const FIELDS = [
  "experiment_id",
  "experiment_ids",
  "experiment_name",
  "run_id",
  "run_uuid",
  "run_ids",
  "name",
  "new_name",
  "key",
  "value",
  "filter",
  "order_by",
  "page_token",
  "max_results",
  "metric_key",
  "path",
  "version",
  "stage",
  "alias",
  "source",
  "description",
  "tags",
  "params",
  "metrics",
  "datasets",
  "models",
  "status",
  "timestamp",
  "step",
  "start_step",
  "end_step",
  "start_time",
  "artifact_location",
  "model_id",
  "gates",
  "statements",
  "user",
  "role",
  "kind",
  "target",
  "label",
  "columns",
];

const TEXTS = [
  "'; DROP TABLE runs; --",
  "' OR '1'='1",
  '" OR 1=1 --',
  "\\'; SELECT pg_sleep(10); --",
  "metrics.x = 1 UNION SELECT * FROM tokens",
  "`\u0000`",
  "\ud800",
  "%s%s%n{{7*7}}",
  "../../../../etc/passwd",
  "__proto__",
  "constructor",
  "-1",
  "1e400",
  "9007199254740993",
  "9223372036854775808",
  "x".repeat(10_000),
];
const VALUES: unknown[] = [
  ...TEXTS,
  {},
  [],
  [[]],
  [{}],
  true,
  1e308,
  -1,
  0.5,
  { key: {} },
  ["a", 1],
  [null],
  { $ne: 1 },
];

const address = (url: string, value: string): string =>
  url.replace(/:\w+/g, encodeURIComponent(value)).replace(/\*$/, encodeURIComponent(value));
/** The live stream does not end, the pages answer with themselves for every address, and of two mirrors one is enough. */
const asked = () => routes.filter(({ url }) => !/^\/(tracker|ajax-api)|\/events$/.test(url));

describe("every route", () => {
  test("given nonsense in all fields, refuses it or does no harm", async () => {
    for (const { method, url } of asked()) {
      for (const value of VALUES) {
        const fields = Object.fromEntries(FIELDS.map((field) => [field, value]));
        const text = typeof value === "string" ? value.slice(0, 1000) : JSON.stringify(value);
        const query =
          method === "GET" ? `?${new URLSearchParams(Object.fromEntries(FIELDS.map((field) => [field, text])))}` : "";
        const response = await app.inject({
          method: method as "GET",
          url: address(url, text.replace(/[\ud800-\udfff]/g, "x")) + query,
          headers: { authorization },
          ...(method === "GET" ? {} : { payload: JSON.stringify(fields) }),
        });
        const what = `${method} ${url} ${JSON.stringify(value).slice(0, 60)}`;
        expect(`${what}: ${response.statusCode < 500 || response.body}`).toBe(`${what}: true`);
      }
    }
  });

  test("given nonsense in one field among sound ones, too", async () => {
    const sound: Record<string, unknown> = {
      experiment_id,
      experiment_ids: [experiment_id],
      run_id,
      run_ids: [run_id],
      name: "kept",
      version: "1",
      key: "other",
      value: "1",
      metric_key: "kept",
      timestamp: 1,
      path: "x",
    };
    for (const { method, url, fields: own } of asked().filter((it) => it.method !== "DELETE")) {
      for (const field of own) {
        for (const value of ["'; DROP TABLE runs; --", "\u0000", "9223372036854775808"]) {
          if (/delete|rename|transition/.test(url)) continue;
          const fields = { ...sound, [field]: value };
          const pairs = Object.fromEntries(Object.entries(fields).map(([key, it]) => [key, String(it)]));
          const response = await app.inject({
            method: method as "GET",
            url: address(url, "kept") + (method === "GET" ? `?${new URLSearchParams(pairs)}` : ""),
            headers: { authorization },
            ...(method === "GET" ? {} : { payload: JSON.stringify(fields) }),
          });
          const what = `${method} ${url} ${field} ${JSON.stringify(value)}`;
          expect(`${what}: ${response.statusCode < 500 || response.body}`).toBe(`${what}: true`);
        }
      }
    }
  });

  test("given a body that is none, too long or nested without end, refuses it", async () => {
    const bodies = [
      "{",
      "[]",
      '"',
      "null",
      "\u0000",
      `${"[".repeat(100_000)}`,
      `{"a":${"[".repeat(50_000)}${"]".repeat(50_000)}}`,
      `{"__proto__":{"polluted":true}}`,
      `"${"\\"}"`,
      "a".repeat(17 * 1024 * 1024),
    ];
    for (const { method, url } of asked().filter((it) => it.method !== "GET" && !it.url.includes("mlflow-artifacts"))) {
      for (const payload of bodies) {
        const response = await app.inject({
          method: method as "POST",
          url: address(url, "x"),
          headers: { authorization, "content-type": "application/json" },
          payload,
        });
        const what = `${method} ${url} ${payload.slice(0, 20)}`;
        expect(`${what}: ${response.statusCode < 500 || response.body}`).toBe(`${what}: true`);
      }
    }
    expect(Reflect.get({}, "polluted")).toBeUndefined();
  });
});

describe("headers", () => {
  /** What a server says to bytes that no client library would send. */
  const raw = (text: string): Promise<string> =>
    new Promise((resolve) => {
      let said = "";
      const socket = connect(port, "127.0.0.1", () => socket.write(text));
      socket.on("data", (chunk) => {
        said += chunk;
      });
      socket.on("error", () => resolve(said));
      socket.on("close", () => resolve(said));
    });
  const path = "/api/2.0/mlflow/experiments/get?experiment_id=0";
  const start = (extra: string, method = "GET", target = path) =>
    `${method} ${target} HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\n${extra}Connection: close\r\n\r\n`;

  test("that lie about who asks let nobody in", async () => {
    for (const extra of [
      "X-Forwarded-User: admin\r\n",
      "X-Forwarded-For: 127.0.0.1\r\n",
      "X-Original-URL: /health\r\n",
      "X-Rewrite-URL: /health\r\n",
      "X-User: admin\r\n",
      "Authorization: Bearer\r\n",
      "Authorization: Bearer \t\r\n",
      "Authorization: Basic !!!\r\n",
      "Authorization: Basic d3Jvbmc=\r\nAuthorization: Bearer x\r\n",
      "Cookie: anneal_token_default=secret\r\n",
      `Cookie: ${"a=b; ".repeat(2000)}\r\n`,
    ]) {
      expect(await raw(start(extra))).toMatch(/^HTTP\/1\.1 4(01|00|31)/);
    }
    for (const target of ["/health/../api/2.0/mlflow/experiments/get?experiment_id=0", "/health?/../x", "//health"]) {
      const said = await raw(start("", "GET", target));
      expect(said).not.toContain("Default");
    }
  });

  test("that contradict each other about a body are refused, and nothing is smuggled in", async () => {
    const token = "Authorization: Bearer secret\r\n";
    const smuggled = `GET ${path} HTTP/1.1\r\nHost: x\r\n\r\n`;
    for (const extra of [
      `${token}Content-Length: 5\r\nContent-Length: 6\r\n`,
      `${token}Content-Length: 4\r\nTransfer-Encoding: chunked\r\n`,
      `${token}Transfer-Encoding: chunked, identity\r\n`,
      `${token}Content-Length: -1\r\n`,
      `${token}Content-Length: 1e3\r\n`,
      `${token}Bad Header: x\r\n`,
      `${token}X: a\nb: c\r\n`,
    ]) {
      const said = await raw(`${start(extra, "POST")}${smuggled}`);
      expect(said).toMatch(/^HTTP\/1\.1 4\d\d/);
      expect(said).not.toContain("Default");
    }
    for (let i = 0, long = "x".repeat(20_000); i < 1; i++) {
      expect(await raw(start(`X-Long: ${long}\r\n`))).toMatch(/^HTTP\/1\.1 431/);
    }
  });

  test("cannot be written into an answer", async () => {
    const response = await app.inject({
      url: `/get-artifact?run_id=${run_id}&path=${encodeURIComponent("a\r\nSet-Cookie: x=y")}`,
      headers: { authorization },
    });
    expect(response.statusCode).toBe(400);
    expect(response.headers["set-cookie"]).toBeUndefined();
    const page = await app.inject({
      url: "//evil.test/%0d%0aSet-Cookie:x=y?token=secret",
      headers: { accept: "text/html" },
    });
    expect(String(page.headers.location ?? "/")).not.toMatch(/^\/\/|[\r\n]/);
  });
});
