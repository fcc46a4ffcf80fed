import { invalid } from "./errors.ts";

/** Nesting of a request's JSON. The deepest declared request has eight levels. */
const MAX_DEPTH = 64;
/** Values and keys of a request's JSON. The largest batch of metrics has 9000. */
const MAX_VALUES = 100_000;

/** What a byte of JSON is for {@link checkCost}. */
const [QUOTE, BACKSLASH, SEPARATOR, OPENING, CLOSING] = [1, 2, 3, 4, 5];
const KINDS = new Uint8Array(256);
for (const [kind, bytes] of [
  [QUOTE, '"'],
  [BACKSLASH, "\\"],
  [SEPARATOR, ",:"],
  [OPENING, "[{"],
  [CLOSING, "]}"],
] as const) {
  for (const byte of Buffer.from(bytes)) KINDS[byte] = kind;
}

const tooDeep = (what: string) => invalid(`${what} is nested more than ${MAX_DEPTH} levels deep.`);

/** Checks what parsing would cost, in one pass: a text of few megabytes can hold millions of keys or levels. */
function checkCost(text: string, what: string, maxValues: number): void {
  const bytes = Buffer.from(text);
  let depth = 0;
  let values = 1;
  for (let at = 0; at < bytes.length; at++) {
    const kind = KINDS[bytes[at] ?? 0];
    if (kind === QUOTE) {
      for (at++; at < bytes.length && KINDS[bytes[at] ?? 0] !== QUOTE; at++) {
        if (KINDS[bytes[at] ?? 0] === BACKSLASH) at++;
      }
    } else if (kind === SEPARATOR) values++;
    else if (kind === OPENING) {
      values++;
      if (++depth > MAX_DEPTH) throw tooDeep(what);
    } else if (kind === CLOSING) depth--;
    if (values > maxValues) {
      throw invalid(`${what} has more than ${maxValues} keys and values: send smaller batches.`);
    }
  }
}

/** Whether something is nested in more than some levels. */
function isDeeper(value: object | null, levels: number): boolean {
  if (value === null) return false;
  if (levels === 0) return true;
  for (const key in value) {
    const inner: unknown = Reflect.get(value, key);
    if (typeof inner === "object" && isDeeper(inner, levels - 1)) return true;
  }
  return false;
}

/**
 * Parses the JSON of a request, if it is not too costly.
 * @param what names the text in errors
 * @throws INVALID_PARAMETER_VALUE
 */
export function parseJson(text: string, what = "The request's body", maxValues = MAX_VALUES): unknown {
  // A short text cannot have too many values, so that only its depth matters, which is faster to find afterwards.
  const isShort = text.length <= maxValues;
  if (!isShort) checkCost(text, what, maxValues);
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw invalid(`${what} is not valid JSON: ${error instanceof Error ? error.message : String(error)}.`);
  }
  if (isShort && typeof value === "object" && isDeeper(value, MAX_DEPTH)) throw tooDeep(what);
  return value;
}

/** Returns the JSON list in a stored text, such as a tag; an empty list for other text. */
export function listIn(text = "[]"): unknown[] {
  try {
    const value: unknown = JSON.parse(text);
    return Array.isArray(value) ? value : [];
  } catch {
    return [];
  }
}

/** Returns the versions of models or prompts that a tag lists. */
export const versionsIn = (text: string | undefined): { name: unknown; version: unknown }[] =>
  listIn(text).filter(
    (it): it is { name: unknown; version: unknown } =>
      typeof it === "object" && it !== null && "name" in it && "version" in it,
  );
