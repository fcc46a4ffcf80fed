import { Value } from "@sinclair/typebox/value";
import Fastify from "fastify";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { TestTracker } from "../testing.ts";
import { answersFile, type Endpoint, operationOf } from "./openapi.ts";
import { annealOperations, mlflowOperations, traceOperations } from "./operations.ts";
import { trackerPlugin } from "./plugin.ts";

interface Document {
  paths: Record<string, Record<string, { operationId: string; summary: string }>>;
  components: { schemas: Record<string, object> };
}

let t: TestTracker;
let document: Document;
beforeAll(async () => {
  t = await TestTracker.open();
  document = (await t.get("/api/openapi.json")).body as unknown as Document;
});
afterAll(() => t.close());

const url = (key: string) => key.replace(/:(\w+)/g, "{$1}").split(" ")[1];

describe("the API document", () => {
  test("tells of every endpoint, and of none that is not there", async () => {
    for (const [prefix, operations] of [
      ["/api/2.0/mlflow", mlflowOperations],
      ["/api/3.0/mlflow", traceOperations],
      ["/api/anneal", annealOperations],
    ] as const) {
      const told = Object.entries(document.paths)
        .filter(([path]) => path.startsWith(`${prefix}/`))
        .flatMap(([path, methods]) =>
          Object.keys(methods).map((m) => `${m.toUpperCase()} ${path.slice(prefix.length)}`),
        );
      const known = Object.keys(operations).map((key) => `${key.split(" ")[0]} ${url(key)}`);
      // A stream has no message and no shape.
      if (prefix === "/api/anneal") known.push("GET /events");
      expect(told.sort()).toEqual(known.sort());
    }
    const endpoints: Endpoint[] = [];
    const app = Fastify();
    app.decorateRequest("principal", undefined);
    app.addHook("onRoute", ({ method, url, config }) => {
      const message = config?.message;
      if (!message || !/^\/api\/(\d\.0\/mlflow|anneal)\//.test(url)) return;
      endpoints.push(...[method].flat().map((one) => ({ method: one, url, message })));
    });
    await app.register(trackerPlugin, { tracker: t.tracker });
    await app.ready();
    expect(endpoints.length).toBeGreaterThan(80);
    const untold = endpoints.filter((one) => one.method !== "HEAD" && !operationOf(one));
    expect(untold.map(({ method, url }) => `${method} ${url}`)).toEqual([]);
    await app.close();
  });

  test("holds every shape that it refers to, and gives each operation a name of its own", () => {
    const refs = [...JSON.stringify(document).matchAll(/"#\/components\/schemas\/(\w+)"/g)].map(([, name]) => name);
    expect(refs.length).toBeGreaterThan(100);
    for (const name of refs) expect(document.components.schemas).toHaveProperty(name);
    const ids = Object.values(document.paths).flatMap((methods) =>
      Object.values(methods).flatMap(({ operationId }) => operationId ?? []),
    );
    expect(new Set(ids).size).toBe(ids.length);
  });

  test("tells the shape of what is really answered", async () => {
    const asked = new Set<string>();
    /** Asks, and holds the answer against the document. */
    const ask = async (key: string, message: Record<string, unknown> = {}) => {
      const [method, path] = key.split(" ");
      const filled = path.replace(/:(\w+)/g, (_, name: string) => String(message[name])).slice(1);
      const answer =
        method === "GET"
          ? await t.get(filled, message as Record<string, string | string[]>)
          : await t.send(method as "POST", filled, message);
      expect(answer.status, `${key} ${JSON.stringify(answer.body)}`).toBe(200);
      const shape = mlflowOperations[key].answer;
      if (shape) expect([...Value.Errors(shape, answer.body)].map((e) => `${key} ${e.path} ${e.message}`)).toEqual([]);
      asked.add(key);
      return answer;
    };
    const experiment_id = (
      await ask("POST /experiments/create", { name: "told", tags: [{ key: "a", value: "b" }] })
    ).text("experiment_id");
    await ask("POST /experiments/set-experiment-tag", { experiment_id, key: "c", value: "d" });
    await ask("POST /experiments/delete-experiment-tag", { experiment_id, key: "a" });
    await ask("POST /experiments/update", { experiment_id, new_name: "retold" });
    await ask("GET /experiments/get", { experiment_id });
    await ask("GET /experiments/get-by-name", { experiment_name: "retold" });
    for (const way of ["GET", "POST"]) {
      for (const path of ["search", "list"]) await ask(`${way} /experiments/${path}`, { max_results: "1" });
    }

    const created = await ask("POST /runs/create", { experiment_id, run_name: "r", tags: [{ key: "k", value: "v" }] });
    const run_id = created.text("run.info.run_id");
    const point = { key: "loss", value: "NaN", timestamp: 1, step: 1 };
    await ask("POST /runs/log-metric", { run_id, ...point });
    await ask("POST /runs/log-batch", { run_id, metrics: [{ ...point, value: 0.5, step: 2 }] });
    await ask("POST /runs/log-parameter", { run_id, key: "p", value: "1" });
    await ask("POST /runs/set-tag", { run_id, key: "t", value: "1" });
    await ask("POST /runs/delete-tag", { run_id, key: "t" });
    await ask("POST /runs/log-model", { run_id, model_json: "{}" });
    const dataset = { name: "d", digest: "1", source_type: "local", source: "{}", profile: "{}" };
    await ask("POST /runs/log-inputs", {
      run_id,
      datasets: [{ dataset, tags: [{ key: "mlflow.data.context", value: "train" }] }],
    });

    const made = await ask("POST /logged-models", {
      experiment_id,
      name: "m",
      model_type: "anneal",
      source_run_id: run_id,
      params: [{ key: "p", value: "1" }],
      tags: [{ key: "t", value: "1" }],
    });
    const model_id = made.text("model.info.model_id");
    await ask("POST /runs/outputs", { run_id, models: [{ model_id, step: 1 }] });
    await ask("POST /runs/log-batch", {
      run_id,
      metrics: [{ ...point, value: 1, model_id, dataset_name: "d", dataset_digest: "1" }],
    });
    await ask("PATCH /logged-models/:model_id", { model_id, status: "LOGGED_MODEL_READY" });
    await ask("PATCH /logged-models/:model_id/tags", { model_id, tags: [{ key: "u", value: "2" }] });
    await ask("DELETE /logged-models/:model_id/tags/:tag_key", { model_id, tag_key: "u" });
    await ask("POST /logged-models/:model_id/params", { model_id, params: [{ key: "q", value: "2" }] });
    await ask("GET /logged-models/:model_id", { model_id });
    await ask("POST /logged-models/search", { experiment_ids: [experiment_id] });

    const upload = `/api/2.0/mlflow-artifacts/artifacts/${experiment_id}/${run_id}/artifacts/model/config.json`;
    await t.request({
      method: "PUT",
      url: upload,
      payload: "{}",
      headers: { "content-type": "application/octet-stream" },
    });
    await ask("GET /artifacts/list", { run_id, path: "model" });
    await ask("GET /artifacts/list", { run_id });
    await ask("GET /logged-models/:model_id/artifacts/directories", { model_id });

    await ask("GET /runs/get", { run_id });
    await ask("POST /runs/search", { experiment_ids: [experiment_id] });
    await ask("GET /metrics/get-history", { run_id, metric_key: "loss", max_results: "1" });
    await ask("GET /metrics/get-history-bulk", { run_id: [run_id], metric_key: "loss" });
    await ask("GET /metrics/get-history-bulk-interval", { run_ids: [run_id], metric_key: "loss" });
    await ask("POST /runs/update", { run_id, status: "FINISHED", end_time: 5 });

    const name = "told model";
    await ask("POST /registered-models/create", { name, description: "d", tags: [{ key: "t", value: "1" }] });
    await ask("PATCH /registered-models/update", { name, description: "e" });
    await ask("POST /registered-models/set-tag", { name, key: "u", value: "1" });
    await ask("DELETE /registered-models/delete-tag", { name, key: "u" });
    const source = `models:/${model_id}`;
    await ask("POST /model-versions/create", {
      name,
      source,
      run_id,
      model_id,
      description: "v",
      tags: [{ key: "t", value: "1" }],
    });
    const version = "1";
    await ask("POST /registered-models/alias", { name, alias: "best", version });
    await ask("GET /registered-models/alias", { name, alias: "best" });
    await ask("GET /registered-models/get", { name });
    for (const way of ["GET", "POST"]) {
      for (const path of ["search", "list"]) await ask(`${way} /registered-models/${path}`);
      await ask(`${way} /registered-models/get-latest-versions`, { name });
      await ask(`${way} /model-versions/search`);
      await ask(`${way} /experiments/search-datasets`, { experiment_ids: [experiment_id] });
    }
    await ask("GET /model-versions/get", { name, version });
    await ask("GET /model-versions/get-download-uri", { name, version });
    await ask("PATCH /model-versions/update", { name, version, description: "w" });
    await ask("POST /model-versions/set-tag", { name, version, key: "u", value: "1" });
    await ask("DELETE /model-versions/delete-tag", { name, version, key: "u" });
    await ask("POST /model-versions/transition-stage", { name, version, stage: "Staging" });
    await ask("DELETE /registered-models/alias", { name, alias: "best" });
    await ask("DELETE /model-versions/delete", { name, version });
    await ask("POST /registered-models/rename", { name, new_name: "another" });
    await ask("DELETE /registered-models/delete", { name: "another" });
    await ask("DELETE /logged-models/:model_id", { model_id });
    await t.post("/api/3.0/mlflow/traces", {
      trace: { trace_info: { trace_id: "tr-1", trace_location: { mlflow_experiment: { experiment_id } } } },
    });
    await ask("POST /traces/link-to-run", { run_id, trace_ids: ["tr-1"] });
    await ask("POST /runs/delete", { run_id });
    await ask("POST /runs/restore", { run_id });
    const hook = {
      name: "w",
      url: "http://127.0.0.1:9/hook",
      events: [{ entity: "MODEL_VERSION_STAGE", action: "SET" }],
    };
    const { webhook_id } = (await ask("POST /webhooks", hook)).at("webhook") as { webhook_id: string };
    await ask("POST /webhooks/:webhook_id/test", { webhook_id });
    await ask("PATCH /webhooks/:webhook_id", { webhook_id, description: "d" });
    await ask("GET /webhooks/:webhook_id", { webhook_id });
    await ask("GET /webhooks");
    await ask("DELETE /webhooks/:webhook_id", { webhook_id });
    await ask("POST /experiments/delete", { experiment_id });
    await ask("POST /experiments/restore", { experiment_id });
    const left = Object.keys(mlflowOperations).filter((key) => !asked.has(key) && !answersFile(key));
    expect(left).toEqual([]);
  });
});
