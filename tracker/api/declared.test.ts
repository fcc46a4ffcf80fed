// Each declared endpoint, called as it is declared: it answers what it declares, to whoever has the declared right, and to
// nobody who has one role less.
import { createHash } from "node:crypto";
import { Value } from "@sinclair/typebox/value";
import Fastify, { type FastifyInstance } from "fastify";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Principal } from "../access/principal.ts";
import type { Grant, GrantKind, Role, Scope } from "../store/types.ts";
import { type Answer, answer, TestTracker } from "../testing.ts";
import { type Endpoint, methodsOf, pathsOf, type RoleRight, rolesOf } from "./endpoints/endpoint.ts";
import { endpoints } from "./endpoints/index.ts";
import { deleteRun } from "./endpoints/runs.ts";
import { trackerPlugin } from "./plugin.ts";
import { refusals } from "./rights.ts";
import { route } from "./route.ts";

const declared = new Map<string, Endpoint>(
  endpoints.flatMap((it) =>
    pathsOf(it).flatMap((path) => methodsOf(it).map((method) => [`${method} ${path}`, it] as const)),
  ),
);
/** Its answer has no end; events.test.ts reads it. */
const STREAM = "GET /api/anneal/events";

let t: TestTracker;
let app: FastifyInstance;
/** In whose name the next request is made. */
let principal: Principal | undefined;
const routes: string[] = [];
const called = new Set<string>();
/** What there is to have a role for. */
const known = { experiments: [] as string[], model: "told model" };

beforeAll(async () => {
  t = await TestTracker.open({ allowPrivateWebhooks: true });
  for (const name of ["ada", "bob"]) await t.tracker.store.access.createUser({ name, role: "viewer" });
  app = Fastify({ routerOptions: { maxParamLength: 4096 } });
  app.decorateRequest("principal", undefined);
  app.addHook("onRequest", async (request) => {
    request.principal = principal;
  });
  app.addHook("onRoute", ({ method, url, config }) => {
    if (config?.endpoint) routes.push(...[method].flat().map((one) => `${one} ${url}`));
  });
  await app.register(trackerPlugin, { tracker: t.tracker });
  await app.ready();
});
afterAll(async () => {
  await app.close();
  await t.close();
});

/** A user with these roles for the tracker, and for every experiment and model that there is. */
function user(of: { tracker: Role; experiment?: Role; model?: Role; scope?: Scope }): Principal {
  const grant = (kind: GrantKind, target: string, role?: Role): Grant[] =>
    role === undefined ? [] : [{ user: "ada", kind, target, role }];
  const grants = [
    ...known.experiments.flatMap((target) => grant("experiment", target, of.experiment)),
    ...grant("model", known.model, of.model),
  ];
  return new Principal({ name: "ada", role: of.tracker, scope: of.scope ?? "admin", grants });
}

/** A user with what the roles say, and nothing else. */
function sufficient(roles: readonly RoleRight[]): Principal {
  const roleFor = (...of: RoleRight["of"][]): Role | undefined => roles.find((it) => of.includes(it.of))?.role;
  return user({
    tracker: roleFor("tracker") ?? "none",
    experiment: roleFor("experiment", "target"),
    model: roleFor("model"),
  });
}

/** A user with everything, but for one role, of which they have the one below; none where there is no such user. */
function insufficient({ role, of }: RoleRight): Principal | undefined {
  const below = ({ viewer: "none", editor: "viewer", admin: "editor" } as const)[role];
  const all = { tracker: "admin", experiment: "admin", model: "admin" } as const;
  if (of === "target") return user({ tracker: below, experiment: below, model: below });
  if (of !== "account") return user({ ...all, [of]: below });
  return role === "viewer" ? undefined : user({ ...all, scope: role === "admin" ? "write" : "read" });
}

interface Options {
  body?: string;
  headers?: Record<string, string>;
}

