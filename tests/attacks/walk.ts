// What the walk over all endpoints needs: things to attack, requests that are generated from the declared schemas, and
// everything that a tracker stores, to see what changed.
import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { Kind, type TSchema } from "@sinclair/typebox";
import Libsql from "libsql";
import { type Endpoint, methodsOf, pathsOf } from "../../tracker/api/endpoints/endpoint.ts";
import { endpoints } from "../../tracker/api/endpoints/index.ts";
import { type AttackedServer, sha256 } from "./server.ts";

/** One of everything, in one experiment and one registered model. */
export interface Things {
  experiment: string;
  experimentName: string;
  run: string;
  loggedModel: string;
  model: string;
  trace: string;
  assessment: string;
  upload: string;
  dataset: string;
  /** What says whom a row of the database belongs to: `run=3`. */
  keys: Set<string>;
}

/** @param content is in every text, file, tag and key that is stored; @param value of every metric */
export async function makeThings(
  { owner, dataDir }: AttackedServer,
  { name, content, value }: { name: string; content: string; value: number },
): Promise<Things> {
  const [experimentName, model] = [`${name}-experiment`, `${name}-model`];
  const tags = [{ key: `${content}-tag`, value: content }];
  const params = [{ key: `${content}-param`, value: content }];
  const experiment = await owner.experiment(experimentName, { tags });
  const run = await owner.run(experiment, { files: { "model/weights": content } });
  await owner.must("POST", "runs/log-batch", {
    run_id: run,
    metrics: ["loss", `${content}-loss`].map((key) => ({ key, value, timestamp: 1, step: 1 })),
    params,
    tags,
  });
  const dataset = { name: content, digest: "1", source_type: "local", source: content, profile: content };
  await owner.must("POST", "runs/log-inputs", { run_id: run, datasets: [{ dataset, tags }] });
  await owner.must("POST", `/api/anneal/runs/${run}/rewinds`, { id: "r1", step: 5 });

  const fields = { experiment_id: experiment, name: content, source_run_id: run, params, tags };
  const loggedModel = (await owner.must("POST", "logged-models", fields)).text("model.info.model_id");
  await owner.must("PATCH", `logged-models/${loggedModel}`, { status: "LOGGED_MODEL_READY" });
  const measured = { key: "loss", value, timestamp: 1, model_id: loggedModel };
  await owner.must("POST", "runs/log-batch", { run_id: run, metrics: [measured] });

  await owner.must("POST", "registered-models/create", { name: model, description: content, tags });
  const source = `runs:/${run}/model`;
  await owner.must("POST", "model-versions/create", { name: model, source, run_id: run, description: content, tags });
  await owner.must("POST", "registered-models/alias", { name: model, alias: "best", version: "1" });
  await owner.must("PUT", `/api/anneal/registered-models/${model}/gates`, {
    gates: [{ metric: `${content}-loss`, op: "<", bound: 1 }],
  });
  await owner.must("PUT", `/api/anneal/model-versions/${model}/1/card`, { license: content });
  const promotion = { name: model, version: "1", stage: "Staging", comment: content };
  await owner.must("POST", "/api/anneal/model-versions/promote", promotion);

  const attributes = [{ key: `${content}-attribute`, value: { stringValue: content } }];
  const traceId = createHash("md5").update(name).digest("hex");
  const span = { traceId, spanId: "00f067aa0ba902b0", name: content, startTimeUnixNano: "1", endTimeUnixNano: "2" };
  const sent = await owner.fetch("/v1/traces", {
    method: "POST",
    body: JSON.stringify({ resourceSpans: [{ scopeSpans: [{ spans: [{ ...span, attributes }] }] }] }),
    headers: { "content-type": "application/json", "x-mlflow-experiment-id": experiment },
  });
  if (sent.status !== 200) throw new Error(await sent.text());
  const trace = `tr-${traceId}`;
  await owner.must("PATCH", `/api/3.0/mlflow/traces/${trace}/tags`, tags[0]);
  const assessed = await owner.must("POST", `/api/3.0/mlflow/traces/${trace}/assessments`, {
    assessment: { assessment_name: content, feedback: { value: content } },
  });
  const made = await owner.must("POST", "/api/3.0/mlflow/datasets/create", {
    name: content,
    experiment_ids: [experiment],
    tags: JSON.stringify({ [`${content}-tag`]: content }),
  });
  const evaluated = made.text("dataset.dataset_id");
  await owner.must("POST", `/api/3.0/mlflow/datasets/${evaluated}/records`, {
    records: JSON.stringify([{ inputs: { question: content }, tags: { [`${content}-tag`]: content } }]),
  });
  await owner.must("POST", "/api/3.0/mlflow/scorers/register", {
    experiment_id: experiment,
    name: content,
    serialized_scorer: JSON.stringify({ instructions: content }),
  });
  const begun = await owner.must("POST", "/api/anneal/artifacts/uploads", {
    path: `${experiment}/${run}/artifacts/large`,
    size: 4,
    sha256: "0".repeat(64),
  });

  const db = new Libsql(join(dataDir, "tracker.db"), { readonly: true });
  const { seq } = db.prepare("SELECT seq FROM runs WHERE run_id = ?").get([run]) as { seq: number };
  const related = (table: string, column: string): string[] =>
    (db.prepare(`SELECT id FROM ${table} WHERE run = ?`).all([seq]) as { id: number }[]).map(
      ({ id }) => `${column}=${id}`,
    );
  const keys = new Set([
    ...related("series", "series"),
    ...related("inputs", "input"),
    `run=${seq}`,
    `run_id=${run}`,
    `experiment_id=${experiment}`,
    `model_id=${loggedModel}`,
    `name=${model}`,
    `name=${experimentName}`,
    `trace_id=${trace}`,
    `dataset_id=${evaluated}`,
  ]);
  db.close();
  const assessment = assessed.text("assessment.assessment_id");
  return {
    experiment,
    experimentName,
    run,
    loggedModel,
    model,
    trace,
    assessment,
    upload: begun.text("upload_id"),
    dataset: evaluated,
    keys,
  };
}

