/** What the language server answers, in the kernel's own terms. */

import { offsetOf } from "../transform/syntax.ts";
import { withoutModules } from "./cells.ts";
import type { Diagnostic } from "./mistakes.ts";

/**
 * Complaints that a notebook is better without: a variable whose type is learnt by use (7005, 7034), and a package
 * that has no types (7016).
 */
const tolerated = new Set([7005, 7016, 7034]);

/** What the compiler says of a document. */
export interface Report {
  /** Of the cell, their places as in the cell. */
  diagnostics: Diagnostic[];
  /** Of lines after the cell, counted from 0: whether all that is said of one is that a type does not fit (TS2344). */
  after: ReadonlyMap<number, boolean>;
}

/** Complaints about a document that holds a cell from its second line on. */
export function readDiagnostics(report: unknown, shift: number, source: string): Report {
  const items = ((report as { items?: unknown[] } | null)?.items ?? []) as {
    severity?: number;
    code?: number;
    message: string;
    range: { start: { line: number; character: number }; end: { line: number; character: number } };
  }[];
  const diagnostics: Diagnostic[] = [];
  const after = new Map<number, boolean>();
  const lines = source.split("\n").length + (shift > 0 ? 1 : 0);
  for (const { severity, code = 0, message, range } of items) {
    if (severity !== 1 || tolerated.has(code)) continue;
    const line = range.start.line - 1;
    // A complaint about the line that brings the names follows from another one, in the cell that declared them.
    if (line < 0) continue;
    if (line >= lines) {
      after.set(line - lines, code === 2344 && after.get(line - lines) !== false);
      continue;
    }
    const column = Math.max(0, range.start.character - (line === 0 ? shift : 0));
    const from = offsetOf(source, line, column);
    const to = offsetOf(source, range.end.line - 1, range.end.character - (range.end.line === 1 ? shift : 0));
    diagnostics.push({ code, message: cleaned(message), line, column, length: Math.max(1, to - from) });
  }
  return { diagnostics, after };
}

/** Text without the names of the modules that cells are to the checker. */
export function cleaned(text: string): string {
  return withoutModules(text)
    .replace(/\(alias\) /g, "")
    .trim();
}

/** A place that textDocument/definition names. */
export interface Definition {
  uri?: string;
  range?: Range;
  targetUri?: string;
  /** The whole declaration, where the server tells it. */
  targetRange?: Range;
}

interface Range {
  start: { line: number; character: number };
  end: { line: number; character: number };
}

/** The Markdown of a hover or of documentation. */
export function markdown(contents: unknown): string {
  if (typeof contents === "string") return contents;
  if (Array.isArray(contents)) return contents.map(markdown).join("\n\n");
  if (typeof contents === "object" && contents !== null && "value" in contents) return String(contents.value);
  return "";
}

/** Names of the language server protocol's kinds of completions. */
export const completionKinds: Record<number, string> = {
  2: "method",
  3: "function",
  4: "constructor",
  5: "property",
  6: "variable",
  7: "class",
  8: "interface",
  9: "module",
  10: "property",
  11: "unit",
  12: "value",
  13: "enum",
  14: "keyword",
  17: "file",
  19: "folder",
  20: "enum member",
  21: "constant",
  22: "struct",
  25: "type",
};
