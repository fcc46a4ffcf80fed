/** How a value looks under a cell. */
import { type InspectOptions, inspect, types } from "node:util";
import type { MimeBundle } from "../../src/display/notebook.ts";
import { breakable } from "./breakable.ts";
import { full, usual } from "./html.ts";
import { isInterruption } from "./interrupt.ts";
import { tableOf } from "./table.ts";
import { isExpandable, treeOf } from "./tree.ts";

/** The method by which a value says how to show it, as Deno has it. */
export const displaySymbol: unique symbol = Symbol.for("Jupyter.display") as never;

/**
 * The forms of a value: its own, when it says so, else text, with a table beside it for an array of records and a tree
 * for what takes more than a line.
 *
 * @param all as much of it as a notebook can hold
 * @returns undefined where there is nothing to show; a promise only where the value makes its forms in its own time
 */
export function bundleOf(value: unknown, all = false): MimeBundle | undefined | Promise<MimeBundle> {
  if (value === undefined) return undefined;
  try {
    const own = bounded(() => ownBundle(value));
    if (own instanceof Promise)
      return inTime(own)
        .then(ready)
        .catch((error: unknown) => withoutOwn(value, all, error));
    if (own !== undefined) return ready(own);
  } catch (error) {
    return withoutOwn(value, all, error);
  }
  const limits = all ? full : usual;
  const text = textOf(value, all);
  const bundle: MimeBundle = { "text/plain": text };
  if (types.isProxy(value)) return bundle;
  try {
    bounded(() => {
      const drawn = drawnBundle(value);
      if (drawn) {
        Object.assign(bundle, transportable(drawn));
        return;
      }
      // The stack of an error is what it has to say; lines of text keep their breaks.
      const nested = text.includes("\n") && isExpandable(value) && !types.isNativeError(value);
      const html = tableOf(value, limits) ?? (nested ? treeOf(value, limits) : undefined);
      if (html !== undefined) bundle["text/html"] = html;
    });
  } catch (error) {
    if (isInterruption(error)) throw error;
    // A value whose traps or getters throw is shown as text.
  }
  return bundle;
}

/** How long a value may take to show itself. */
const showMs = 5000;

/**
 * Calls a function that runs code of a value, such as its getters.
 * @throws what it throws, or Error when it does not return in time
 */
export function bounded<T>(look: () => T): T {
  try {
    return breakable(look, showMs);
  } catch (error) {
    if ((error as NodeJS.ErrnoException | null)?.code !== "ERR_SCRIPT_EXECUTION_TIMEOUT") throw error;
    throw new Error(`it did not return within ${showMs / 1000} s`);
  }
}

function inTime(own: Promise<unknown>): Promise<unknown> {
  const late = new Promise((_resolve, reject) => {
    setTimeout(() => reject(new Error(`it did not settle within ${showMs / 1000} s`)), showMs).unref();
  });
  return Promise.race([own, late]);
}

/** The text of a value that fails to show itself, with the reason. */
function withoutOwn(value: unknown, all: boolean, error: unknown): MimeBundle {
  if (isInterruption(error)) throw error;
  const why = error instanceof Error ? error.message : inspect(error, { customInspect: false });
  return { "text/plain": `${textOf(value, all)}\n[Symbol.for("Jupyter.display")]() failed: ${why}` };
}

function ownBundle(value: unknown): unknown {
  if ((typeof value !== "object" || value === null) && typeof value !== "function") return undefined;
  if (types.isProxy(value) && answersAll(value)) return undefined;
  const method = (value as Record<symbol, unknown>)[displaySymbol];
  return typeof method === "function" ? method.call(value) : undefined;
}

/** Whether a Proxy gives a value for a key that nobody can have set, or throws: then its answers mean nothing. */
function answersAll(value: object): boolean {
  try {
    return (value as Record<symbol, unknown>)[Symbol("no such key")] !== undefined;
  } catch {
    return true;
  }
}

/** What other libraries' values draw, as Deno's kernel knows them: Vega-Lite, elements of a document, canvases. */
function drawnBundle(value: unknown): MimeBundle | undefined {
  if (typeof value !== "object" || value === null) return undefined;
  const { $schema, outerHTML, nodeType, toSpec, toDataURL } = value as Record<string, unknown>;
  const spec = typeof toSpec === "function" ? (toSpec.call(value) as unknown) : value;
  const schema = typeof toSpec === "function" ? (spec as { $schema?: unknown }).$schema : $schema;
  if (typeof schema === "string") {
    const kind = /\/schema\/(vega|vega-lite)\/v(\d+)/.exec(schema)?.[1];
    // Front-ends know version 5; what is written for version 6 draws there too.
    if (kind === "vega-lite") return { "application/vnd.vegalite.v5+json": spec };
    if (kind === "vega") return { "application/vnd.vega.v5+json": spec };
  }
  if (typeof outerHTML === "string" && nodeType === 1) {
    return outerHTML.startsWith("<svg") ? { "image/svg+xml": outerHTML } : { "text/html": outerHTML };
  }
  const picture = typeof toDataURL === "function" ? String(toDataURL.call(value)) : "";
  const data = /^data:(image\/\w+);base64,(.*)$/.exec(picture);
  return data?.[1] && data[2] ? { [data[1]]: data[2] } : undefined;
}

function ready(bundle: unknown): MimeBundle {
  if (typeof bundle !== "object" || bundle === null || Array.isArray(bundle)) {
    throw new TypeError(`it returned ${inspect(bundle)}, expected a MIME bundle`);
  }
  return transportable(bundle as MimeBundle);
}

/**
 * A bundle as JSON carries it: binary data as Base64.
 * @throws TypeError that names the type whose data is no JSON
 */
export function transportable(bundle: MimeBundle): MimeBundle {
  const out: MimeBundle = {};
  for (const [type, data] of Object.entries(bundle)) {
    if (data === undefined) continue;
    if (data instanceof Uint8Array) out[type] = Buffer.from(data).toString("base64");
    else if (typeof data === "string") out[type] = data;
    else {
      try {
        out[type] = JSON.parse(JSON.stringify(data)) as unknown;
      } catch (error) {
        throw new TypeError(`cannot show "${type}": ${error instanceof Error ? error.message : error}`);
      }
    }
  }
  return out;
}

/**
 * A value as text; what it writes itself only where that is a text and comes in time. No colours: the text is kept in the
 * notebook's file.
 */
export function textOf(value: unknown, all = false): string {
  const { text, entries } = all ? full : usual;
  const options = {
    depth: all ? 20 : 4,
    maxArrayLength: all ? entries : 100,
    maxStringLength: text,
    breakLength: 100,
  };
  const isSimple = (typeof value !== "object" && typeof value !== "function") || value === null;
  if (isSimple) return inspect(value, options);
  let written: string;
  try {
    written = bounded(() => inspect(value, options));
  } catch (error) {
    if (isInterruption(error)) throw error;
    written = withoutCustom(value, options);
  }
  const most = Math.max(text, 1_000_000);
  return written.length > most ? `${written.slice(0, most)}… ${written.length - most} more characters` : written;
}

function withoutCustom(value: unknown, options: InspectOptions): string {
  try {
    return bounded(() => inspect(value, { ...options, customInspect: false }));
  } catch (error) {
    if (isInterruption(error)) throw error;
    return `[${typeof value} that cannot be shown]`;
  }
}
