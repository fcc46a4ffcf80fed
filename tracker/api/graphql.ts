import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import { invalid, TrackerError } from "../errors.ts";
import { parseMessage } from "../message.ts";
import { inTurn } from "../turn.ts";
import { listArtifacts } from "./endpoints/artifacts.ts";
import type { Endpoint } from "./endpoints/endpoint.ts";
import { getExperiment, searchDatasets } from "./endpoints/experiments.ts";
import { queryGraphql } from "./endpoints/graphql.ts";
import { getMetricSample } from "./endpoints/metrics.ts";
import { searchVersions } from "./endpoints/registry.ts";
import { getRun, searchRuns } from "./endpoints/runs.ts";
import { type Document, type Operation, parseQuery, type Selection, type Variables } from "./graphql-text.ts";
import { JsonText } from "./json-text.ts";
import { route } from "./route.ts";

/*
 * The GraphQL queries of MLflow's pages. Each field of a query is answered by the endpoint of MLflow's REST protocol with
 * the same request, so it needs the same rights; only the names are written in another way, and long numbers as texts.
 */

type Row = Record<string, unknown>;

/** MLflow's limits for a query. */
const MAX = { roots: 10, aliases: 10, depth: 10, selections: 1000 };
/** Items of one answer: with its nested objects, each costs several queries of the store. */
const MAX_RUNS = 200;
const MAX_VERSIONS = 1000;
/** Characters of an answer, after which no further field is answered. */
const MAX_ANSWER = 8_000_000;
/** Items that are written at once. */
const PIECE = 100;

const PAIR = { key: "String", value: "String" };
const METRIC = {
  key: "String",
  value: "Float",
  timestamp: "LongString",
  step: "LongString",
  runId: "String",
  modelId: "String",
  datasetName: "String",
  datasetDigest: "String",
};
const API_ERROR = { apiError: "ApiError" };

/** The fields of each type, with their types. `[]` marks a list. */
const TYPES: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  ApiError: { code: "String", message: "String", helpUrl: "String", traceId: "String" },
  Test: { output: "String" },
  MlflowGetExperimentResponse: { experiment: "MlflowExperiment", ...API_ERROR },
  MlflowExperiment: {
    experimentId: "String",
    name: "String",
    artifactLocation: "String",
    lifecycleStage: "String",
    lastUpdateTime: "LongString",
    creationTime: "LongString",
    tags: "MlflowExperimentTag[]",
  },
  MlflowExperimentTag: PAIR,
  MlflowGetMetricHistoryBulkIntervalResponse: { metrics: "MlflowMetricWithRunId[]", ...API_ERROR },
  MlflowMetricWithRunId: METRIC,
  MlflowGetRunResponse: { run: "MlflowRunExtension", ...API_ERROR },
  MlflowRunExtension: {
    info: "MlflowRunInfo",
    data: "MlflowRunData",
    inputs: "MlflowRunInputs",
    outputs: "MlflowRunOutputs",
    experiment: "MlflowExperiment",
    modelVersions: "MlflowModelVersion[]",
  },
  MlflowRunInfo: {
    runId: "String",
    runUuid: "String",
    runName: "String",
    experimentId: "String",
    userId: "String",
    status: "String",
    startTime: "LongString",
    endTime: "LongString",
    artifactUri: "String",
    lifecycleStage: "String",
  },
  MlflowRunData: { metrics: "MlflowMetric[]", params: "MlflowParam[]", tags: "MlflowRunTag[]" },
  MlflowMetric: METRIC,
  MlflowParam: PAIR,
  MlflowRunTag: PAIR,
  MlflowRunInputs: { datasetInputs: "MlflowDatasetInput[]", modelInputs: "MlflowModelInput[]" },
  MlflowRunOutputs: { modelOutputs: "MlflowModelOutput[]" },
  MlflowModelInput: { modelId: "String" },
  MlflowModelOutput: { modelId: "String", step: "LongString" },
  MlflowDatasetInput: { tags: "MlflowInputTag[]", dataset: "MlflowDataset" },
  MlflowInputTag: PAIR,
  MlflowDataset: {
    name: "String",
    digest: "String",
    sourceType: "String",
    source: "String",
    schema: "String",
    profile: "String",
  },
  MlflowModelVersion: {
    name: "String",
    version: "String",
    creationTimestamp: "LongString",
    lastUpdatedTimestamp: "LongString",
    userId: "String",
    currentStage: "String",
    description: "String",
    source: "String",
    runId: "String",
    status: "String",
    statusMessage: "String",
    tags: "MlflowModelVersionTag[]",
    runLink: "String",
    aliases: "String[]",
    modelId: "String",
  },
  MlflowModelVersionTag: PAIR,
  MlflowListArtifactsResponse: {
    rootUri: "String",
    files: "MlflowFileInfo[]",
    nextPageToken: "String",
    ...API_ERROR,
  },
  MlflowFileInfo: { path: "String", isDir: "Boolean", fileSize: "LongString" },
  MlflowSearchModelVersionsResponse: {
    modelVersions: "MlflowModelVersion[]",
    nextPageToken: "String",
    ...API_ERROR,
  },
  MlflowSearchDatasetsResponse: { datasetSummaries: "MlflowDatasetSummary[]", ...API_ERROR },
  MlflowDatasetSummary: { experimentId: "String", name: "String", digest: "String", context: "String" },
  MlflowSearchRunsResponse: { runs: "MlflowRunExtension[]", nextPageToken: "String", ...API_ERROR },
};

