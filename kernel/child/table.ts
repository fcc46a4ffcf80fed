/**
 * HTML tables for arrays of records. A click on a column header sorts without a script: every row has its rank in each
 * column as a CSS variable, and hidden radio buttons in the header select which rank orders the rows. Without styles, as
 * in an untrusted notebook, it is a plain table.
 */
import { types } from "node:util";
import { newId } from "./cells.ts";
import { escapeHtml, hasCustomInspect, type Limits, oneLine, truncationHint } from "./html.ts";

const maxColumns = 30;

type Row = Record<string, unknown>;

/** HTML table of an array of records; undefined for any other value. */
export function tableOf(value: unknown, limits: Limits): string | undefined {
  if (!Array.isArray(value) || value.length === 0 || types.isProxy(value)) return undefined;
  if (!areRecords(value)) return undefined;
  const rows = value.slice(0, limits.rows);
  const columns = [...new Set(rows.flatMap((row) => Object.keys(row)))];
  if (columns.length === 0 || columns.length > maxColumns) return undefined;
  const cells = rows.map((row) => columns.map((name) => read(row, name)));
  const ranks = columns.map((_, column) => ranksOf(cells.map((row) => row[column])));
  const body = cells.map((row, index) => {
    const order = ranks.map((rank, column) => `--c${column}:${rank[index]}`).join(";");
    return `<tr style="${order}"><th>${index}</th>${row.map(cellOf).join("")}</tr>`;
  });
  const id = `anneal-${newId(JSON.stringify([columns, body])).slice(0, 8)}`;
  const head = columns.map((name) => `<th>${headOf(id, name)}</th>`).join("");
  const more =
    value.length > rows.length ? `<p>${rows.length} of ${value.length} rows; ${escapeHtml(truncationHint)}</p>` : "";
  return (
    `<style>${styleOf(id, columns.length)}</style><div id="${id}" class="anneal-table">` +
    `<table><thead><tr><th></th>${head}</tr></thead><tbody>${body.join("")}</tbody></table></div>${more}`
  );
}

/** Whether all values are plain objects, or instances of one class without a custom inspect function. */
function areRecords(values: readonly unknown[]): values is readonly Row[] {
  let first: unknown;
  return values.every((value, index) => {
    if (typeof value !== "object" || value === null || Array.isArray(value) || hasCustomInspect(value)) return false;
    const prototype: unknown = Object.getPrototypeOf(value);
    if (prototype === Object.prototype || prototype === null) return true;
    if (index === 0) first = prototype;
    return prototype === first && Object.prototype.toString.call(value) === "[object Object]" && !isCollection(value);
  });
}

function isCollection(value: object): boolean {
  return types.isMap(value) || types.isSet(value) || types.isPromise(value) || types.isNativeError(value);
}

function read(row: Row, name: string): unknown {
  const descriptor = Object.getOwnPropertyDescriptor(row, name);
  return descriptor?.get ? "[Getter]" : descriptor?.value;
}

function cellOf(value: unknown): string {
  if (value === undefined) return "<td></td>";
  const number = typeof value === "number" || typeof value === "bigint";
  const text = typeof value === "string" ? (value.length > 500 ? `${value.slice(0, 500)}…` : value) : oneLine(value);
  return `<td${number ? ' align="right"' : ""}>${escapeHtml(text)}</td>`;
}

/** Column header: clicks switch between ascending, descending and original order. */
function headOf(id: string, name: string): string {
  // JupyterLab's sanitizer removes `hidden` but keeps its own class for hidden elements.
  const choice = (way: string, mark: string) =>
    `<label class="${way}${way === "up" ? "" : ' lm-Widget lm-mod-hidden" hidden="'}">${escapeHtml(name)}${mark}` +
    `<input type="radio" name="${id}" class="lm-Widget lm-mod-hidden" hidden></label>`;
  return choice("up", "") + choice("down", " ▲") + choice("off", " ▼");
}

function styleOf(id: string, columns: number): string {
  const root = `#${id}`;
  const rules = [
    `${root}{max-height:28em;overflow:auto}`,
    `${root} table{display:grid;grid-template-columns:repeat(${columns + 1},auto);width:max-content;margin:0}`,
    `${root} thead,${root} tbody{display:contents}`,
    `${root} tr{display:grid;grid-template-columns:subgrid;grid-column:1/-1;padding:0;` +
      "background:none!important;border-bottom:1px solid var(--jp-border-color2,#8884)}",
    `${root} thead tr{order:-99999999;position:sticky;top:0;background:var(--jp-layout-color0,Canvas)!important}`,
    `${root} td,${root} th{padding:.2em .8em;line-height:1.4;text-align:left}${root} [align=right]{text-align:right}`,
    `${root} td{white-space:pre-wrap;max-width:40em;overflow-wrap:anywhere}`,
    `${root} label{cursor:pointer}`,
    `${root} th:has(.up :checked) .up,${root} th:has(.down :checked) .up{display:none}`,
    `${root} th:has(.up :checked) .down,${root} th:has(.down :checked) .off{display:inline!important}`,
  ];
  for (let column = 0; column < columns; column++) {
    const head = `${root}:has(th:nth-child(${column + 2})`;
    rules.push(`${head} .up :checked) tbody tr{order:var(--c${column})}`);
    rules.push(`${head} .down :checked) tbody tr{order:calc(-1*var(--c${column}))}`);
  }
  return rules.join("");
}

/** The rank of each value: numbers in numerical order, strings in alphabetical order, missing values last. */
function ranksOf(values: readonly unknown[]): number[] {
  const keys = values.map((value) => {
    if (value instanceof Date) return value.getTime();
    if (typeof value === "boolean") return Number(value);
    if (typeof value === "number" || typeof value === "bigint" || value === undefined || value === null) return value;
    return typeof value === "string" ? value : oneLine(value);
  });
  const order = [...keys.keys()].sort((a, b) => compare(keys[a], keys[b]) || a - b);
  const ranks = new Array<number>(keys.length);
  for (const [rank, index] of order.entries()) ranks[index] = rank;
  return ranks;
}

type Key = string | number | bigint | null | undefined;

function compare(a: Key, b: Key): number {
  const missing = (key: Key) => key === undefined || key === null || Number.isNaN(key);
  if (missing(a) || missing(b)) return Number(missing(a)) - Number(missing(b));
  if (typeof a === "string" || typeof b === "string") return collator.compare(String(a), String(b));
  return (a ?? 0) < (b ?? 0) ? -1 : Number((a ?? 0) > (b ?? 0));
}

const collator = new Intl.Collator("en", { numeric: true });
