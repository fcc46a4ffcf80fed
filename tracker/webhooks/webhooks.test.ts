import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { afterEach, beforeEach, expect, test } from "vitest";
import { TestTracker } from "../testing.ts";
import { sign, WebhookDelivery } from "./deliver.ts";

interface Delivery {
  entity: string;
  action: string;
  data: Record<string, unknown>;
  headers: Record<string, string | string[] | undefined>;
  body: string;
}

let t: TestTracker;
let receiver: Server;
let url: string;
let received: Delivery[];
/** Statuses that the receiver answers with, in turn; 200 after the last. */
let statuses: number[];

beforeEach(async () => {
  t = await TestTracker.open({ allowPrivateWebhooks: true });
  received = [];
  statuses = [];
  receiver = createServer(async (request, response) => {
    let body = "";
    for await (const chunk of request) body += chunk;
    received.push({ ...(JSON.parse(body) as Delivery), headers: request.headers, body });
    const status = statuses.shift() ?? 200;
    response.writeHead(status, status === 302 ? { location: "/elsewhere" } : {}).end("thanks");
  });
  await new Promise<void>((resolve) => receiver.listen(0, "127.0.0.1", resolve));
  url = `http://127.0.0.1:${(receiver.address() as AddressInfo).port}/hook`;
});
afterEach(async () => {
  await t.close();
  receiver.closeAllConnections();
  receiver.close();
});

const create = (more: object = {}) =>
  t.post("webhooks", { name: "w", url, events: [{ entity: "MODEL_VERSION_STAGE", action: "SET" }], ...more });

test("receive signed registry events", async () => {
  const all = [
    "REGISTERED_MODEL.CREATED",
    "MODEL_VERSION.CREATED",
    "MODEL_VERSION_TAG.SET",
    "MODEL_VERSION_TAG.DELETED",
  ];
  const more = ["MODEL_VERSION_ALIAS.CREATED", "MODEL_VERSION_ALIAS.DELETED", "MODEL_VERSION_STAGE.SET"];
  const made = await create({ events: [...all, ...more], secret: "shared" });
  expect(JSON.stringify(made.body)).not.toContain("shared");
  const run_id = await t.run();
  await t.post("registered-models/create", { name: "m", description: "d", tags: [{ key: "a", value: "b" }] });
  await t.post("model-versions/create", { name: "m", source: `runs:/${run_id}/model`, run_id });
  await t.post("model-versions/set-tag", { name: "m", version: "1", key: "k", value: "v" });
  await t.send("DELETE", "model-versions/delete-tag", { name: "m", version: "1", key: "k" });
  await t.post("registered-models/alias", { name: "m", alias: "best", version: "1" });
  await t.send("DELETE", "registered-models/alias", { name: "m", alias: "best" });
  await t.post("model-versions/transition-stage", { name: "m", version: "1", stage: "Production" });
  await t.post("model-versions/transition-stage", { name: "m", version: "1", stage: "Production" });
  await expect.poll(() => received.length).toBe(7);
  const told = new Map(received.map((it) => [`${it.entity}.${it.action}`.toUpperCase(), it.data]));
  expect([...told.keys()].sort()).toEqual([...all, ...more].sort());
  expect(told.get("REGISTERED_MODEL.CREATED")).toEqual({ name: "m", tags: { a: "b" }, description: "d" });
  expect(told.get("MODEL_VERSION.CREATED")).toMatchObject({ name: "m", version: "1", run_id });
  expect(told.get("MODEL_VERSION_STAGE.SET")).toMatchObject({ from: "None", to: "Production", who: "tester" });
  for (const { headers, body } of received) {
    const [id, time] = [String(headers["x-mlflow-delivery-id"]), String(headers["x-mlflow-timestamp"])];
    expect(headers["x-mlflow-signature"]).toBe(sign("shared", id, time, body));
    expect(Math.abs(Date.now() / 1000 - Number(time))).toBeLessThan(60);
  }
});