/** The fields of a query, with their types. MLflow has the searches as mutations. */
const ROOT: Readonly<Record<string, string>> = {
  mlflowGetExperiment: "MlflowGetExperimentResponse",
  mlflowGetRun: "MlflowGetRunResponse",
  mlflowGetMetricHistoryBulkInterval: "MlflowGetMetricHistoryBulkIntervalResponse",
  mlflowListArtifacts: "MlflowListArtifactsResponse",
  mlflowSearchModelVersions: "MlflowSearchModelVersionsResponse",
  mlflowSearchDatasets: "MlflowSearchDatasetsResponse",
  mlflowSearchRuns: "MlflowSearchRunsResponse",
  test: "Test",
  testMutation: "Test",
};

const snake = (name: string): string => name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);

/** A field to answer, with its fragments and variables filled in. */
interface Field {
  key: string;
  name: string;
  type: string;
  isList: boolean;
  args: Row;
  fields: Field[];
}

/** Checks a query against the types and MLflow's limits, and fills in its fragments and variables. */
class Planner {
  readonly #fragments: Document["fragments"];
  readonly #variables: Variables;
  #count = 0;

  constructor(fragments: Document["fragments"], variables: Variables) {
    this.#fragments = fragments;
    this.#variables = variables;
  }

  roots({ kind, selections }: Operation): Field[] {
    const fields = this.#fields(selections, kind === "query" ? "Query" : "Mutation", ROOT, 1);
    if (fields.length > MAX.roots) throw tooMany("root fields", MAX.roots, fields.length);
    return fields;
  }

  #fields(selections: Selection[], type: string, known: Readonly<Record<string, string>>, depth: number): Field[] {
    const fields = new Map<string, Field>();
    const flat = [...this.#flat(selections, depth)];
    const aliases = flat.filter((it) => it.alias !== undefined).length;
    // The root fields have a limit of their own.
    if (depth > 1 && aliases > MAX.aliases) throw tooMany("aliases", MAX.aliases, aliases);
    for (const selection of flat) {
      const field = this.#field(selection, type, known, depth);
      const same = fields.get(field.key);
      if (!same) fields.set(field.key, field);
      else if (same.name === field.name && JSON.stringify(same.args) === JSON.stringify(field.args)) {
        same.fields.push(...field.fields);
      } else throw invalid(`Fields '${field.key}' conflict: use different aliases.`);
    }
    return [...fields.values()];
  }

  /** The selected fields, with those of fragments. */
  *#flat(selections: Selection[], depth: number): Generator<Selection & { field: string }> {
    if (depth > MAX.depth) throw invalid(`Query exceeds maximum depth of ${MAX.depth}`);
    for (const selection of selections) {
      if (++this.#count > MAX.selections) {
        throw invalid(`Query exceeds maximum total selections of ${MAX.selections}`);
      }
      if (this.#skips(selection)) continue;
      if (selection.field !== undefined) {
        yield selection as Selection & { field: string };
        continue;
      }
      const within = selection.fragment === undefined ? selection.selections : this.#fragments.get(selection.fragment);
      if (!within) throw invalid(`Unknown fragment '${selection.fragment?.slice(0, 100)}'.`);
      yield* this.#flat(within, depth + 1);
    }
  }

  #skips({ directives }: Selection): boolean {
    return directives.some(({ name, args }) => {
      const condition = args.if?.(this.#variables) === true;
      return (name === "skip" && condition) || (name === "include" && !condition);
    });
  }

