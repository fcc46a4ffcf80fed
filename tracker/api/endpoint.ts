import type { Static, TObject } from "@sinclair/typebox";
import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import { invalid } from "../errors.ts";
import { checkOf, parseMessage } from "../message.ts";

/** The body as an object. Some clients send JSON text within JSON; a field that is null counts as left out. */
function parseBody(text: string): Record<string, unknown> {
  if (text.trim() === "") return {};
  let body: unknown;
  try {
    body = JSON.parse(text);
    if (typeof body === "string") body = JSON.parse(body);
  } catch (error) {
    throw invalid(`The request's body is not JSON: ${error instanceof Error ? error.message : String(error)}.`);
  }
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

/** A query string's fields: repeated ones are lists, as is a single one where the schema says so. */
function fromQuery(query: unknown, schema: TObject): Record<string, unknown> {
  const message: Record<string, unknown> = {};
  for (const [key, value] of Object.entries(query as Record<string, unknown>)) {
    const name = key.endsWith("[]") ? key.slice(0, -2) : key;
    const field = schema.properties[name];
    if (field?.type === "array" && !Array.isArray(value)) message[name] = [value];
    else message[name] = value;
  }
  return message;
}

type Method = "GET" | "POST" | "PUT" | "PATCH" | "DELETE";

export type Handler<S extends TObject> = (
  message: Static<S>,
  request: FastifyRequest,
  reply: FastifyReply,
) => Promise<object | undefined>;

/**
 * Adds a route whose message comes from the path, the body and the query, in this order of precedence,
 * and whose answer is JSON (`{}` for a handler that returns nothing).
 */
export function endpoint<S extends TObject>(
  app: FastifyInstance,
  methods: Method | Method[],
  path: string,
  schema: S,
  handler: Handler<S>,
  options: { bodyLimit?: number } = {},
): void {
  checkOf(schema);
  app.route({
    method: methods,
    url: path,
    config: { message: schema },
    ...options,
    handler: async (request, reply) => {
      const body = typeof request.body === "string" ? parseBody(request.body) : {};
      const message = { ...fromQuery(request.query, schema), ...body, ...(request.params as Record<string, string>) };
      const answer = await handler(parseMessage(schema, message), request, reply);
      return reply.sent ? reply : (answer ?? {});
    },
  });
}