test("receive events of prompts, without those of models", async () => {
  const all = [
    "PROMPT.CREATED",
    "PROMPT_VERSION.CREATED",
    "PROMPT_TAG.SET",
    "PROMPT_TAG.DELETED",
    "PROMPT_VERSION_TAG.SET",
    "PROMPT_VERSION_TAG.DELETED",
    "PROMPT_ALIAS.CREATED",
    "PROMPT_ALIAS.DELETED",
  ];
  const models = ["REGISTERED_MODEL.CREATED", "MODEL_VERSION.CREATED", "MODEL_VERSION_TAG.SET"];
  await create({ events: [...all, ...models] });
  const prompt = { key: "mlflow.prompt.is_prompt", value: "true" };
  await t.post("registered-models/create", { name: "p", description: "d", tags: [prompt, { key: "a", value: "b" }] });
  await t.post("model-versions/create", {
    name: "p",
    source: "prompt-template",
    tags: [prompt, { key: "mlflow.prompt.text", value: "Hello, {{who}}" }, { key: "v", value: "1" }],
  });
  await t.post("registered-models/set-tag", { name: "p", key: "k", value: "v" });
  await t.send("DELETE", "registered-models/delete-tag", { name: "p", key: "k" });
  await t.post("model-versions/set-tag", { name: "p", version: "1", key: "k", value: "v" });
  await t.send("DELETE", "model-versions/delete-tag", { name: "p", version: "1", key: "k" });
  await t.post("registered-models/alias", { name: "p", alias: "live", version: "1" });
  await t.send("DELETE", "registered-models/alias", { name: "p", alias: "live" });
  // A tag of a model itself has no event in MLflow.
  await t.post("registered-models/create", { name: "m" });
  await t.post("registered-models/set-tag", { name: "m", key: "k", value: "v" });
  await expect.poll(() => received.length).toBe(9);
  const told = new Map(received.map((it) => [`${it.entity}.${it.action}`.toUpperCase(), it.data]));
  expect([...told.keys()].sort()).toEqual([...all, "REGISTERED_MODEL.CREATED"].sort());
  expect(told.get("PROMPT.CREATED")).toEqual({ name: "p", tags: { a: "b" }, description: "d" });
  expect(told.get("PROMPT_VERSION.CREATED")).toEqual({
    name: "p",
    version: "1",
    template: "Hello, {{who}}",
    tags: { v: "1" },
    description: null,
  });
  expect(told.get("PROMPT_TAG.SET")).toEqual({ name: "p", key: "k", value: "v" });
  expect(told.get("PROMPT_VERSION_TAG.DELETED")).toEqual({ name: "p", version: "1", key: "k" });
  expect(told.get("PROMPT_ALIAS.CREATED")).toEqual({ name: "p", alias: "live", version: "1" });
  expect(told.get("REGISTERED_MODEL.CREATED")).toMatchObject({ name: "m" });
});

test("are created, listed, updated, disabled and deleted", async () => {
  const id = (await create()).text("webhook.id");
  expect((await t.get("webhooks")).at("webhooks.0")).toMatchObject({ id, name: "w", status: "ACTIVE" });
  const changed = await t.send("PATCH", `webhooks/${id}`, { status: "DISABLED", events: ["MODEL_VERSION.CREATED"] });
  expect(changed.at("webhook")).toMatchObject({
    status: "DISABLED",
    name: "w",
    events: [{ entity: "MODEL_VERSION", action: "CREATED" }],
  });
  await t.post("registered-models/create", { name: "m" });
  await t.post("model-versions/create", { name: "m", source: "runs:/of-another-server/model" });
  await t.send("PATCH", `webhooks/${id}`, { status: "ACTIVE" });
  await t.post("model-versions/create", { name: "m", source: "runs:/of-another-server/model" });
  await expect.poll(() => received.map(({ data }) => data.version)).toEqual(["2"]);
  expect((await t.send("DELETE", `webhooks/${id}`)).status).toBe(200);
  expect((await t.get(`webhooks/${id}`)).status).toBe(404);
});

test("can be tested", async () => {
  const id = (await create()).text("webhook.id");
  const tried = await t.post(`webhooks/${id}/test`);
  expect(tried.at("result")).toMatchObject({ success: true, response_status: 200, response_body: "thanks" });
  statuses = [302];
  const moved = await t.post(`webhooks/${id}/test`, { event: { entity: "MODEL_VERSION", action: "CREATED" } });
  expect(moved.at("result")).toMatchObject({ success: false, response_status: 302 });
  // It went nowhere else.
  expect(received.map(({ entity }) => entity)).toEqual(["model_version_stage", "model_version"]);
  receiver.closeAllConnections();
  receiver.close();
  const away = await t.post(`webhooks/${id}/test`);
  expect(away.at("result.success")).toBe(false);
  expect(away.text("result.error_message")).not.toBe("");
});

test.each([
  { url: "ftp://host/x" },
  { url: "http://user:password@host/" },
  { url: "no address" },
  { url: "file:///etc/passwd" },
  { events: [] },
  { events: ["RUN.CREATED"] },
  { name: " " },
  { status: "BROKEN" },
])("%o is refused", async (wrong) => {
  expect((await create(wrong)).status).toBe(400);
});

test("are retried with the same id when busy, and the result is stored", async () => {
  const id = (await create()).text("webhook.id");
  const { webhooks } = t.tracker.store;
  const delivery = new WebhookDelivery(webhooks, { pauses: [1, 1, 1], allowPrivate: true });
  statuses = [503, 500, 200];
  delivery.notify("model_version_stage.set", { name: "m" });
  await expect.poll(async () => (await webhooks.get(id)).last?.ok).toBe(true);
  expect(received.length).toBe(3);
  expect(new Set(received.map(({ headers }) => headers["x-mlflow-delivery-id"])).size).toBe(1);
  // What the receiver will never take is not sent again.
  statuses = [404];
  delivery.notify("model_version_stage.set", { name: "m" });
  await expect.poll(async () => (await webhooks.get(id)).last?.ok).toBe(false);
  await delivery.close();
  expect(received.length).toBe(4);
  expect((await t.get(`webhooks/${id}`)).at("webhook.last_delivery")).toMatchObject({
    success: false,
    message: "it answered 404",
  });
});
