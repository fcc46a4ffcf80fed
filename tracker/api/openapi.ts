import type { TObject, TSchema } from "@sinclair/typebox";
import type { FastifyInstance } from "fastify";
import { named } from "./answers.ts";
import { annealOperations, mlflowOperations, type Operation, traceOperations } from "./operations.ts";

declare module "fastify" {
  interface FastifyContextConfig {
    /** The message that an endpoint takes, from its path, query and body. */
    message?: TObject;
  }
}

/** An endpoint as it was registered. */
export interface Endpoint {
  method: string;
  url: string;
  message: TObject;
}

/** Notes the endpoints that are registered from here on. */
export function collectEndpoints(app: FastifyInstance): Endpoint[] {
  const endpoints: Endpoint[] = [];
  app.addHook("onRoute", ({ method, url, config }) => {
    if (!config?.message) return;
    for (const one of [method].flat())
      if (one !== "HEAD") endpoints.push({ method: one, url, message: config.message });
  });
  return endpoints;
}

const mlflow = "/api/2.0/mlflow";
const mlflow3 = "/api/3.0/mlflow";
const anneal = "/api/anneal";

/** What is told of an endpoint; undefined for one that is served under a second name, or told nowhere. */
export function operationOf({ method, url }: Endpoint): (Operation & { tag: string }) | undefined {
  for (const [prefix, operations] of [
    [mlflow, mlflowOperations],
    [mlflow3, traceOperations],
    [anneal, annealOperations],
  ] as const) {
    const operation = url.startsWith(`${prefix}/`) && operations[`${method} ${url.slice(prefix.length)}`];
    if (operation) return { ...operation, tag: url.slice(prefix.length).split("/")[1] ?? "" };
  }
  return undefined;
}

/** A schema as the document writes it: shapes with names stand once, and are referred to. */
function written(schema: unknown, top = true): unknown {
  if (Array.isArray(schema)) return schema.map((one) => written(one, false));
  if (typeof schema !== "object" || schema === null) return schema;
  const { title } = schema as TSchema;
  if (!top && title !== undefined && title in named) return { $ref: `#/components/schemas/${title}` };
  return Object.fromEntries(Object.entries(schema).map(([key, value]) => [key, written(value, false)]));
}

/** Whether an endpoint's answer is a file's bytes. */
export const answersFile = (url: string): boolean => /\/(get-artifact|artifacts\/files)$/.test(url);

const json = (schema: unknown) => ({ "application/json": { schema } });

function describe({ method, url, message }: Endpoint, { summary, answer, tag }: Operation & { tag: string }): object {
  const inPath = new Set([...url.matchAll(/:(\w+)/g)].map(([, name]) => name));
  const required = new Set<string>(message.required ?? []);
  const fields = Object.entries(message.properties);
  const parameter = (place: "path" | "query", [name, schema]: [string, unknown]) => ({
    name,
    in: place,
    required: place === "path" || required.has(name),
    schema: written(schema),
  });
  const others = fields.filter(([name]) => !inPath.has(name));
  const inQuery = method === "GET";
  const body = {
    type: "object",
    properties: Object.fromEntries(others.map(([name, schema]) => [name, written(schema)])),
    required: others.map(([name]) => name).filter((name) => required.has(name)),
  };
  const words = `${method.toLowerCase()} ${url.replace(/^\/api\/(\d\.0\/mlflow|anneal)/, url.startsWith(anneal) ? "anneal" : "")}`;
  return {
    operationId: words.replace(/[^A-Za-z0-9]+(.)/g, (_, letter: string) => letter.toUpperCase()),
    summary,
    tags: [tag],
    parameters: [
      ...fields.filter(([name]) => inPath.has(name)).map((field) => parameter("path", field)),
      ...(inQuery ? others.map((field) => parameter("query", field)) : []),
    ],
    ...(inQuery || others.length === 0 ? {} : { requestBody: { required: true, content: json(body) } }),
    responses: {
      200: answersFile(url)
        ? { description: "The file.", content: { "application/octet-stream": {} } }
        : { description: "Done.", content: json(answer ? written(answer) : { type: "object" }) },
      default: { description: "Refused.", content: json({ $ref: "#/components/schemas/ApiError" }) },
    },
  };
}

