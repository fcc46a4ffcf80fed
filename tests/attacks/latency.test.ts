// Attacks on the server's time: while one client sends what is costly, a second one is answered as usual.
import { once } from "node:events";
import { join } from "node:path";
import { Worker } from "node:worker_threads";
import { gzipSync } from "node:zlib";
import Libsql from "libsql";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { openTracker } from "../../tracker/index.ts";
import { cleanUp, Server, scratch } from "../support.ts";

/** Milliseconds within which a second client is answered during an attack. */
const PATIENCE = 200;

const probeCode = `
  const { parentPort, workerData: { address, token } } = require("node:worker_threads");
  let stopped = false;
  parentPort.once("message", () => { stopped = true; });
  (async () => {
    let longest = 0;
    for (let asked = 0; !stopped; asked++) {
      const start = performance.now();
      const response = await fetch(address, { headers: { authorization: "Bearer " + token } });
      await response.text();
      if (!response.ok) throw new Error("status " + response.status);
      // The first request opens the connection.
      if (asked > 0) longest = Math.max(longest, performance.now() - start);
      else parentPort.postMessage("ready");
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    parentPort.postMessage(longest);
  })();
`;

describe("a second client during an attack", () => {
  let server: Server;
  let token: string;
  let run: string;

  beforeAll(async () => {
    const data = scratch("latency");
    await seed(data);
    server = await Server.start("tracker", data);
    await server.ask("POST", "/api/anneal/users", { name: "mallory", role: "editor" });
    const made = await server.ask<{ token: string }>("POST", "/api/anneal/tokens", {
      user: "mallory",
      label: "attack",
    });
    token = made.token;
    const created = await server.ask<{ run: { info: { run_id: string } } }>("POST", "/api/2.0/mlflow/runs/create", {
      experiment_id: "0",
    });
    run = created.run.info.run_id;
  });
  afterAll(cleanUp);

  /** Writes many runs. */
  async function seed(dataDir: string): Promise<void> {
    const { store, close } = await openTracker({ dataDir });
    const values = (name: string) =>
      Array.from({ length: 10 }, (_, n) => ({ key: `${name} ${n}`, value: "x".repeat(50) }));
    for (let n = 0; n < 1000; n++) {
      const { data } = await store.runs.create({
        experimentId: "0",
        userId: "",
        name: `${n}`,
        startTime: n,
        tags: values("tag"),
      });
      const metrics = Array.from({ length: 10 }, (_, n) => ({ key: `metric ${n}`, value: n, timestamp: 1, step: 1 }));
      await store.runs.log(data.run.id, { metrics, params: values("param"), tags: [] });
    }
    await close();
  }

  const attack = (path: string, body: string | Uint8Array, headers: Record<string, string> = {}): Promise<Response> =>
    fetch(server.url + path, { method: "POST", body, headers: { authorization: `Bearer ${token}`, ...headers } });

  /**
   * Checks that a second client is answered within PATIENCE while `work` runs. What else the machine does may delay it once,
   * but hardly three times.
   */
  async function expectAnswers(work: () => Promise<unknown>): Promise<void> {
    const longest: number[] = [];
    do longest.push(await measure(work));
    while (longest.length < 3 && Math.min(...longest) > PATIENCE);
    expect(Math.min(...longest)).toBeLessThan(PATIENCE);
  }

  /** @returns the longest answer to the second client while `work` ran, in milliseconds */
  async function measure(work: () => Promise<unknown>): Promise<number> {
    const address = `${server.url}/api/2.0/mlflow/runs/get?run_id=${run}`;
    // In a thread of its own: this one is busy with the attack.
    const probe = new Worker(probeCode, { eval: true, workerData: { address, token: server.token } });
    await once(probe, "message");
    await work();
    probe.postMessage("stop");
    const [longest] = (await once(probe, "message")) as [number];
    return longest;
  }

  const million = 1_000_000;
  const bodies: [string, () => string][] = [
    ["nesting of 100 000 levels", () => `{"name": ${"[".repeat(100_000)}${"]".repeat(100_000)}}`],
    ["nested objects", () => `{"name": ${'{"a":'.repeat(100_000)}1${"}".repeat(100_000)}}`],
    ["nesting that never ends", () => "[".repeat(16 * million)],
    ["a million keys", () => `{${Array.from({ length: million }, (_, n) => `"k${n}":1`).join()}}`],
    ["a million values", () => `{"tags": [${"1,".repeat(million)}1]}`],
    ["eight million empty objects", () => `{"tags": [${"{},".repeat(5 * million)}{}]}`],
    ["JSON within JSON", () => JSON.stringify(`{"tags": [${"[],".repeat(million)}[]]}`)],
    ["a long name", () => `{"name": "${"n".repeat(15 * million)}"}`],
    ["a long name of escapes", () => `{"name": "${'\\\\\\"'.repeat(3 * million)}"}`],
    ["a long key", () => `{"run_id": "${run}", "key": "${"k".repeat(15 * million)}", "value": "1"}`],
    ["a long key of slashes", () => `{"run_id": "${run}", "key": "${"a/".repeat(7 * million)}", "value": "1"}`],
    ["a long filter", () => `{"experiment_ids": ["0"], "filter": "${"a = ".repeat(3 * million)}"}`],
    ["a long page token", () => `{"experiment_ids": ["0"], "page_token": "${"A".repeat(15 * million)}"}`],
    ["many experiments", () => `{"experiment_ids": [${'"1",'.repeat(90_000)}"0"]}`],
    ["many orders", () => `{"experiment_ids": ["0"], "order_by": [${'"metrics.a",'.repeat(90_000)}"params.b"]}`],
    ["null fields", () => `{${Array.from({ length: 40_000 }, (_, n) => `"k${n}":null`).join()}}`],
  ];
  const paths = ["experiments/create", "runs/search", "runs/set-tag", "runs/log-inputs", "registered-models/create"];

  test.each(bodies)("JSON: %s", async (_, body) => {
    const text = body();
    const statuses = new Set<number>();
    await expectAnswers(async () => {
      for (const path of paths) {
        // The server hangs up on a body that is too large.
        const response = await attack(`/api/2.0/mlflow/${path}`, text).catch(() => undefined);
        statuses.add(response?.status ?? 400);
        await response?.text().catch(() => "");
      }
    });
    expect(Math.max(...statuses)).toBeLessThan(500);
  });

  test("searches for everything, several at once", async () => {
    const body = JSON.stringify({ experiment_ids: ["0"], max_results: 50_000, run_view_type: "ALL" });
    const statuses: number[] = [];
    await expectAnswers(async () => {
      const answers = await Promise.all(Array.from({ length: 5 }, () => attack("/api/2.0/mlflow/runs/search", body)));
      statuses.push(...answers.map(({ status }) => status));
      for (const answer of answers) expect(((await answer.json()) as { runs: object[] }).runs).toHaveLength(1001);
    });
    expect(new Set(statuses)).toEqual(new Set([200]));
  });

  /** A protobuf field with a length. */
  const field = (number: number, content: Uint8Array): Buffer => {
    const head = [(number << 3) | 2];
    for (let rest = content.length; ; rest >>>= 7) {
      head.push(rest > 127 ? (rest & 127) | 128 : rest);
      if (rest <= 127) break;
    }
    return Buffer.concat([Buffer.from(head), content]);
  };
  const repeated = (bytes: readonly number[], times: number): Buffer =>
    Buffer.concat(Array.from({ length: 1000 }, () => Buffer.concat(Array(times / 1000).fill(Buffer.from(bytes)))));
  let nested: Buffer = Buffer.alloc(0);
  for (let level = 0; level < 20_000; level++) nested = field(5, field(1, nested));

  const spans: [string, () => Buffer][] = [
    ["31 million empty spans", () => field(1, field(2, repeated([0x12, 0], 31 * million)))],
    ["millions of empty attributes", () => field(1, field(2, field(2, repeated([0x4a, 0], 7 * million))))],
    ["millions of resources", () => repeated([0x0a, 0], 7 * million)],
    ["millions of unknown fields", () => repeated([0x78, 1], 7 * million)],
    ["millions of groups", () => repeated([0x7b], 14 * million)],
    ["nested values", () => field(1, field(2, field(2, field(9, field(2, nested)))))],
    [
      "spans with all their fields",
      () => {
        const span = Buffer.concat([
          field(1, Buffer.alloc(16, 7)),
          field(2, Buffer.alloc(8, 7)),
          ...Array.from({ length: 20 }, () =>
            field(9, Buffer.concat([field(1, Buffer.from("key")), field(2, field(1, Buffer.from("value")))])),
          ),
        ]);
        return field(1, field(2, Buffer.concat(Array(30_000).fill(field(2, span)))));
      },
    ],
  ];

  test.each(spans)("OpenTelemetry: %s", async (_, make) => {
    const body = make();
    const type = { "content-type": "application/x-protobuf" };
    const statuses: number[] = [];
    await expectAnswers(async () => {
      const packed = await attack("/v1/traces", gzipSync(body), { ...type, "content-encoding": "gzip" });
      statuses.push(packed.status);
      await packed.text();
      const plain = await attack("/v1/traces", Uint8Array.from(body.subarray(0, 15 * million)), type).catch(
        () => undefined,
      );
      statuses.push(plain?.status ?? 0);
    });
    expect(Math.max(...statuses)).toBeLessThan(500);
  });

  test("a batch of 500 spans is taken", async () => {
    const span = (n: number) => ({
      traceId: n.toString(16).padStart(32, "1"),
      spanId: n.toString(16).padStart(16, "1"),
      name: "call",
      startTimeUnixNano: "1",
      endTimeUnixNano: "2",
      attributes: Array.from({ length: 20 }, (_, k) => ({ key: `key ${k}`, value: { stringValue: "value" } })),
    });
    const body = JSON.stringify({
      resourceSpans: [{ scopeSpans: [{ spans: Array.from({ length: 500 }, (_, n) => span(n)) }] }],
    });
    let status = 0;
    await expectAnswers(async () => {
      status = (await attack("/v1/traces", body, { "content-type": "application/json" })).status;
    });
    expect(status).toBe(200);
  });
});