async function send(name: string, message: Record<string, unknown>, { body, headers }: Options = {}) {
  const endpoint = declared.get(name);
  if (!endpoint) throw new Error(`${name} is not declared`);
  const [method, path] = name.split(" ");
  const url = path.replace(/:(\w+)|\*/g, (all, field: string) =>
    all === "*" ? String(message["*"]) : encodeURIComponent(String(message[field])),
  );
  const inQuery = method === "GET" || endpoint.body !== undefined;
  const query = Object.fromEntries(
    Object.entries(message).filter(([field]) => !path.includes(`:${field}`) && field !== "*"),
  ) as Record<string, string | string[]>;
  const {
    statusCode,
    body: text,
    headers: answered,
  } = await app.inject({
    method: method as "GET",
    url,
    ...(inQuery ? { query } : {}),
    ...(method === "GET" ? {} : { payload: body ?? JSON.stringify(message) }),
    headers: { "content-type": endpoint.body ?? "application/json", ...headers },
  });
  return { status: statusCode, text, type: String(answered["content-type"]) };
}

const shown = () => ({ experiment_id: known.experiments[0], model: known.model });
/** The reason that the pages show for a user who may not use an endpoint. */
const reasonFor = (name: string, who: Principal): string | undefined => refusals(who, shown())[name];

/** Calls an endpoint as users who may not, then as one who may, and checks the answers. */
async function ask(name: string, message: Record<string, unknown> = {}, options?: Options): Promise<Answer> {
  const endpoint = declared.get(name);
  if (!endpoint) throw new Error(`${name} is not declared`);
  const roles = rolesOf(endpoint);
  for (const role of roles) {
    principal = insufficient(role);
    if (!principal) continue;
    const refused = await send(name, message, options);
    expect([name, role, refused.status, refused.text]).toEqual([
      name,
      role,
      403,
      expect.stringContaining("PERMISSION_DENIED"),
    ]);
    // The file of one upload is in no folder of an experiment but named as one, which the pages do not show.
    const reason = String(JSON.parse(refused.text).message).replace("experiment 0", "experiment 1");
    expect([name, role, reasonFor(name, principal)]).toEqual([name, role, reason]);
  }
  const open = endpoint.right === "public" || endpoint.right === "signature";
  principal = open ? undefined : sufficient(roles);
  if (endpoint.right === "filtered") {
    const empty = await send(name, message, options);
    expect([name, empty.status, empty.text.includes("told")]).toEqual([name, 200, false]);
    principal = user({ tracker: "none", experiment: "viewer", model: "viewer" });
  }
  const { status, text, type } = await send(name, message, options);
  expect([name, status, status === 200 ? "" : text]).toEqual([name, 200, ""]);
  if (endpoint.right === "filtered") expect([name, text.includes("told")]).toEqual([name, true]);
  if (principal) expect([name, reasonFor(name, principal)]).toEqual([name, undefined]);
  called.add(name);
  if (typeof endpoint.answer === "string") return answer(status, "{}");
  expect(type).toContain("application/json");
  const found = answer(status, text);
  expect([...Value.Errors(endpoint.answer, found.body)].map((e) => `${name} ${e.path} ${e.message}`)).toEqual([]);
  return found;
}

test("an answer that is not the declared one does not compile", () => {
  const scope = Fastify();
  expect(() => {
    // @ts-expect-error: it is declared that nothing is answered.
    route(scope, deleteRun, async () => ({ deleted: true }));
  }).toThrow("None of the paths /api/2.0/mlflow/runs/delete is under ''");
});

test("every declared endpoint is served, and nothing else of the API", () => {
  const mirror = (name: string): string => name.replace(" /ajax-api/", " /api/");
  for (const name of declared.keys()) expect(routes).toContain(name);
  const undeclared = routes.filter(
    (name) => !name.startsWith("HEAD") && !declared.has(name) && !declared.has(mirror(name)),
  );
  expect(undeclared).toEqual([]);
});

