import { invalid } from "./errors.ts";

/** Nesting of a request's JSON. The deepest declared request has eight levels. */
const MAX_DEPTH = 64;
/** Values and keys of a request's JSON. The largest batch of metrics has 9000. */
const MAX_VALUES = 100_000;

const QUOTE = 34;
const BACKSLASH = 92;

/** Returns the position after the string that starts at `start`. */
function afterString(text: string, start: number): number {
  for (let end = text.indexOf('"', start + 1); end !== -1; end = text.indexOf('"', end + 1)) {
    let before = end - 1;
    while (text.charCodeAt(before) === BACKSLASH) before--;
    if ((end - before) % 2 === 1) return end + 1;
  }
  return text.length;
}

/** Checks what parsing would cost, in one pass: a text of few megabytes can hold millions of keys or levels. */
function checkCost(text: string, what: string, maxValues: number): void {
  let depth = 0;
  let values = 1;
  for (let at = 0; at < text.length; at++) {
    const code = text.charCodeAt(at);
    if (code === QUOTE) at = afterString(text, at) - 1;
    else if (code === 0x7b || code === 0x5b) {
      values++;
      if (++depth > MAX_DEPTH) throw invalid(`${what} is nested more than ${MAX_DEPTH} levels deep.`);
    } else if (code === 0x7d || code === 0x5d) depth--;
    else if (code === 0x2c || code === 0x3a) values++;
    if (values > maxValues) {
      throw invalid(`${what} has more than ${maxValues} keys and values: send smaller batches.`);
    }
  }
}

/**
 * Parses the JSON of a request, if it is not too costly.
 * @param what names the text in errors
 * @throws INVALID_PARAMETER_VALUE
 */
export function parseJson(text: string, what = "The request's body", maxValues = MAX_VALUES): unknown {
  checkCost(text, what, maxValues);
  try {
    return JSON.parse(text);
  } catch (error) {
    throw invalid(`${what} is not valid JSON: ${error instanceof Error ? error.message : String(error)}.`);
  }
}