describe("a lock on the SQLite file", () => {
  afterAll(cleanUp);

  test("other requests are told to try again, and /health answers at once", async () => {
    const data = scratch("lock");
    const server = await Server.start("tracker", data);
    const lock = new Libsql(join(data, "tracker.db"));
    lock.exec("BEGIN IMMEDIATE");
    const create = (name: string) =>
      server.fetch("/api/2.0/mlflow/experiments/create", { method: "POST", body: JSON.stringify({ name }) });
    const short = create("waits for a short lock");
    const start = performance.now();
    const times: number[] = [];
    for (let n = 0; n < 20; n++) {
      const before = performance.now();
      expect((await fetch(`${server.url}/health`)).status).toBe(200);
      times.push(performance.now() - before);
    }
    expect(times.sort((a, b) => a - b)[10]).toBeLessThan(PATIENCE);
    // Reading goes on.
    await server.ask("GET", "/api/2.0/mlflow/experiments/get?experiment_id=0");
    expect(performance.now() - start).toBeLessThan(2000);
    lock.exec("COMMIT");
    expect((await short).status).toBe(200);

    lock.exec("BEGIN IMMEDIATE");
    const answers = await Promise.all(["a", "b", "c"].map(create));
    for (const answer of answers) {
      expect(answer.status).toBe(503);
      expect(Number(answer.headers.get("retry-after"))).toBeGreaterThan(0);
      expect(await answer.json()).toMatchObject({
        error_code: "TEMPORARILY_UNAVAILABLE",
        message: expect.stringContaining("lock"),
      });
    }
    // All were refused after the same wait, not one after the other.
    expect(performance.now() - start).toBeLessThan(15_000);
    lock.exec("ROLLBACK");
    lock.close();
    expect((await create("a")).status).toBe(200);
  });
});