describe("each answers what it declares, and only whom it declares", () => {
  let experiment_id: string;
  let run_id: string;
  let model_id: string;

  test("experiments", async () => {
    const made = await ask("POST /api/2.0/mlflow/experiments/create", {
      name: "told",
      tags: [{ key: "a", value: "b" }],
    });
    experiment_id = made.text("experiment_id");
    known.experiments.push(experiment_id);
    await ask("POST /api/2.0/mlflow/experiments/set-experiment-tag", { experiment_id, key: "c", value: "d" });
    await ask("POST /api/2.0/mlflow/experiments/delete-experiment-tag", { experiment_id, key: "a" });
    await ask("POST /api/2.0/mlflow/experiments/update", { experiment_id, new_name: "retold" });
    await ask("GET /api/2.0/mlflow/experiments/get", { experiment_id });
    await ask("GET /api/2.0/mlflow/experiments/get-by-name", { experiment_name: "retold" });
    const query = `{ mlflowGetExperiment(input: {experimentId: "${experiment_id}"}) { experiment { name } } }`;
    await ask("POST /graphql", { query });
    for (const way of ["GET", "POST"]) {
      for (const path of ["search", "list"])
        await ask(`${way} /api/2.0/mlflow/experiments/${path}`, { max_results: "1" });
    }
  });

  test("runs and logged models", async () => {
    const created = await ask("POST /api/2.0/mlflow/runs/create", {
      experiment_id,
      run_name: "told run",
      tags: [{ key: "k", value: "v" }],
    });
    run_id = created.text("run.info.run_id");
    const point = { key: "told/loss", value: "NaN", timestamp: 1, step: 1 };
    await ask("POST /api/2.0/mlflow/runs/log-metric", { run_id, ...point });
    await ask("POST /api/2.0/mlflow/runs/log-batch", { run_id, metrics: [{ ...point, value: 0.5, step: 2 }] });
    await ask("POST /api/2.0/mlflow/runs/log-parameter", { run_id, key: "told p", value: "1" });
    await ask("POST /api/2.0/mlflow/runs/set-tag", { run_id, key: "t", value: "1" });
    await ask("POST /api/2.0/mlflow/runs/delete-tag", { run_id, key: "t" });
    await ask("POST /api/2.0/mlflow/runs/log-model", { run_id, model_json: "{}" });
    const dataset = { name: "told d", digest: "1", source_type: "local", source: "{}", profile: "{}" };
    await ask("POST /api/2.0/mlflow/runs/log-inputs", {
      run_id,
      datasets: [{ dataset, tags: [{ key: "mlflow.data.context", value: "train" }] }],
    });

    const made = await ask("POST /api/2.0/mlflow/logged-models", {
      experiment_id,
      name: "told m",
      model_type: "anneal",
      source_run_id: run_id,
      params: [{ key: "told p", value: "1" }],
      tags: [{ key: "t", value: "1" }],
    });
    model_id = made.text("model.info.model_id");
    await ask("POST /api/2.0/mlflow/runs/outputs", { run_id, models: [{ model_id, step: 1 }] });
    await ask("POST /api/2.0/mlflow/runs/log-batch", {
      run_id,
      metrics: [{ ...point, value: 1, model_id, dataset_name: "told d", dataset_digest: "1" }],
    });
    await ask("PATCH /api/2.0/mlflow/logged-models/:model_id", { model_id, status: "LOGGED_MODEL_READY" });
    await ask("PATCH /api/2.0/mlflow/logged-models/:model_id/tags", { model_id, tags: [{ key: "u", value: "2" }] });
    await ask("DELETE /api/2.0/mlflow/logged-models/:model_id/tags/:tag_key", { model_id, tag_key: "u" });
    await ask("POST /api/2.0/mlflow/logged-models/:model_id/params", { model_id, params: [{ key: "q", value: "2" }] });
    await ask("GET /api/2.0/mlflow/logged-models/:model_id", { model_id });
    await ask("POST /api/2.0/mlflow/logged-models/search", { experiment_ids: [experiment_id] });

    await ask("GET /api/2.0/mlflow/runs/get", { run_id });
    await ask("POST /api/2.0/mlflow/runs/search", { experiment_ids: [experiment_id] });
    await ask("GET /api/2.0/mlflow/metrics/get-history", { run_id, metric_key: "told/loss", max_results: "1" });
    await ask("GET /api/2.0/mlflow/metrics/get-history-bulk", { run_id: [run_id], metric_key: "told/loss" });
    await ask("GET /api/2.0/mlflow/metrics/get-history-bulk-interval", { run_ids: [run_id], metric_key: "told/loss" });
    await ask("POST /api/anneal/runs/:run_id/heartbeat", { run_id });
    await ask("POST /api/anneal/runs/:run_id/rewinds", { run_id, id: "r1", step: 0, time: 1 });
    await ask("GET /api/anneal/runs/:run_id/rewinds", { run_id });
    await ask("GET /api/anneal/runs/:run_id/rewinds/:id", { run_id, id: "r1" });
    await ask("POST /api/2.0/mlflow/runs/update", { run_id, status: "FINISHED", end_time: 5 });

    await ask("POST /api/2.0/mlflow/runs/delete", { run_id });
    await ask("POST /api/2.0/mlflow/runs/restore", { run_id });
    for (const way of ["GET", "POST"]) {
      await ask(`${way} /api/2.0/mlflow/experiments/search-datasets`, { experiment_ids: [experiment_id] });
    }
    await ask("POST /api/anneal/runs/table", { experiment_ids: [experiment_id], metrics: ["told/loss"] });
    await ask("GET /api/anneal/experiments");
    await ask("GET /api/anneal/experiments/keys", { experiment_ids: [experiment_id] });
  });

  test("artifacts", async () => {
    const folder = `${experiment_id}/${run_id}/artifacts`;
    const file = `${folder}/model/config.json`;
    const bytes = { body: "{}" };
    await ask("PUT /api/2.0/mlflow-artifacts/artifacts/*", { "*": file }, bytes);
    await ask("GET /api/2.0/mlflow-artifacts/artifacts/*", { "*": file });
    await ask("GET /api/2.0/mlflow-artifacts/artifacts", { path: folder });
    await ask("POST /ajax-api/2.0/mlflow/upload-artifact", { run_uuid: run_id, path: "told.json" }, bytes);
    for (const root of ["", "/api/2.0/mlflow"]) await ask(`GET ${root}/get-artifact`, { run_id, path: "told.json" });
    await ask("GET /api/2.0/mlflow/artifacts/list", { run_id, path: "model" });
    await ask("GET /api/2.0/mlflow/artifacts/list", { run_id });
    await ask("GET /api/2.0/mlflow/logged-models/:model_id/artifacts/directories", { model_id });

    const { model } = (await t.get(`logged-models/${model_id}`)).body as { model: { info: { artifact_uri: string } } };
    const place = model.info.artifact_uri.replace("mlflow-artifacts:/", "");
    await ask("PUT /api/2.0/mlflow-artifacts/artifacts/*", { "*": `${place}/MLmodel` }, bytes);
    await ask("GET /api/2.0/mlflow/logged-models/:model_id/artifacts/files", {
      model_id,
      artifact_file_path: "MLmodel",
    });

    // Without a folder in its address, an upload goes to the root: here to a file that is named as an experiment.
    known.experiments.push("0");
    for (const [end, at] of [
      ["/*", { "*": folder, path: "part.bin" }],
      ["", { path: "0" }],
    ] as const) {
      const mpu = "POST /api/2.0/mlflow-artifacts/mpu";
      const begun = await ask(`${mpu}/create${end}`, { ...at, num_parts: 1 });
      const upload_id = begun.text("upload_id");
      const etag = await put(begun.text("credentials.0.url"), "bytes");
      await ask(`${mpu}/complete${end}`, { ...at, upload_id, parts: [{ part_number: 1, etag }] });
      const again = (await ask(`${mpu}/create${end}`, { ...at, num_parts: 1 })).text("upload_id");
      await ask(`${mpu}/abort${end}`, { ...at, upload_id: again });
    }

    const content = "the file";
    const sha256 = createHash("sha256").update(content).digest("hex");
    const upload = { path: `${folder}/large`, size: content.length, sha256 };
    const begun = await ask("POST /api/anneal/artifacts/uploads", upload);
    const upload_id = begun.text("upload_id");
    const etag = await put(begun.text("parts.0.url"), content);
    const parts = [{ part_number: 1, etag }];
    await ask("POST /api/anneal/artifacts/uploads/:upload_id/complete", { ...upload, upload_id, parts });
    await ask("POST /api/anneal/artifacts/uploads", upload);
    await ask("POST /api/anneal/artifacts/copies", { ...upload, path: `${folder}/copy` });
    const other = { ...upload, path: `${folder}/other` };
    const aborted = (await ask("POST /api/anneal/artifacts/uploads", other)).text("upload_id");
    await ask("DELETE /api/anneal/artifacts/uploads/:upload_id", { upload_id: aborted });
    await ask("DELETE /api/2.0/mlflow-artifacts/artifacts/*", { "*": `${folder}/copy` });
  });

  /** Sends a part to its signed address. @returns its etag */
  async function put(address: string, body: string): Promise<string> {
    const { pathname, searchParams } = new URL(address, "http://anneal");
    const [id, number] = pathname.split("/").slice(-2);
    const message = { id, number, ...Object.fromEntries(searchParams) };
    await ask("PUT /api/anneal/artifacts/parts/:id/:number", message, { body });
    const again = await app.inject({
      method: "PUT",
      url: pathname + new URL(address, "http://anneal").search,
      payload: body,
    });
    return String(again.headers.etag).replaceAll('"', "");
  }

  test("the registry", async () => {
    const name = "told model";
    await ask("POST /api/2.0/mlflow/registered-models/create", {
      name,
      description: "d",
      tags: [{ key: "t", value: "1" }],
    });
    await ask("PATCH /api/2.0/mlflow/registered-models/update", { name, description: "e" });
    await ask("POST /api/2.0/mlflow/registered-models/set-tag", { name, key: "u", value: "1" });
    await ask("DELETE /api/2.0/mlflow/registered-models/delete-tag", { name, key: "u" });
    const source = `models:/${model_id}`;
    await ask("POST /api/2.0/mlflow/model-versions/create", {
      name,
      source,
      run_id,
      model_id,
      description: "v",
      tags: [{ key: "t", value: "1" }],
    });
    const version = "1";
    await ask("POST /api/2.0/mlflow/registered-models/alias", { name, alias: "best", version });
    await ask("GET /api/2.0/mlflow/registered-models/alias", { name, alias: "best" });
    await ask("GET /api/2.0/mlflow/registered-models/get", { name });
    for (const way of ["GET", "POST"]) {
      for (const path of ["search", "list"]) await ask(`${way} /api/2.0/mlflow/registered-models/${path}`);
      await ask(`${way} /api/2.0/mlflow/registered-models/get-latest-versions`, { name });
      await ask(`${way} /api/2.0/mlflow/model-versions/search`);
      await ask(`${way} /api/2.0/mlflow/experiments/search-datasets`, { experiment_ids: [experiment_id] });
    }
    await ask("GET /api/2.0/mlflow/model-versions/get", { name, version });
    await ask("GET /api/2.0/mlflow/model-versions/get-download-uri", { name, version });
    await ask("PATCH /api/2.0/mlflow/model-versions/update", { name, version, description: "w" });
    await ask("POST /api/2.0/mlflow/model-versions/set-tag", { name, version, key: "u", value: "1" });
    await ask("DELETE /api/2.0/mlflow/model-versions/delete-tag", { name, version, key: "u" });
    await ask("POST /api/2.0/mlflow/model-versions/transition-stage", { name, version, stage: "Staging" });
    for (const root of ["", "/api/2.0/mlflow"]) {
      await ask(`GET ${root}/model-versions/get-artifact`, { name, version, path: "MLmodel" });
    }
    await ask("PUT /api/anneal/registered-models/:name/gates", {
      name,
      gates: [{ metric: "told/loss", op: "<", bound: 9 }],
    });
    await ask("GET /api/anneal/registered-models/:name/gates", { name });
    await ask("GET /api/anneal/model-versions/:name/:version/gates", { name, version });
    await ask("POST /api/anneal/model-versions/promote", { name, version, stage: "Archived", comment: "old" });
    await ask("GET /api/anneal/registered-models/:name/history", { name });
    await ask("PUT /api/anneal/model-versions/:name/:version/card", { name, version, license: "MIT" });
    await ask("GET /api/anneal/model-versions/:name/:version/card", { name, version });
    await ask("DELETE /api/2.0/mlflow/registered-models/alias", { name, alias: "best" });
    await ask("DELETE /api/2.0/mlflow/model-versions/delete", { name, version });
    await ask("POST /api/2.0/mlflow/registered-models/rename", { name, new_name: "retold model" });
    known.model = "retold model";
    await ask("DELETE /api/2.0/mlflow/registered-models/delete", { name: "retold model" });
    await ask("DELETE /api/2.0/mlflow/logged-models/:model_id", { model_id });
  });

  test("traces", async () => {
    const v3 = "/api/3.0/mlflow/traces";
    const trace_info = {
      trace_id: "tr-told",
      trace_location: { mlflow_experiment: { experiment_id } },
      request_time: "2026-01-01T00:00:00Z",
      execution_duration: "1.5s",
      state: "OK",
      request_preview: "q",
      response_preview: "a",
      tags: { a: "b" },
    };
    await ask(`POST ${v3}`, { trace: { trace_info } });
    const value = { stringValue: "x" };
    const span = {
      traceId: "0af7651916cd43dd8448eb211c80319c",
      spanId: "00f067aa0ba902b0",
      name: "told",
      startTimeUnixNano: "1",
      endTimeUnixNano: "2",
      attributes: [{ key: "k", value }],
      events: [{ name: "e", timeUnixNano: "1", attributes: [{ key: "k", value }] }],
    };
    await ask(
      "POST /v1/traces",
      {},
      {
        body: JSON.stringify({ resourceSpans: [{ scopeSpans: [{ spans: [span] }] }] }),
        headers: { "content-type": "application/json", "x-mlflow-experiment-id": experiment_id },
      },
    );
    const trace_id = `tr-${span.traceId}`;
    await ask("GET /api/3.0/mlflow/traces/get", { trace_id });
    await ask("GET /api/3.0/mlflow/traces/batchGet", { trace_ids: ["tr-told", trace_id] });
    await ask("GET /api/anneal/traces/:trace_id", { trace_id });
    const assessment = { assessment_name: "good", feedback: { value: 1 }, rationale: "short" };
    const made = await ask(`POST ${v3}/:trace_id/assessments`, { trace_id, assessment });
    const one = { trace_id, assessment_id: made.text("assessment.assessment_id") };
    await ask(`GET ${v3}/:trace_id/assessments/:assessment_id`, one);
    await ask(`PATCH ${v3}/:trace_id/assessments/:assessment_id`, { ...one, assessment: { rationale: "long" } });
    await ask(`GET ${v3}/:trace_id`, { trace_id });
    await ask(`DELETE ${v3}/:trace_id/assessments/:assessment_id`, one);
    await ask(`PATCH ${v3}/:trace_id/tags`, { trace_id, key: "k", value: "v" });
    await ask(`DELETE ${v3}/:trace_id/tags`, { trace_id, key: "k" });
    await ask(`POST ${v3}/search`, { experiment_ids: [experiment_id] });
    await ask(`POST ${v3}/calculate-filter-correlation`, {
      experiment_ids: [experiment_id],
      filter_string1: "status = 'OK'",
      filter_string2: "tags.a = 'b'",
    });
    const v2 = "/api/2.0/mlflow/traces";
    await ask(`POST ${v2}/link-to-run`, { run_id, trace_ids: [trace_id] });
    await ask(`POST ${v2}/link-prompts`, { trace_id, prompt_versions: [{ name: "p", version: "1" }] });
    await ask("GET /api/2.0/mlflow/get-trace-artifact", { request_id: trace_id });
    await ask(`POST ${v3}/delete-traces`, { experiment_id, trace_ids: [trace_id] });

    const begun = { experiment_id, timestamp_ms: 1, tags: [{ key: "told", value: "2" }] };
    const request_id = (await ask(`POST ${v2}`, begun)).text("trace_info.request_id");
    await ask(`PATCH ${v2}/:request_id`, { request_id, timestamp_ms: "5", status: "OK" });
    await ask(`PATCH ${v2}/:request_id/tags`, { request_id, key: "k", value: "v" });
    await ask(`DELETE ${v2}/:request_id/tags`, { request_id, key: "k" });
    await ask(`GET ${v2}/:request_id/info`, { request_id });
    await ask(`GET ${v2}`, { experiment_ids: [experiment_id] });
    await ask(`POST ${v2}/delete-traces`, { experiment_id, request_ids: [request_id] });
  });

  test("data sets for evaluation, and scorers", async () => {
    const of = "/api/3.0/mlflow/datasets";
    const created = await ask(`POST ${of}/create`, { name: "told set", experiment_ids: [experiment_id], tags: "{}" });
    const dataset_id = created.text("dataset.dataset_id");
    for (const way of ["GET", "POST"]) await ask(`${way} ${of}/search`);
    await ask(`GET ${of}/:dataset_id`, { dataset_id });
    await ask(`PATCH ${of}/:dataset_id/tags`, { dataset_id, tags: '{"a": "b"}' });
    await ask(`DELETE ${of}/:dataset_id/tags/:key`, { dataset_id, key: "a" });
    const records = JSON.stringify([{ inputs: { q: 1 }, expectations: { a: "x" } }]);
    await ask(`POST ${of}/:dataset_id/records`, { dataset_id, records });
    await ask(`GET ${of}/:dataset_id/records`, { dataset_id });
    await ask(`DELETE ${of}/:dataset_id/records`, { dataset_id, dataset_record_ids: ["dr-1"] });
    await ask(`GET ${of}/:dataset_id/experiment-ids`, { dataset_id });
    await ask(`POST ${of}/:dataset_id/add-experiments`, { dataset_id, experiment_ids: [experiment_id] });
    await ask(`POST ${of}/:dataset_id/remove-experiments`, { dataset_id, experiment_ids: ["0"] });
    await ask(`DELETE ${of}/:dataset_id`, { dataset_id });

    const scorers = "/api/3.0/mlflow/scorers";
    const named = { experiment_id, name: "told scorer" };
    await ask(`POST ${scorers}/register`, { ...named, serialized_scorer: "{}" });
    await ask(`GET ${scorers}/list`, { experiment_id });
    await ask(`GET ${scorers}/versions`, named);
    await ask(`GET ${scorers}/get`, named);
    await ask(`DELETE ${scorers}/delete`, { ...named, version: 1 });
  });

  test("accounts, webhooks and the server itself", async () => {
    await ask("GET /api/anneal/me");
    await ask("GET /api/anneal/permissions", { experiment_id });
    await ask("POST /api/anneal/users", { name: "cy", role: "editor" });
    await ask("PATCH /api/anneal/users/:name", { name: "cy", disabled: true });
    await ask("GET /api/anneal/users");
    await ask("DELETE /api/anneal/users/:name", { name: "cy" });
    const { id } = (await ask("POST /api/anneal/tokens", { label: "laptop" })).body;
    await ask("GET /api/anneal/tokens", { user: "ada" });
    await ask("DELETE /api/anneal/tokens/:id", { id });
    const grant = { user: "bob", kind: "experiment", target: experiment_id };
    await ask("PUT /api/anneal/grants", { ...grant, role: "viewer" });
    await ask("GET /api/anneal/grants", { user: "ada" });
    await ask("DELETE /api/anneal/grants", grant);
    await ask("GET /api/anneal/audit");
    const hook = {
      name: "w",
      url: "http://127.0.0.1:9/hook",
      events: [{ entity: "MODEL_VERSION_STAGE", action: "SET" }],
    };
    const { webhook_id } = (await ask("POST /api/2.0/mlflow/webhooks", hook)).at("webhook") as { webhook_id: string };
    await ask("POST /api/2.0/mlflow/webhooks/:webhook_id/test", { webhook_id });
    await ask("PATCH /api/2.0/mlflow/webhooks/:webhook_id", { webhook_id, description: "d" });
    await ask("GET /api/2.0/mlflow/webhooks/:webhook_id", { webhook_id });
    await ask("GET /api/2.0/mlflow/webhooks");
    await ask("DELETE /api/2.0/mlflow/webhooks/:webhook_id", { webhook_id });
    for (const path of ["/health", "/version", "/api/openapi.json", "/api/3.0/mlflow/server-info"])
      await ask(`GET ${path}`);
    await ask("POST /api/2.0/mlflow/experiments/delete", { experiment_id });
    await ask("POST /api/2.0/mlflow/experiments/restore", { experiment_id });
  });

  test("and none was left out", () => {
    expect([...declared.keys()].filter((name) => !called.has(name))).toEqual([STREAM]);
  });

  test("another's account is an admin's of the tracker", async () => {
    for (const [tracker, status] of [
      ["editor", 403],
      ["admin", 200],
    ] as const) {
      principal = user({ tracker, experiment: "admin", model: "admin" });
      expect((await send("GET /api/anneal/tokens", { user: "bob" })).status).toBe(status);
      expect((await send("POST /api/anneal/tokens", { user: "bob", label: "x" })).status).toBe(status);
      expect((await send("GET /api/anneal/grants", { user: "bob" })).status).toBe(status);
    }
  });
});
