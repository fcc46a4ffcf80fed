import type { Static, TObject, TSchema } from "@sinclair/typebox";
import { type TypeCheck, TypeCompiler } from "@sinclair/typebox/compiler";
import { invalid } from "./errors.ts";

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
    throw invalid(`Invalid value ${value} for parameter '${name}': integers beyond 2^53 are not supported.`);
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

/**
 * Validates a message against its schema.
 * @throws INVALID_PARAMETER_VALUE with the field, its value and what was expected
 */
export function parseMessage<S extends TObject>(schema: S, message: unknown): Static<S> {
  const check = checkOf(schema);
  if (check.Check(message)) return message as Static<S>;
  const error = check.Errors(message).First();
  if (!error) throw invalid("The request does not match its schema.");
  const path = pathOf(error.path);
  if (error.value === undefined) throw invalid(`Missing value for required parameter '${path}'.`);
  const value = shown(error.value);
  const expected = (error.schema.title ?? error.message).replace(/^expected /i, "");
  throw invalid(`Invalid value ${value} for parameter '${path}': expected ${expected}.`);
}

/** Encodes an offset as an opaque page token. */
export const pageToken = (offset: number): string => Buffer.from(JSON.stringify({ offset })).toString("base64");

/** Returns the offset of a page token, or 0 without one. */
export function offsetOf(token: string | undefined): number {
  if (token === undefined || token === "") return 0;
  if (token.length > 1000) throw invalid("Invalid page_token: use the next_page_token of the previous response.");
  try {
    const parsed: unknown = JSON.parse(Buffer.from(token, "base64").toString());
    if (typeof parsed === "object" && parsed !== null && "offset" in parsed) {
      const { offset } = parsed;
      if (typeof offset === "number" && Number.isSafeInteger(offset) && offset >= 0) return offset;
    }
  } catch {
    // The error is thrown below.
  }
  throw invalid(`Invalid page_token '${token}': use the next_page_token of the previous response.`);
}

/** Validates `max_results` against the limit of a search. */
export function limitOf(value: number | string | undefined, fallback: number, cap: number): number {
  if (value === undefined) return fallback;
  const limit = int(value, "max_results");
  if (limit < 1 || limit > cap) {
    throw invalid(`Invalid value ${limit} for parameter 'max_results': expected 1 to ${cap}.`);
  }
  return limit;
}
