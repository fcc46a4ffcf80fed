import { type Static, type TObject, type TSchema, Type } from "@sinclair/typebox";
import { type TypeCheck, TypeCompiler } from "@sinclair/typebox/compiler";
import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import { invalid } from "../errors.ts";

/*
 * How a request becomes a message that is known to be sound, and is answered. The schemas allow what
 * protobuf's JSON allows: 64-bit integers as strings, NaN and infinities by name, fields that are null as if left out.
 */

export const Text = Type.String();
export const Int = Type.Union([Type.Integer(), Type.String({ pattern: "^[+-]?\\d+$" })], { title: "an integer" });
export const Float = Type.Union(
  [Type.Number(), Type.String({ pattern: "^(NaN|[+-]?Infinity|[+-]?(\\d+\\.?\\d*|\\.\\d+)([eE][+-]?\\d+)?)$" })],
  { title: "a number, or one of the strings NaN, Infinity and -Infinity" },
);
export const Bool = Type.Union([Type.Boolean(), Type.Literal("true"), Type.Literal("false")], {
  title: "true or false",
});
export const Digest = Type.String({ pattern: "^[0-9a-f]{64}$", title: "a SHA-256 in hex" });
export const optional = Type.Optional;
export const listOf = Type.Array;
/** One of some names; for requests of old clients also their number in the protocol, counted from `first`. */
export const oneOf = <const Names extends readonly string[]>(names: Names, first = 1) =>
  Type.Unsafe<Names[number] | number>(
    Type.Union([...names.map((name) => Type.Literal(name)), ...names.map((_, index) => Type.Literal(index + first))], {
      title: `one of ${names.join(", ")}`,
    }),
  );

/** The name of an enumerated value that may have come as its number. */
export function nameOf<const Names extends readonly string[]>(
  names: Names,
  value: Names[number] | number,
  first = 1,
): Names[number] {
  if (typeof value === "string") return value;
  const name: Names[number] | undefined = names[value - first];
  if (name === undefined) throw invalid(`Invalid value ${value}: expected one of ${names.join(", ")}.`);
  return name;
}

export function int(value: number | string, name: string): number {
  const number = Number(value);
  if (!Number.isSafeInteger(number)) {
    throw invalid(`Invalid value ${value} for parameter '${name}': integers beyond 2^53 are not supported.`);
  }
  return number;
}

export const bool = (value: boolean | "true" | "false"): boolean => value === true || value === "true";

/** Compiled checks of schemas, each made once. */
const checks = new WeakMap<TSchema, TypeCheck<TSchema>>();

function checkOf(schema: TSchema): TypeCheck<TSchema> {
  let check = checks.get(schema);
  if (!check) {
    check = TypeCompiler.Compile(schema);
    checks.set(schema, check);
  }
  return check;
}

/** `/metrics/0/key` as `metrics[0].key`. */
const pathOf = (pointer: string): string =>
  pointer
    .slice(1)
    .replace(/\/(\d+)(?=\/|$)/g, "[$1]")
    .replaceAll("/", ".");

/**
 * Checks a message against its schema.
 * @throws INVALID_PARAMETER_VALUE naming the field, what it holds and what it should
 */
export function parseMessage<S extends TObject>(schema: S, message: unknown): Static<S> {
  const check = checkOf(schema);
  if (check.Check(message)) return message as Static<S>;
  const error = check.Errors(message).First();
  if (!error) throw invalid("The request is not of the expected shape.");
  const path = pathOf(error.path);
  if (error.value === undefined) throw invalid(`Missing value for required parameter '${path}'.`);
  const value = JSON.stringify(error.value) ?? String(error.value);
  const expected =
    error.schema.title ?? error.message.charAt(0).toLowerCase() + error.message.slice(1).replace(/^xpected /, "");
  throw invalid(
    `Invalid value ${value.length > 200 ? `${value.slice(0, 200)}...` : value} for parameter '${path}': expected ${expected.replace(/^expected /, "")}.`,
  );
}

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

/** An offset as the opaque token that asks for the page from there on. */
export const pageToken = (offset: number): string => Buffer.from(JSON.stringify({ offset })).toString("base64");

/** The offset of a page token; 0 without one. */
export function offsetOf(token: string | undefined): number {
  if (token === undefined || token === "") return 0;
  try {
    const parsed: unknown = JSON.parse(Buffer.from(token, "base64").toString());
    if (typeof parsed === "object" && parsed !== null && "offset" in parsed) {
      const { offset } = parsed;
      if (typeof offset === "number" && Number.isSafeInteger(offset) && offset >= 0) return offset;
    }
  } catch {
    // Falls through to the refusal below.
  }
  throw invalid(`Invalid page_token '${token}': use the next_page_token of an earlier answer.`);
}

/** Checks `max_results` against what a search allows. */
export function limitOf(value: number | string | undefined, fallback: number, cap: number): number {
  if (value === undefined) return fallback;
  const limit = int(value, "max_results");
  if (limit < 1 || limit > cap) {
    throw invalid(`Invalid value ${limit} for parameter 'max_results': expected 1 to ${cap}.`);
  }
  return limit;
}