/** The proxy of artifacts takes and gives bytes; it has no message. */
const artifactPath = {
  parameters: [
    {
      name: "path",
      in: "path",
      required: true,
      schema: { type: "string" },
      description: "With slashes, from the root on.",
    },
  ],
  ...Object.fromEntries(
    Object.entries({
      get: "An artifact's bytes.",
      put: "Store an artifact: the body is the file.",
      delete: "Delete an artifact, or a folder of them.",
    }).map(([method, summary]) => [
      method,
      {
        operationId: `${method}ArtifactByPath`,
        summary,
        tags: ["artifacts"],
        ...(method === "put" ? { requestBody: { required: true, content: { "application/octet-stream": {} } } } : {}),
        responses: {
          200: {
            description: "Done.",
            content: method === "get" ? { "application/octet-stream": {} } : json({ type: "object" }),
          },
          default: { description: "Refused.", content: json({ $ref: "#/components/schemas/ApiError" }) },
        },
      },
    ]),
  ),
};

const uploadPath = {
  post: {
    operationId: "postUploadArtifact",
    summary: "Store a file of a run, as MLflow's own pages do: the body is the file.",
    tags: ["artifacts"],
    parameters: ["run_uuid", "path"].map((name) => ({ name, in: "query", required: true, schema: { type: "string" } })),
    requestBody: { required: true, content: { "application/octet-stream": {} } },
    responses: {
      200: { description: "Stored.", content: json({ type: "object" }) },
      default: { description: "Refused.", content: json({ $ref: "#/components/schemas/ApiError" }) },
    },
  },
};

/** News as they happen, as a stream of server-sent events. */
const eventsPath = {
  get: {
    operationId: "getAnnealEvents",
    summary: "What changes, as server-sent events: runs, metrics, models, experiments.",
    tags: ["events"],
    parameters: ["run_id", "experiment_id"].map((name) => ({ name, in: "query", schema: { type: "string" } })),
    responses: { 200: { description: "A stream without an end.", content: { "text/event-stream": {} } } },
  },
};

/** Spans by OpenTelemetry's own protocol. */
const otlpPath = {
  post: {
    operationId: "postOpenTelemetryTraces",
    summary: "Store spans that an OpenTelemetry exporter sends, as Protocol Buffers or JSON.",
    tags: ["traces"],
    requestBody: { required: true, content: { "application/x-protobuf": {}, "application/json": {} } },
    responses: { 200: { description: "Stored." } },
  },
};

/** The shapes that have names, as JSON Schema. */
export const componentSchemas = (): Record<string, unknown> =>
  Object.fromEntries(Object.entries(named).map(([name, schema]) => [name, written(schema)]));

/** The API as an OpenAPI 3.1 document. */
function openApiDocument(endpoints: readonly Endpoint[], version: string): object {
  const paths: Record<string, Record<string, unknown>> = {};
  for (const endpoint of endpoints) {
    const operation = operationOf(endpoint);
    if (!operation) continue;
    const path = endpoint.url.replace(/:(\w+)/g, "{$1}");
    paths[path] = { ...paths[path], [endpoint.method.toLowerCase()]: describe(endpoint, operation) };
  }
  paths[`${anneal}/events`] = eventsPath;
  paths["/v1/traces"] = otlpPath;
  paths["/api/2.0/mlflow-artifacts/artifacts/{path}"] = artifactPath;
  paths["/ajax-api/2.0/mlflow/upload-artifact"] = uploadPath;
  return {
    openapi: "3.1.0",
    info: {
      title: "Anneal tracker",
      version,
      description:
        "MLflow's REST protocol under /api/2.0/mlflow and /api/3.0/mlflow (and the same under /ajax-api), and what it lacks under /api/anneal.",
    },
    security: [{ bearer: [] }, { basic: [] }],
    paths,
    components: {
      securitySchemes: {
        bearer: { type: "http", scheme: "bearer", description: "The tracker's token, or a user's." },
        basic: { type: "http", scheme: "basic", description: "The token as the password." },
      },
      schemas: componentSchemas(),
    },
  };
}

/** Serves the document at /api/openapi.json. */
export function openApiRoute(app: FastifyInstance, endpoints: readonly Endpoint[], version: string): void {
  let document: string | undefined;
  app.get("/api/openapi.json", async (_request, reply) => {
    document ??= JSON.stringify(openApiDocument(endpoints, version));
    return reply.type("application/json; charset=utf-8").send(document);
  });
}
