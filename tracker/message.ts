import { createHash } from "node:crypto";
import type { Static, TObject, TSchema } from "@sinclair/typebox";
import { type TypeCheck, TypeCompiler } from "@sinclair/typebox/compiler";
import { invalid } from "./errors.ts";
import type { OrderClause } from "./store/filter.ts";
import type { Position } from "./store/store.ts";

/*
 * Validation of requests, and parsing of their fields.
 */

/** Returns the name of an enum value, which may be sent as its number. */
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
    throw invalid(`Invalid value ${value} for parameter '${name}' supplied: integers beyond 2^53 are not supported.`);
  }
  return number;
}

export const bool = (value: boolean | "true" | "false"): boolean => value === true || value === "true";

/** A cache of compiled schema checks. */
const checks = new WeakMap<TSchema, TypeCheck<TSchema>>();

/** Compiles the check of a schema. Throws if the schema is invalid. */
export function checkOf(schema: TSchema): TypeCheck<TSchema> {
  let check = checks.get(schema);
  if (!check) {
    check = TypeCompiler.Compile(schema);
    checks.set(schema, check);
  }
  return check;
}

/** Converts `/metrics/0/key` to `metrics[0].key`. */
const pathOf = (pointer: string): string =>
  pointer
    .slice(1)
    .replace(/\/(\d+)(?=\/|$)/g, "[$1]")
    .replaceAll("/", ".");

/** A value as JSON, cut off after 200 characters. */
function shown(value: unknown): string {
  const json = JSON.stringify(typeof value === "string" ? value.slice(0, 300) : value) ?? String(value);
  return json.length > 200 ? `${json.slice(0, 200)}...` : json;
}

const missingValue = (path: string) => invalid(`Missing value for required parameter '${path}'.`);

/** As in MLflow, a required text must not be empty. The rest of an address may be: its route says what is missing. */
function checkTexts({ required = [], properties }: TObject, message: Record<string, unknown>): void {
  for (const name of required) {
    if (name !== "*" && message[name] === "" && properties[name]?.type === "string") throw missingValue(name);
  }
}

/** The title of a version's schema, whose errors have MLflow's words. */
export const VERSION_TITLE = "a version number";

/**
 * Validates a message against its schema. The errors are in MLflow's words, which its clients and users look for.
 * @throws INVALID_PARAMETER_VALUE with the field, its value and what was expected
 */
export function parseMessage<S extends TObject>(schema: S, message: object): Static<S> {
  const check = checkOf(schema);
  if (check.Check(message)) {
    checkTexts(schema, message as Record<string, unknown>);
    return message as Static<S>;
  }
  const error = check.Errors(message).First();
  if (!error) throw invalid("The request does not match its schema.");
  const path = pathOf(error.path);
  if (error.value === undefined) throw missingValue(path);
  const value = shown(error.value);
  if (error.schema.title === VERSION_TITLE && typeof error.value === "string") {
    throw invalid(`Parameter '${path}' must be an integer, got '${error.value.slice(0, 200)}'.`);
  }
  const expected = (error.schema.title ?? error.message).replace(/^expected /i, "");
  throw invalid(`Invalid value ${value} for parameter '${path}' supplied: expected ${expected}.`);
}

const toToken = (content: object): string => Buffer.from(JSON.stringify(content)).toString("base64");

/** Longer tokens are refused. A position has the values that a search is ordered by, such as a param's. */
const MAX_TOKEN = 100_000;

/** Returns the object in a page token; undefined without a token. */
function parseToken(token: string | undefined): Record<string, unknown> | undefined {
  if (token === undefined || token === "") return undefined;
  if (token.length <= MAX_TOKEN) {
    try {
      const parsed: unknown = JSON.parse(Buffer.from(token, "base64").toString());
      if (typeof parsed === "object" && parsed !== null) return parsed as Record<string, unknown>;
    } catch {
      // The error is thrown below.
    }
  }
  throw invalidToken(token);
}

const invalidToken = (token: string) =>
  invalid(
    `Invalid page_token '${token.length > 200 ? `${token.slice(0, 200)}...` : token}': use the next_page_token of the previous response.`,
  );

/** Encodes an offset as an opaque page token. */
export const pageToken = (offset: number): string => toToken({ offset });

/** Returns the offset of a page token, or 0 without one. */
export function offsetOf(token: string | undefined): number {
  const { offset } = parseToken(token) ?? { offset: 0 };
  if (typeof offset === "number" && Number.isSafeInteger(offset) && offset >= 0) return offset;
  throw invalidToken(token ?? "");
}

const textOf = (order: readonly OrderClause[]): string =>
  order.map(({ entity, key, ascending }) => `${entity}.${key} ${ascending ? "ASC" : "DESC"}`).join(", ");

/** Encodes the position of a page's last row as an opaque page token. */
export const tokenOf = (next: Position | undefined, order: readonly OrderClause[]): string | undefined =>
  next && toToken({ after: next, order: createHash("sha256").update(textOf(order)).digest("base64").slice(0, 8) });

/**
 * Returns where the page of a search starts. A token of an earlier release has an offset instead of a position.
 * @throws INVALID_PARAMETER_VALUE if the token is not one of a search in this order
 */
export function startOf(
  token: string | undefined,
  order: readonly OrderClause[],
): { offset: number } | { after: Position } | Record<string, never> {
  const content = parseToken(token);
  if (!content) return {};
  if ("offset" in content) return { offset: offsetOf(token) };
  const { after } = content;
  const isValue = (it: unknown): boolean => it === null || typeof it === "string" || typeof it === "number";
  if (!Array.isArray(after) || !after.every(isValue)) throw invalidToken(token ?? "");
  if (tokenOf(after, order) !== token) throw invalid("Invalid page_token: it is of a search with another order_by.");
  return { after };
}

/** Validates `max_results` against the limit of a search. */
export function limitOf(value: number | string | undefined, fallback: number, cap: number): number {
  if (value === undefined) return fallback;
  const limit = int(value, "max_results");
  if (limit < 1 || limit > cap) {
    throw invalid(`Invalid value ${limit} for parameter 'max_results' supplied: expected 1 to ${cap}.`);
  }
  return limit;
}
