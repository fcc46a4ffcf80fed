/** Helpers for HTML output. */
import { inspect, types } from "node:util";

/** Limits on how much of a value is displayed. */
export interface Limits {
  /** Entries of a tree, on all levels together. */
  entries: number;
  /** Rows of a table. */
  rows: number;
  /** Length of a string, in UTF-16 units. */
  text: number;
}

/** Limits by default. */
export const defaultLimits: Limits = { entries: 2000, rows: 200, text: 10_000 };
/** Limits with `{ full: true }`, so that a notebook stays usable. */
export const fullLimits: Limits = { entries: 50_000, rows: 20_000, text: 10_000_000 };

/** The hint that is shown where output is truncated. */
export const truncationHint = "display(value, { full: true }) shows all";

export function escapeHtml(text: string): string {
  return text.replace(/[&<>"]/g, (character) => `&#${character.charCodeAt(0)};`);
}

/** Formats a value on one line. */
export function oneLine(value: unknown, length = 200): string {
  const text = inspect(value, { depth: 1, breakLength: Number.POSITIVE_INFINITY, maxStringLength: length })
    .replace(/\s*\n\s*/g, " ")
    .trim();
  return text.length > length ? `${text.slice(0, length - 1)}…` : text;
}

/** Whether a value has a custom inspect function. Proxies count as well, because inspecting them runs user code. */
export function hasCustomInspect(value: object): boolean {
  if (types.isProxy(value)) return true;
  return typeof (value as Record<symbol, unknown>)[inspect.custom] === "function";
}
