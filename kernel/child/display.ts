/** How a value looks under a cell. */
import { inspect } from "node:util";
import type { MimeBundle } from "../../src/display/notebook.ts";

/** The method by which a value says how to show it, as Deno has it. */
const displaySymbol = Symbol.for("Jupyter.display");

const rowsShown = 100;
const columnsShown = 30;

/**
 * The forms of a value: its own, when it says so, else text, with a table beside it for an array of records.
 * @returns undefined where there is nothing to show; a promise only where the value makes its forms in its own time
 */
export function bundleOf(value: unknown): MimeBundle | undefined | Promise<MimeBundle> {
  if (value === undefined) return undefined;
  const own = ownBundle(value);
  if (own !== undefined) return own instanceof Promise ? own.then(ready) : ready(own);
  const bundle: MimeBundle = { "text/plain": textOf(value) };
  const table = tableOf(value);
  if (table !== undefined) bundle["text/html"] = table;
  return bundle;
}

function ownBundle(value: unknown): unknown {
  if ((typeof value !== "object" || value === null) && typeof value !== "function") return undefined;
  const method = (value as Record<symbol, unknown>)[displaySymbol];
  return typeof method === "function" ? method.call(value) : undefined;
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

/** A value as text, with colours. */
export function textOf(value: unknown): string {
  return inspect(value, { colors: true, depth: 4, maxArrayLength: 100, maxStringLength: 10_000, breakLength: 100 });
}

function tableOf(value: unknown): string | undefined {
  if (!Array.isArray(value) || value.length === 0 || !value.every(isRecord)) return undefined;
  const records: readonly Record<string, unknown>[] = value;
  const columns = [...new Set(records.slice(0, rowsShown).flatMap((record) => Object.keys(record)))];
  if (columns.length === 0 || columns.length > columnsShown) return undefined;
  const head = ["", ...columns].map((name) => `<th>${escapeHtml(name)}</th>`).join("");
  const rows = records.slice(0, rowsShown).map((record, index) => {
    const cells = columns.map((name) => `<td>${escapeHtml(cellText(record[name]))}</td>`).join("");
    return `<tr><th>${index}</th>${cells}</tr>`;
  });
  const more = records.length > rowsShown ? `<p>… ${records.length - rowsShown} more rows</p>` : "";
  return `<table><thead><tr>${head}</tr></thead><tbody>${rows.join("")}</tbody></table>${more}`;
}

function isRecord(value: unknown): value is Record<string, unknown> {
  if (typeof value !== "object" || value === null) return false;
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === Object.prototype || prototype === null;
}

function cellText(value: unknown): string {
  if (value === undefined) return "";
  return typeof value === "string" ? value : inspect(value, { depth: 1, breakLength: Number.POSITIVE_INFINITY });
}

function escapeHtml(text: string): string {
  return text.replace(/[&<>"]/g, (character) => `&#${character.charCodeAt(0)};`);
}
