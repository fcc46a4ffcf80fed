/** Formats values as MIME bundles. */
import { type InspectOptions, inspect, types } from "node:util";
import type { MimeBundle } from "../../src/display/notebook.ts";
import { breakable } from "./breakable.ts";
import { defaultLimits, fullLimits } from "./html.ts";
import { isInterruption } from "./interrupt.ts";
import { tableOf } from "./table.ts";
import { isExpandable, treeOf } from "./tree.ts";

/** The method that returns a value's own MIME bundle. The same symbol as in Deno. */
export const displaySymbol: unique symbol = Symbol.for("Jupyter.display") as never;

/**
 * The MIME bundle of a value: that of its display method if it has one. Otherwise text, plus an HTML table for an array of
 * records and an HTML tree for other values whose text takes more than a line.
 *
 * @param all use the limits of `display(value, { full: true })`
 * @returns undefined for `undefined`; a promise only if the display method returns one
 */
export function bundleOf(value: unknown, all = false): MimeBundle | undefined | Promise<MimeBundle> {
  if (value === undefined) return undefined;
  try {
    const own = bounded(() => ownBundle(value));
    if (own instanceof Promise)
      return withTimeout(own)
        .then(validated)
        .catch((error: unknown) => fallbackBundle(value, all, error));
    if (own !== undefined) return validated(own);
  } catch (error) {
    return fallbackBundle(value, all, error);
  }
  const limits = all ? fullLimits : defaultLimits;
  const text = textOf(value, all);
  const bundle: MimeBundle = { "text/plain": text };
  if (types.isProxy(value)) return bundle;
  try {
    bounded(() => {
      const library = libraryBundle(value);
      if (library) {
        Object.assign(bundle, transportable(library));
        return;
      }
      // Errors display as their stack. A string with line breaks displays as text.
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

/** Time limit for user code that formats a value. */
const showMs = 5000;

/**
 * Calls a function that may run user code, such as getters, with a time limit.
 * @throws what it throws, or Error when it does not return in time
 */
export function bounded<T>(call: () => T): T {
  try {
    return breakable(call, showMs);
  } catch (error) {
    if ((error as NodeJS.ErrnoException | null)?.code !== "ERR_SCRIPT_EXECUTION_TIMEOUT") throw error;
    throw new Error(`it did not return within ${showMs / 1000} s`);
  }
}

function withTimeout(own: Promise<unknown>): Promise<unknown> {
  const timeout = new Promise((_resolve, reject) => {
    setTimeout(() => reject(new Error(`it did not settle within ${showMs / 1000} s`)), showMs).unref();
  });
  return Promise.race([own, timeout]);
}

/** The text of a value whose display method failed, with the reason. */
function fallbackBundle(value: unknown, all: boolean, error: unknown): MimeBundle {
  if (isInterruption(error)) throw error;
  const why = error instanceof Error ? error.message : inspect(error, { customInspect: false });
  return { "text/plain": `${textOf(value, all)}\n[Symbol.for("Jupyter.display")]() failed: ${why}` };
}

function ownBundle(value: unknown): unknown {
  if ((typeof value !== "object" || value === null) && typeof value !== "function") return undefined;
  if (types.isProxy(value) && respondsToAnyKey(value)) return undefined;
  const method = (value as Record<symbol, unknown>)[displaySymbol];
  return typeof method === "function" ? method.call(value) : undefined;
}

/** Whether a Proxy returns a value for any key, or throws. It then has no real display method. */
function respondsToAnyKey(value: object): boolean {
  try {
    return (value as Record<symbol, unknown>)[Symbol("no such key")] !== undefined;
  } catch {
    return true;
  }
}

/** The bundle of values that Deno's kernel also displays: Vega and Vega-Lite, DOM elements, canvases. */
function libraryBundle(value: unknown): MimeBundle | undefined {
  if (typeof value !== "object" || value === null) return undefined;
  const { $schema, outerHTML, nodeType, toSpec, toDataURL } = value as Record<string, unknown>;
  const spec = typeof toSpec === "function" ? (toSpec.call(value) as unknown) : value;
  const schema = typeof toSpec === "function" ? (spec as { $schema?: unknown }).$schema : $schema;
  if (typeof schema === "string") {
    const kind = /\/schema\/(vega|vega-lite)\/v(\d+)/.exec(schema)?.[1];
    // Front-ends support version 5, which also renders specifications for version 6.
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

function validated(bundle: unknown): MimeBundle {
  if (typeof bundle !== "object" || bundle === null || Array.isArray(bundle)) {
    throw new TypeError(`it returned ${inspect(bundle)}, expected a MIME bundle`);
  }
  return transportable(bundle as MimeBundle);
}

/**
 * Converts a bundle to JSON: binary data becomes Base64.
 * @throws TypeError when data cannot be serialized as JSON; the message names its MIME type
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
 * Formats a value as text without colours, because notebooks store it. A custom inspect function that throws or takes too
 * long is ignored.
 */
export function textOf(value: unknown, all = false): string {
  const { text, entries } = all ? fullLimits : defaultLimits;
  const options = {
    depth: all ? 20 : 4,
    maxArrayLength: all ? entries : 100,
    maxStringLength: text,
    breakLength: 100,
  };
  const isSimple = (typeof value !== "object" && typeof value !== "function") || value === null;
  if (isSimple) return inspect(value, options);
  let inspected: string;
  try {
    inspected = bounded(() => inspect(value, options));
  } catch (error) {
    if (isInterruption(error)) throw error;
    inspected = inspectWithoutCustom(value, options);
  }
  const maxLength = Math.max(text, 1_000_000);
  if (inspected.length <= maxLength) return inspected;
  return `${inspected.slice(0, maxLength)}… ${inspected.length - maxLength} more characters`;
}

function inspectWithoutCustom(value: unknown, options: InspectOptions): string {
  try {
    return bounded(() => inspect(value, { ...options, customInspect: false }));
  } catch (error) {
    if (isInterruption(error)) throw error;
    return `[${typeof value} that cannot be shown]`;
  }
}