/** All that a tracker has stored: the rows of its database and its files. */
export type Dump = Map<string, { table: string; row: Record<string, unknown> }>;

/** Without the log of refused requests, and when a token was last used. */
export function dumpOf({ dataDir }: AttackedServer): Dump {
  const dump: Dump = new Map();
  const add = (table: string, row: Record<string, unknown>) =>
    dump.set(`${table} ${JSON.stringify(row)}`, { table, row });
  const db = new Libsql(join(dataDir, "tracker.db"), { readonly: true });
  const tables = db.prepare("SELECT name FROM sqlite_master WHERE type = 'table'").all([]) as { name: string }[];
  for (const { name } of tables) {
    if (name === "audit_log" || name.startsWith("sqlite_")) continue;
    for (const { last_used_at, ...row } of db.prepare(`SELECT * FROM ${name}`).all([]) as Record<string, unknown>[])
      add(name, row);
  }
  db.close();
  const root = join(dataDir, "artifacts");
  for (const entry of readdirSync(root, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue;
    const file = join(entry.parentPath, entry.name);
    add("files", { path: file.slice(root.length + 1), sha256: sha256(readFileSync(file, "latin1")) });
  }
  return dump;
}

/** What is in one dump and not in the other. */
export function changes(before: Dump, after: Dump): { table: string; row: Record<string, unknown> }[] {
  const missing = (from: Dump, of: Dump) => [...from].flatMap(([key, it]) => (of.has(key) ? [] : [it]));
  return [...missing(before, after), ...missing(after, before)];
}

/** Whether a row is part of some things: it has their id first, or after its own. */
export function belongsTo(things: Things, { table, row }: { table: string; row: Record<string, unknown> }): boolean {
  // Its name may be that of anything.
  if (table === "evaluation_datasets") return things.keys.has(`dataset_id=${row.id}`);
  if (table === "evaluation_dataset_experiments") {
    return Object.entries(row).some(([column, value]) => things.keys.has(`${column}=${value}`));
  }
  const [first, second] = Object.entries(row);
  if (!first) return false;
  const [column, value] = ["id", "seq"].includes(first[0]) && second ? second : first;
  if (column === "path" || column === "root") return `${value}/`.startsWith(`${things.experiment}/`);
  return things.keys.has(`${column}=${value}`);
}

/** How fields refer to things, whatever the endpoint. */
const REFERENCES: Record<string, (it: Things) => unknown> = {
  experiment_id: (it) => it.experiment,
  experiment_ids: (it) => [it.experiment],
  experiment_name: (it) => it.experimentName,
  run_id: (it) => it.run,
  run_ids: (it) => [it.run],
  run_uuid: (it) => it.run,
  source_run_id: (it) => it.run,
  model_id: (it) => it.loggedModel,
  trace_id: (it) => it.trace,
  request_id: (it) => it.trace,
  trace_ids: (it) => [it.trace],
  request_ids: (it) => [it.trace],
  assessment_id: (it) => it.assessment,
  upload_id: (it) => it.upload,
  dataset_id: (it) => it.dataset,
};
const folderOf = (it: Things): string => `${it.experiment}/${it.run}/artifacts`;
/** How fields of some endpoints refer to things, or what else makes a request sound. The first path that matches counts. */
const OF_PATHS: readonly [path: RegExp, fields: Record<string, (it: Things) => unknown>][] = [
  [
    /registered-models|model-versions/,
    {
      name: (it) => it.model,
      source: (it) => `runs:/${it.run}/model`,
      version: () => "1",
      alias: () => "best",
      stage: () => "Archived",
      gates: () => [{ metric: "loss", op: "<", bound: 1 }],
      license: () => "MIT",
      path: () => "weights",
    },
  ],
  [/rewinds/, { id: () => "r1" }],
  [/artifacts\/parts/, { id: (it) => it.upload, number: () => "1", expires: () => "9999999999" }],
  [
    /mlflow-artifacts\/mpu/,
    { "*": folderOf, path: () => "large", upload_id: (it) => it.upload, parts: () => [{ part_number: 1, etag: "x" }] },
  ],
  [/mlflow-artifacts/, { "*": (it) => `${folderOf(it)}/model/weights`, path: folderOf }],
  [
    /artifacts\/(uploads|copies)/,
    { path: (it) => `${folderOf(it)}/other`, size: () => 6, sha256: () => sha256("hidden"), parts: () => [] },
  ],
  [/artifacts|get-artifact|upload-artifact/, { path: () => "model/weights", artifact_file_path: () => "weights" }],
  [/metrics/, { metric_key: () => "loss" }],
  [/assessments/, { assessment: () => ({ assessment_name: "x", feedback: { value: 1 } }) }],
  [/logged-models\/:model_id$/, { status: () => "LOGGED_MODEL_READY" }],
  [/runs\/log-model/, { model_json: () => "{}" }],
  [/grants/, { user: () => "boss", kind: () => "experiment", target: (it) => it.experiment, role: () => "admin" }],
  [/users|tokens/, { name: () => "boss", user: () => "boss", id: () => "the id of a token" }],
  [/3\.0\/mlflow\/datasets/, { tags: () => '{"k":"v"}', records: () => '[{"inputs":{"question":1}}]' }],
  [
    /graphql/,
    {
      query: (it) =>
        `{ mlflowGetRun(input: {runId: "${it.run}"}) { run { data { tags { key value } } experiment { name } } }
           mlflowSearchRuns(input: {experimentIds: ["${it.experiment}"]}) { runs { data { params { value } } } } }`,
    },
  ],
  [/webhooks/, { url: () => "https://example.com/x", events: () => ["MODEL_VERSION.CREATED"] }],
];

/** A place in a request: names and positions. */
export type Place = string;
/** Returns what a field is to refer to. */
export type Choice = (place: Place) => Things;

/** Returns how a field refers to things; undefined if it does not. */
function referenceOf(path: string, place: Place): ((it: Things) => unknown) | undefined {
  const own = OF_PATHS.find(([pattern]) => pattern.test(path))?.[1];
  return own?.[place] ?? REFERENCES[place.split(".").at(-1) ?? ""];
}

const isOptional = (schema: TSchema): boolean =>
  Object.getOwnPropertySymbols(schema).some((it) => it.description === "TypeBox.Optional");

/** Whether something in a schema refers to a thing. */
function refers(path: string, schema: TSchema, place: Place): boolean {
  if (referenceOf(path, place)) return true;
  if (schema[Kind] === "Array") return refers(path, schema.items, `${place}.0`);
  if (schema[Kind] !== "Object") return false;
  return Object.entries(schema.properties as Record<string, TSchema>).some(([key, it]) =>
    refers(path, it, `${place}.${key}`),
  );
}

/** A sound value of a schema: what is required, and what refers to a thing. */
function valueFor(path: string, schema: TSchema, place: Place, choice: Choice): unknown {
  const reference = referenceOf(path, place);
  if (reference) {
    const value = reference(choice(place));
    return schema[Kind] === "Array" && !Array.isArray(value) ? [value] : value;
  }
  if (schema[Kind] === "Object") return objectOf(path, schema, place, choice);
  if (schema[Kind] === "Array") return [valueFor(path, schema.items, `${place}.0`, choice)];
  if (schema[Kind] === "Union") return valueFor(path, schema.anyOf[0], place, choice);
  if (schema[Kind] === "Literal") return schema.const;
  if (schema[Kind] === "Boolean") return true;
  if (schema[Kind] === "Integer" || schema[Kind] === "Number") return 1;
  if (schema[Kind] === "Record") return {};
  return String(schema.pattern).includes("{64}") ? sha256("hidden") : "x";
}

function objectOf(path: string, schema: TSchema, place: Place, choice: Choice): Record<string, unknown> {
  const fields: Record<string, unknown> = {};
  for (const [key, it] of Object.entries(schema.properties as Record<string, TSchema>)) {
    const inner = place === "" ? key : `${place}.${key}`;
    if (isOptional(it) && !refers(path, it, inner)) continue;
    fields[key] = valueFor(path, it, inner, choice);
  }
  return fields;
}

/** A declared endpoint at one of its addresses. */
export interface Route {
  endpoint: Endpoint;
  method: string;
  path: string;
  /** `method path` */
  name: string;
}

export const routes: readonly Route[] = endpoints.flatMap((endpoint) =>
  pathsOf(endpoint).flatMap((path) =>
    methodsOf(endpoint).map((method) => ({ endpoint, method, path, name: `${method} ${path}` })),
  ),
);
/** Its answer has no end. */
export const isStream = ({ endpoint }: Route): boolean => endpoint.answer === "text/event-stream";

export const messageOf = ({ endpoint, path }: Route, choice: Choice): Record<string, unknown> =>
  objectOf(path, endpoint.request, "", choice);

/** Every field of a request, with the lists and objects that they are in. */
export function placesOf(value: unknown, place = ""): Place[] {
  if (typeof value !== "object" || value === null) return [];
  return Object.entries(value).flatMap(([key, inner]) => {
    const at = place === "" ? key : `${place}.${key}`;
    return [at, ...placesOf(inner, at)];
  });
}

/** The fields of a request that refer to things. */
export const referencesOf = (route: Route): Place[] => {
  const places = new Set<Place>();
  messageOf(route, (place) => {
    places.add(place);
    return NOTHING;
  });
  return [...places].filter((place) => JSON.stringify(referenceOf(route.path, place)?.(NOTHING))?.includes("nothing"));
};

/** What does not exist. */
export const NOTHING: Things = {
  experiment: "nothing",
  experimentName: "nothing-experiment",
  run: "nothing-run",
  loggedModel: "m-nothing",
  model: "nothing-model",
  trace: "tr-nothing",
  assessment: "a-nothing",
  upload: "nothing-upload",
  dataset: "d-nothing",
  keys: new Set(),
};

/** A copy of a request with another value at a place. */
export function replaced(message: Record<string, unknown>, place: Place, value: unknown): Record<string, unknown> {
  const copy = structuredClone(message);
  const steps = place.split(".");
  const last = steps.pop() ?? "";
  let inner: unknown = copy;
  for (const step of steps) inner = Reflect.get(Object(inner), step);
  Object.defineProperty(inner, last, { value, enumerable: true, configurable: true, writable: true });
  return copy;
}

const inAddress = (value: unknown): string =>
  encodeURIComponent(
    (typeof value === "object" ? JSON.stringify(value) : String(value)).replace(/[\ud800-\udfff]/g, "x"),
  );

/** A request as it is sent. */
export function requestOf(
  { endpoint, method, path }: Route,
  message: Record<string, unknown>,
): { address: string; options: RequestInit } {
  const url = path.replace(/:(\w+)|\*/g, (all, field: string) =>
    all === "*" ? inAddress(message["*"]).replaceAll("%2F", "/") : inAddress(message[field]),
  );
  const steps = path.split("/");
  const others = Object.entries(message).filter(([field]) => !steps.includes(`:${field}`) && field !== "*");
  const inQuery = method === "GET" || endpoint.body !== undefined;
  const query = inQuery
    ? others.flatMap(([field, value]) => [value].flat().map((one) => `${encodeURIComponent(field)}=${inAddress(one)}`))
    : [];
  const headers = { "content-type": endpoint.body ?? "application/json" };
  const body = endpoint.body ? "planted" : JSON.stringify(Object.fromEntries(others));
  return {
    address: query.length > 0 ? `${url}?${query.join("&")}` : url,
    options: { method, headers, ...(method === "GET" ? {} : { body }) },
  };
}
