import type { TObject, TSchema } from "@sinclair/typebox";
import {
  type Endpoint,
  type Media,
  methodsOf,
  pathsOf,
  type Right,
  type RoleRight,
  rolesOf,
} from "./endpoints/endpoint.ts";
import { endpoints } from "./endpoints/index.ts";
import { ApiError } from "./endpoints/schemas.ts";

const isSchema = (answer: TSchema | Media): answer is TSchema => typeof answer !== "string";

/** Collects the schemas with a title within `schema`; a schema comes after those that it contains. */
function collect(schema: unknown, schemas: Map<string, TSchema>): Map<string, TSchema> {
  if (typeof schema !== "object" || schema === null) return schemas;
  for (const part of Object.values(schema)) collect(part, schemas);
  const { title } = schema as TSchema;
  if (title !== undefined) schemas.set(title, schema as TSchema);
  return schemas;
}

/** The response schemas with a title. */
const named = collect([...endpoints.map(({ answer }) => answer), ApiError], new Map());

/** Converts a schema to the document's form, with references to the schemas with a title. */
function toJsonSchema(schema: unknown, top = true): unknown {
  if (Array.isArray(schema)) return schema.map((one) => toJsonSchema(one, false));
  if (typeof schema !== "object" || schema === null) return schema;
  const { title } = schema as TSchema;
  if (!top && title !== undefined && named.has(title)) return { $ref: `#/components/schemas/${title}` };
  return Object.fromEntries(Object.entries(schema).map(([key, value]) => [key, toJsonSchema(value, false)]));
}

/**
 * Returns the schemas with a title, as JSON Schema.
 * @param prefix only those in responses of endpoints whose path has this prefix; all by default
 */
export function componentSchemas(prefix = ""): Record<string, unknown> {
  const answers = endpoints.filter((it) => pathsOf(it).some((path) => path.startsWith(prefix))).map((it) => it.answer);
  const used = collect([...answers, ApiError], new Map());
  return Object.fromEntries([...used].map(([name, schema]) => [name, toJsonSchema(schema)]));
}

const OF: Readonly<Record<RoleRight["of"], string>> = {
  tracker: "the tracker",
  experiment: "the experiment",
  model: "the model",
  account: "the user's own account, with a token of that scope; for another user's, admin of the tracker",
  target: "the target, or of the tracker",
};

/** Describes a right. */
function rightText(right: Right): string {
  if (right === "public") return "Needs no token.";
  if (right === "signature") return "Needs an address signed by the tracker, and no token.";
  if (right === "signed in") return "Needs any user's token.";
  if (right === "filtered") return "Needs any user's token. The response omits what the user may not view.";
  const roles = "role" in right ? [right] : right;
  return `Needs the role ${roles.map(({ role, of }) => `${role} of ${OF[of]}`).join(", and ")}.`;
}

const json = (schema: unknown) => ({ "application/json": { schema } });
const refused = (description: string) => ({ description, content: json({ $ref: "#/components/schemas/ApiError" }) });

function operation(endpoint: Endpoint, method: string, path: string): object {
  const { summary, answer, right } = endpoint;
  const request: TObject = endpoint.request;
  const inPath = new Set([...path.matchAll(/:(\w+)|(\*)/g)].map(([, name, rest]) => name ?? rest));
  const required = new Set<string>(request.required ?? []);
  const fields = Object.entries(request.properties);
  const parameter = (place: "path" | "query", [name, schema]: [string, unknown]) => ({
    name: name === "*" ? "path" : name,
    in: place,
    required: place === "path" || required.has(name),
    schema: toJsonSchema(schema),
  });
  const fieldsOutsidePath = fields.filter(([name]) => !inPath.has(name) && name !== "*");
  const inQuery = method === "GET" || endpoint.body !== undefined;
  const body = {
    type: "object",
    properties: Object.fromEntries(fieldsOutsidePath.map(([name, schema]) => [name, toJsonSchema(schema)])),
    required: fieldsOutsidePath.map(([name]) => name).filter((name) => required.has(name)),
  };
  const [, place = ""] = /^\/(?:api\/(?:\d\.0\/(?:mlflow(?=\/))?)?)?(.*)$/.exec(path.replace("*", "path")) ?? [];
  // Version 3 of the API has traces, too.
  const scope = path.startsWith("/api/2.0/mlflow/traces") ? "v2" : path.includes("api/") ? "" : "root";
  const id = `${method.toLowerCase()} ${scope} ${place}`;
  const content = endpoint.body
    ? { [endpoint.body]: {} }
    : inQuery || fieldsOutsidePath.length === 0
      ? undefined
      : json(body);
  return {
    operationId: id.replace(/[^A-Za-z0-9]+(.|$)/g, (_, letter: string) => letter.toUpperCase()),
    summary,
    description: rightText(right),
    tags: [/^(?:(?:ajax-)?api\/)?(?:\d\.0\/)?(?:mlflow\/|mlflow-|anneal\/)?([\w-]+)/.exec(path.slice(1))?.[1] ?? ""],
    ...(right === "public" || right === "signature" ? { security: [] } : {}),
    parameters: [
      ...fields.filter(([name]) => inPath.has(name)).map((field) => parameter("path", field)),
      ...(inQuery ? fieldsOutsidePath.map((field) => parameter("query", field)) : []),
    ],
    ...(content ? { requestBody: { required: true, content } } : {}),
    responses: {
      200: { description: "Done.", content: isSchema(answer) ? json(toJsonSchema(answer, false)) : { [answer]: {} } },
      ...(rolesOf(endpoint).length > 0 ? { 403: refused(`Refused. ${rightText(right)}`) } : {}),
      default: refused("Error."),
    },
    "x-right": right,
  };
}

/** Returns the OpenAPI 3.1 document of the API. */
export function openApiDocument(version: string): object {
  const paths: Record<string, Record<string, unknown>> = {};
  for (const endpoint of endpoints) {
    for (const path of pathsOf(endpoint)) {
      const toJsonSchema = path.replace(/:(\w+)/g, "{$1}").replace("*", "{path}");
      for (const method of methodsOf(endpoint)) {
        paths[toJsonSchema] = { ...paths[toJsonSchema], [method.toLowerCase()]: operation(endpoint, method, path) };
      }
    }
  }
  return {
    openapi: "3.1.0",
    info: {
      title: "Anneal tracker",
      version,
      description:
        "MLflow's REST protocol under /api/2.0/mlflow and /api/3.0/mlflow (and the same under /ajax-api), and Anneal's extensions under /api/anneal. `x-right` is what a request needs.",
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
