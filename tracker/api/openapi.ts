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

/** Adds each schema that has a name and lies in another, by its name; what it is made of comes before it. */
function collect(schema: unknown, found: Map<string, TSchema>): Map<string, TSchema> {
  if (typeof schema !== "object" || schema === null) return found;
  for (const part of Object.values(schema)) collect(part, found);
  const { title } = schema as TSchema;
  if (title !== undefined) found.set(title, schema as TSchema);
  return found;
}

/** The schemas of answers that have a name. */
const named = collect([...endpoints.map(({ answer }) => answer), ApiError], new Map());

/** A schema as the document writes it, with references to those that have a name. */
function written(schema: unknown, top = true): unknown {
  if (Array.isArray(schema)) return schema.map((one) => written(one, false));
  if (typeof schema !== "object" || schema === null) return schema;
  const { title } = schema as TSchema;
  if (!top && title !== undefined && named.has(title)) return { $ref: `#/components/schemas/${title}` };
  return Object.fromEntries(Object.entries(schema).map(([key, value]) => [key, written(value, false)]));
}

/**
 * The schemas with a name, as JSON Schema.
 * @param prefix of the paths of the endpoints whose answers they are part of; all when left out
 */
export function componentSchemas(prefix = ""): Record<string, unknown> {
  const answers = endpoints.filter((it) => pathsOf(it).some((path) => path.startsWith(prefix))).map((it) => it.answer);
  const used = collect([...answers, ApiError], new Map());
  return Object.fromEntries([...used].map(([name, schema]) => [name, written(schema)]));
}

const OF: Readonly<Record<RoleRight["of"], string>> = {
  tracker: "the tracker",
  experiment: "the experiment",
  model: "the model",
  account: "the user's own account, with a token of that scope; for another user's, admin of the tracker",
  target: "the target, or of the tracker",
};

/** A right in words. */
function rightText(right: Right): string {
  if (right === "public") return "Needs no token.";
  if (right === "signature") return "Needs an address that the tracker has signed, and no token.";
  if (right === "signed in") return "Needs any user's token.";
  if (right === "filtered") return "Needs any user's token; the answer leaves out what the user may not view.";
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
    schema: written(schema),
  });
  const others = fields.filter(([name]) => !inPath.has(name) && name !== "*");
  const inQuery = method === "GET" || endpoint.body !== undefined;
  const body = {
    type: "object",
    properties: Object.fromEntries(others.map(([name, schema]) => [name, written(schema)])),
    required: others.map(([name]) => name).filter((name) => required.has(name)),
  };
  const [, place = ""] = /^\/(?:api\/(?:\d\.0\/(?:mlflow(?=\/))?)?)?(.*)$/.exec(path.replace("*", "path")) ?? [];
  const id = `${method.toLowerCase()} ${path.includes("api/") ? "" : "root"} ${place}`;
  const content = endpoint.body ? { [endpoint.body]: {} } : inQuery || others.length === 0 ? undefined : json(body);
  return {
    operationId: id.replace(/[^A-Za-z0-9]+(.|$)/g, (_, letter: string) => letter.toUpperCase()),
    summary,
    description: rightText(right),
    tags: [/^(?:(?:ajax-)?api\/)?(?:\d\.0\/)?(?:mlflow\/|mlflow-|anneal\/)?([\w-]+)/.exec(path.slice(1))?.[1] ?? ""],
    ...(right === "public" || right === "signature" ? { security: [] } : {}),
    parameters: [
      ...fields.filter(([name]) => inPath.has(name)).map((field) => parameter("path", field)),
      ...(inQuery ? others.map((field) => parameter("query", field)) : []),
    ],
    ...(content ? { requestBody: { required: true, content } } : {}),
    responses: {
      200: { description: "Done.", content: isSchema(answer) ? json(written(answer, false)) : { [answer]: {} } },
      ...(rolesOf(endpoint).length > 0 ? { 403: refused(`Refused. ${rightText(right)}`) } : {}),
      default: refused("Refused."),
    },
    "x-right": right,
  };
}

/** The API as an OpenAPI 3.1 document. */
export function openApiDocument(version: string): object {
  const paths: Record<string, Record<string, unknown>> = {};
  for (const endpoint of endpoints) {
    for (const path of pathsOf(endpoint)) {
      const written = path.replace(/:(\w+)/g, "{$1}").replace("*", "{path}");
      for (const method of methodsOf(endpoint)) {
        paths[written] = { ...paths[written], [method.toLowerCase()]: operation(endpoint, method, path) };
      }
    }
  }
  return {
    openapi: "3.1.0",
    info: {
      title: "Anneal tracker",
      version,
      description:
        "MLflow's REST protocol under /api/2.0/mlflow and /api/3.0/mlflow (and the same under /ajax-api), and what it lacks under /api/anneal. `x-right` is what a request needs.",
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
