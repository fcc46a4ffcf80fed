/** How a value looks under a cell. */
import { inspect, types } from "node:util";
import type { MimeBundle } from "../../src/display/notebook.ts";
import { full, usual } from "./html.ts";
import { tableOf } from "./table.ts";
import { isExpandable, treeOf } from "./tree.ts";

/** The method by which a value says how to show it, as Deno has it. */
const displaySymbol = Symbol.for("Jupyter.display");

/**
 * The forms of a value: its own, when it says so, else text, with a table beside it for an array of records and a tree
 * for what takes more than a line.
 *
 * @param all as much of it as a notebook can hold
 * @returns undefined where there is nothing to show; a promise only where the value makes its forms in its own time
 */
export function bundleOf(value: unknown, all = false): MimeBundle | undefined | Promise<MimeBundle> {
  if (value === undefined) return undefined;
  const own = ownBundle(value);
  if (own !== undefined) return own instanceof Promise ? own.then(ready) : ready(own);
  const limits = all ? full : usual;
  const text = textOf(value, all);
  const bundle: MimeBundle = { "text/plain": text };
  try {
    const drawn = drawnBundle(value);
    if (drawn) return { ...drawn, ...bundle };
    // The stack of an error is what it has to say; lines of text keep their breaks.
    const nested = text.includes("\n") && isExpandable(value) && !types.isNativeError(value);
    const html = tableOf(value, limits) ?? (nested ? treeOf(value, limits) : undefined);
    if (html !== undefined) bundle["text/html"] = html;
  } catch {
    // A value whose traps or getters throw is shown as text.
  }
  return bundle;
}

function ownBundle(value: unknown): unknown {
  if ((typeof value !== "object" || value === null) && typeof value !== "function") return undefined;
  const method = (value as Record<symbol, unknown>)[displaySymbol];
  return typeof method === "function" ? method.call(value) : undefined;
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
  if (typeof bundle !== "object" || bundle === null) {
    throw new TypeError(`[Symbol.for("Jupyter.display")]() returned ${inspect(bundle)}, expected a MIME bundle`);
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

/** A value as text. It is kept in the notebook's file, where the colours of a terminal are only noise. */
export function textOf(value: unknown, all = false): string {
  const { text, entries } = all ? full : usual;
  return inspect(value, {
    depth: all ? 20 : 4,
    maxArrayLength: all ? entries : 100,
    maxStringLength: text,
    breakLength: 100,
  });
}
