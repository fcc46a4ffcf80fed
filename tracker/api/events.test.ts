import { get, type IncomingMessage } from "node:http";
import Fastify from "fastify";
import { afterEach, beforeEach, expect, test } from "vitest";
import { Principal } from "../access/principal.ts";
import { TestTracker } from "../testing.ts";
import { trackerPlugin } from "./plugin.ts";

let t: TestTracker;
beforeEach(async () => {
  t = await TestTracker.open();
  await t.app.listen({ port: 0, host: "127.0.0.1" });
});
afterEach(() => t.close());

const listen = (app = t.app): Promise<IncomingMessage> =>
  new Promise((resolve, reject) => {
    get(`${app.listeningOrigin}/api/anneal/events`, resolve).on("error", reject);
  });

test("a reader that does not read costs no memory, and is told to read everything anew", async () => {
  const slow = await listen();
  const brisk = await listen();
  let heard = "";
  brisk.on("data", (chunk) => {
    heard = `${heard}${chunk}`.slice(-2000);
  });
  const wave = (number: number) => {
    for (let i = 0; i < 1900; i++) {
      t.tracker.events.publish({ type: "model", name: `${number}-${i}-${"x".repeat(240)}`, change: "updated" });
    }
  };
  // More than the system itself keeps for a connection.
  for (let number = 0; number < 25; number++) {
    wave(number);
    await expect.poll(() => heard, { interval: 20 }).toContain(`"${number}-1899-`);
  }
  let text = "";
  slow.on("data", (chunk) => {
    text += chunk;
  });
  await expect.poll(() => text).toContain("event: reset");
  expect(text.length).toBeLessThan(12_000_000);
  // From there on it is told what happens, as everyone is.
  t.tracker.events.publish({ type: "model", name: "afterwards", change: "created" });
  await expect.poll(() => text).toContain("afterwards");
  slow.destroy();
  brisk.destroy();
});

test("what happens in the registry is told as it happens", async () => {
  const stream = await listen();
  let text = "";
  stream.on("data", (chunk) => {
    text += chunk;
  });
  const run_id = await t.run();
  await t.post("registered-models/create", { name: "m" });
  await t.post("model-versions/create", { name: "m", source: `runs:/${run_id}/model`, run_id });
  await t.post("model-versions/transition-stage", { name: "m", version: "1", stage: "Production" });
  await t.post("registered-models/alias", { name: "m", alias: "best", version: "1" });
  await t.post("model-versions/transition-stage", { name: "m", version: "1", stage: "Archived" });
  await t.send("DELETE", "registered-models/delete", { name: "m" });
  await expect.poll(() => text).toContain('"change":"deleted"');
  const told = [...text.matchAll(/event: model\ndata: (.*)\n/g)].map(([, data = "{}"]) => JSON.parse(data));
  expect(told).toEqual(
    expect.arrayContaining([
      { type: "model", name: "m", change: "created" },
      { type: "model", name: "m", version: 1, change: "created" },
      { type: "model", name: "m", version: 1, change: "stage" },
      { type: "model", name: "m", change: "deleted" },
    ]),
  );
  stream.destroy();
});

test("a user hears of what they may view, and of nothing else", async () => {
  const app = Fastify({ forceCloseConnections: true });
  const grants = [
    { user: "ada", kind: "model" as const, target: "open", role: "viewer" as const },
    { user: "ada", kind: "experiment" as const, target: "1", role: "viewer" as const },
  ];
  app.decorateRequest("principal", undefined);
  app.addHook("onRequest", async (request) => {
    request.principal = new Principal({ name: "ada", role: "none", grants });
  });
  await app.register(trackerPlugin, { tracker: t.tracker });
  await app.listen({ port: 0, host: "127.0.0.1" });
  const stream = await listen(app);
  let text = "";
  stream.on("data", (chunk) => {
    text += chunk;
  });
  await expect.poll(() => text).toContain("event: open");
  for (const experimentId of ["2", "1"]) {
    t.tracker.events.publish({ type: "run", experimentId, runId: `run of ${experimentId}`, change: "created" });
  }
  for (const name of ["secret", "open"]) t.tracker.events.publish({ type: "model", name, change: "created" });
  await expect.poll(() => text).toContain('"name":"open"');
  expect(text).toContain("run of 1");
  expect(text).not.toMatch(/run of 2|secret/);
  stream.destroy();
  await app.close();
});