  #field(
    { field: name, alias, args, selections }: Selection & { field: string },
    parent: string,
    known: Readonly<Record<string, string>>,
    depth: number,
  ): Field {
    const written = name === "__typename" ? "String" : Object.hasOwn(known, name) ? known[name] : undefined;
    if (written === undefined) throw invalid(`Cannot query field '${name.slice(0, 100)}' on type '${parent}'.`);
    const type = written.replace("[]", "");
    const inner = TYPES[type];
    if (!inner && selections) {
      // A query that is too deep is told so first.
      this.#depthOf(selections, depth + 1);
      throw invalid(`Field '${name}' must not have a selection since type '${type}' has no subfields.`);
    }
    if (inner && !selections) throw invalid(`Field '${name}' of type '${type}' must have a selection of subfields.`);
    return {
      key: alias ?? name,
      name,
      type,
      isList: written.endsWith("[]"),
      args: Object.fromEntries(Object.entries(args).map(([key, value]) => [key, value(this.#variables)])),
      fields: inner ? this.#fields(selections ?? [], type, inner, depth + 1) : [],
    };
  }

  #depthOf(selections: Selection[], depth: number): void {
    for (const { selections: within } of this.#flat(selections, depth)) {
      if (within) this.#depthOf(within, depth + 1);
    }
  }
}

const tooMany = (what: string, limit: number, count: number) =>
  invalid(`GraphQL queries should have at most ${limit} ${what}, got ${count} ${what}.`);

/** A value in the form of its type. */
function shape(value: unknown, field: Field): unknown {
  if (field.isList) return ((value ?? []) as unknown[]).map((item) => shapeOne(item, field));
  return shapeOne(value, field);
}

function shapeOne(value: unknown, { type, fields }: Field): unknown {
  if (value === undefined || value === null) return null;
  if (type === "LongString") return String(value);
  // JSON has neither NaN nor infinities.
  if (type === "Float") return typeof value === "number" ? value : null;
  if (!TYPES[type]) return value;
  const row = value as Row;
  return Object.fromEntries(
    fields.map((field) => [field.key, field.name === "__typename" ? type : shape(row[snake(field.name)], field)]),
  );
}

/** The text of an object whose lists may be long: they are written in pieces. */
async function textOf(row: Row, { type, fields }: Field): Promise<string> {
  const parts: string[] = [];
  for (const field of fields) {
    const value = field.name === "__typename" ? type : row[snake(field.name)];
    const pieces: string[] = [];
    if (field.isList && Array.isArray(value)) {
      for (let at = 0; at < value.length; at += PIECE) {
        pieces.push(await inTurn(() => JSON.stringify(shape(value.slice(at, at + PIECE), field)).slice(1, -1)));
      }
    }
    const text = field.isList ? `[${pieces.join(",")}]` : JSON.stringify(shape(value, field));
    parts.push(`${JSON.stringify(field.key)}:${text}`);
  }
  return `{${parts.join(",")}}`;
}

/** A field's input as the REST request has it. */
function inputOf({ args, name }: Field): Row {
  const input = args.input ?? {};
  if (typeof input !== "object" || input === null || Array.isArray(input)) {
    throw invalid(`Argument 'input' of field '${name}' must be an object.`);
  }
  return Object.fromEntries(
    Object.entries(input)
      .filter(([, value]) => value !== null)
      .map(([key, value]) => [snake(key), value]),
  );
}

const atMost = (message: Row, limit: number): Row =>
  Number(message.max_results) <= limit ? message : { ...message, max_results: limit };

/** Answers the fields of one query. */
class Resolver {
  readonly #app: FastifyInstance;
  readonly #request: FastifyRequest;
  readonly #reply: FastifyReply;
  /** The experiments of the query's runs. */
  readonly #experiments = new Map<string, unknown>();

  constructor(app: FastifyInstance, request: FastifyRequest, reply: FastifyReply) {
    this.#app = app;
    this.#request = request;
    this.#reply = reply;
  }

  async #call(endpoint: Endpoint, message: Row): Promise<Row> {
    const handler = this.#app.handlers.get(endpoint);
    if (!handler) throw new Error(`${endpoint.path} has no route`);
    const found = await handler(parseMessage(endpoint.request, message), this.#request, this.#reply);
    return (found instanceof JsonText ? await inTurn(() => JSON.parse(found.text)) : found) as Row;
  }

  async text(field: Field): Promise<string> {
    return field.name === "__typename" ? JSON.stringify("Query") : textOf(await this.#resolve(field), field);
  }

  async #resolve(field: Field): Promise<Row> {
    if (field.name.startsWith("test")) return { output: field.args.inputString };
    const message = inputOf(field);
    switch (field.name) {
      case "mlflowGetExperiment":
        return this.#call(getExperiment, message);
      case "mlflowGetRun":
        return this.#extend(field, "run", await this.#call(getRun, message));
      case "mlflowSearchRuns":
        return this.#extend(field, "runs", await this.#call(searchRuns, atMost(message, MAX_RUNS)));
      case "mlflowGetMetricHistoryBulkInterval":
        return this.#call(getMetricSample, message);
      case "mlflowListArtifacts": {
        const { files = [], ...rest } = await this.#call(listArtifacts, message);
        return { ...rest, files: (files as Row[]).map((file) => ({ file_size: 0, ...file })) };
      }
      case "mlflowSearchModelVersions":
        return this.#call(searchVersions, atMost(message, MAX_VERSIONS));
      default: {
        const { dataset_summaries: found = [] } = await this.#call(searchDatasets, message);
        return { dataset_summaries: (found as Row[]).map((it) => ({ ...it, context: it.context ?? "" })) };
      }
    }
  }

  /** Adds the experiment and the versions to runs, if they are asked for. */
  async #extend(field: Field, key: string, answer: Row): Promise<Row> {
    const asked = field.fields.filter(({ name }) => name === key).flatMap(({ fields }) => fields);
    const asks = (name: string): boolean => asked.some((it) => it.name === name);
    for (const run of [answer[key] ?? []].flat() as { info: Row; [field: string]: unknown }[]) {
      if (asks("experiment")) run.experiment = await this.#experiment(String(run.info.experiment_id));
      if (asks("modelVersions")) {
        const filter = `run_id = '${run.info.run_id}'`;
        run.model_versions = (await this.#call(searchVersions, { filter, max_results: MAX_VERSIONS })).model_versions;
      }
    }
    return answer;
  }

  async #experiment(experiment_id: string): Promise<unknown> {
    if (!this.#experiments.has(experiment_id)) {
      this.#experiments.set(experiment_id, (await this.#call(getExperiment, { experiment_id })).experiment);
    }
    return this.#experiments.get(experiment_id);
  }
}

function operationOf({ operations }: Document, name: string | undefined): Operation {
  const found = name === undefined ? operations : operations.filter((it) => it.name === name);
  const [operation] = found;
  if (!operation)
    throw invalid(name === undefined ? "Must provide an operation." : `Unknown operation named '${name}'.`);
  if (found.length > 1) throw invalid("Must provide operation name if query contains multiple operations.");
  return operation;
}

/** As in MLflow, an error is a text in an answer with the status 200. */
const failed = (message: string) => new JsonText(JSON.stringify({ data: null, errors: [message] }));

/** The route of GraphQL. Its fields are answered by the routes of the REST protocol, which must be in the same server. */
export function graphqlRoute(app: FastifyInstance): void {
  route(app, queryGraphql, async ({ query, operationName, variables = {} }, request, reply) => {
    let fields: Field[];
    try {
      const document = parseQuery(query);
      const operation = operationOf(document, operationName);
      const defaults = Object.entries(operation.defaults).map(([name, value]) => [name, value({})]);
      fields = new Planner(document.fragments, { ...Object.fromEntries(defaults), ...variables }).roots(operation);
    } catch (error) {
      if (error instanceof TrackerError) return failed(error.message);
      throw error;
    }
    const resolver = new Resolver(app, request, reply);
    const data: string[] = [];
    const errors: string[] = [];
    let length = 0;
    for (const field of fields) {
      let text = "null";
      try {
        if (length > MAX_ANSWER) throw invalid(`The answer without '${field.key}' is long: ask for it alone.`);
        text = await resolver.text(field);
      } catch (error) {
        // A server that is overloaded refuses the whole query.
        if (!(error instanceof TrackerError) || error.statusCode >= 500) throw error;
        errors.push(error.message);
      }
      length += text.length;
      data.push(`${JSON.stringify(field.key)}:${text}`);
    }
    return new JsonText(`{"data":{${data.join(",")}},"errors":${errors.length > 0 ? JSON.stringify(errors) : "null"}}`);
  });
}
