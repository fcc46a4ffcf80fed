import type { Static, TObject, TSchema } from "@sinclair/typebox";
import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import { invalid } from "../errors.ts";
import { parseJson } from "../json.ts";
import { checkOf, parseMessage } from "../message.ts";
import { changing } from "../store/change.ts";
import { describeChange } from "./audit.ts";
import { type Endpoint, type Media, type Method, methodsOf, pathsOf } from "./endpoints/endpoint.ts";
import { JsonText } from "./json-text.ts";
import { needDeclared } from "./rights.ts";

/** Parses a JSON body as an object. Some clients send JSON text within JSON. Fields that are null are dropped. */
function parseBody(text: string): Record<string, unknown> {
  if (text.trim() === "") return {};
  let body = parseJson(text);
  if (typeof body === "string") body = parseJson(body);
  if (typeof body !== "object" || body === null || Array.isArray(body)) {
    throw invalid("The request's body is not a JSON object.");
  }
  return (text.includes("null") ? withoutNulls(body) : body) as Record<string, unknown>;
}

function withoutNulls(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(withoutNulls);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(
    Object.entries(value)
      .filter(([, field]) => field !== null)
      .map(([key, field]) => [key, withoutNulls(field)]),
  );
}

/** Bytes of a JSON body. What needs more, such as a data set's profile, sets its own limit. */
const BODY_LIMIT = 2 * 1024 * 1024;

/** Returns the fields of a query string. A repeated field is a list, and so is a single one if the schema declares a list. */
function fromQuery(query: unknown, schema: TObject): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(query as Record<string, unknown>).map(([key, value]) => {
      const name = key.endsWith("[]") ? key.slice(0, -2) : key;
      const isList = Object.hasOwn(schema.properties, name) && schema.properties[name]?.type === "array";
      return [name, isList && !Array.isArray(value) ? [value] : value];
    }),
  );
}

/** What a handler returns: the declared response, or the sent reply for a declared media type. */
type Returned<A> = A extends TSchema ? Static<A> | JsonText : FastifyReply;

/** @param message the request's fields, validated against the declared schema */
export type Handler<Q extends TObject, A extends TSchema | Media> = (
  message: Static<Q>,
  request: FastifyRequest,
  reply: FastifyReply,
) => Promise<Returned<A>>;

declare module "fastify" {
  interface FastifyContextConfig {
    /** The declaration that a route serves. */
    endpoint?: Endpoint;
  }

  interface FastifyInstance {
    /** The handlers of the declared endpoints, for those that answer for others. */
    handlers: Map<Endpoint, Handler<TObject, TSchema | Media>>;
  }
}

/** Returns the prefix of a declared path that is the prefix of a scope. */
const prefixOf = (path: string): string =>
  /^\/(ajax-)?api\/(\d\.0\/mlflow(-artifacts)?|anneal)(?=\/)/.exec(path)?.[0] ?? "";

/**
 * Adds the route of a declared endpoint, at those of its paths that have the scope's prefix (for /ajax-api, the prefix that
 * it mirrors). The request's fields come from the path, the body and the query, in this order of precedence.
 */
export function route<M extends Method, P extends string, Q extends TObject, A extends TSchema | Media>(
  app: FastifyInstance,
  endpoint: Endpoint<M, P, Q, A>,
  handler: Handler<Q, A>,
  options: { bodyLimit?: number } = {},
): void {
  const { request: schema } = endpoint;
  checkOf(schema);
  const mirrored = app.prefix.replace(/^\/ajax-/, "/");
  const paths = pathsOf(endpoint).filter((path) => [app.prefix, mirrored].includes(prefixOf(path)));
  if (paths.length === 0)
    throw new Error(`None of the paths ${pathsOf(endpoint).join(", ")} is under '${app.prefix}'.`);
  app.handlers.set(endpoint, handler as Handler<TObject, TSchema | Media>);
  for (const path of paths) {
    app.route({
      method: methodsOf(endpoint),
      url: path.slice(prefixOf(path).length),
      config: { endpoint },
      ...(endpoint.body ? {} : { bodyLimit: BODY_LIMIT }),
      ...options,
      handler: async (request, reply) => {
        const body = typeof request.body === "string" && !endpoint.body ? parseBody(request.body) : {};
        const message = { ...fromQuery(request.query, schema), ...body, ...(request.params as Record<string, string>) };
        describeChange(request, endpoint, message);
        const checked = parseMessage(schema, message);
        needDeclared(endpoint);
        const answer = await changing(request.change, () => handler(checked, request, reply));
        return answer instanceof JsonText ? reply.type("application/json").send(answer.text) : answer;
      },
    });
  }
}
