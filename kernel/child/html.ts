/** Values as short text in HTML. */
import { inspect, types } from "node:util";

/** How much of a value is shown. */
export interface Limits {
  /** Entries of a tree, all its levels together. */
  entries: number;
  /** Rows of a table. */
  rows: number;
  /** UTF-16 units of one text. */
  text: number;
}

/** What a cell shows by itself. */
export const usual: Limits = { entries: 2000, rows: 200, text: 10_000 };
/** What it shows when it is asked for all: as much as a notebook can hold. */
export const full: Limits = { entries: 50_000, rows: 20_000, text: 10_000_000 };

/** What to say where something was left out. */
export const seeAll = "display(value, { full: true }) shows all";

export function escapeHtml(text: string): string {
  return text.replace(/[&<>"]/g, (character) => `&#${character.charCodeAt(0)};`);
}

/** A value in one line. */
export function oneLine(value: unknown, length = 200): string {
  const text = inspect(value, { depth: 1, breakLength: Number.POSITIVE_INFINITY, maxStringLength: length })
    .replace(/\s*\n\s*/g, " ")
    .trim();
  return text.length > length ? `${text.slice(0, length - 1)}…` : text;
}

/** Whether a value says itself how it is written. */
export function writesItself(value: object): boolean {
  if (types.isProxy(value)) return true;
  return typeof (value as Record<symbol, unknown>)[inspect.custom] === "function";
}
