/** Converts responses of the language server to the kernel's types. */

import { offsetOf } from "../transform/syntax.ts";
import { withoutModules } from "./cells.ts";
import type { Diagnostic } from "./mistakes.ts";

/**
 * Errors that are ignored in notebooks: variables of implicit type any (7005, 7034) and packages without type
 * declarations (7016).
 */
const ignoredCodes = new Set([7005, 7016, 7034]);

/** The diagnostics of a document. */
export interface Report {
  /** Diagnostics of the cell, with positions in the cell. */
  diagnostics: Diagnostic[];
  /** Lines after the cell that have errors, counted from 0. True if TS2344 (constraint not satisfied) is the only one. */
  after: ReadonlyMap<number, boolean>;
}

/** Reads the diagnostics of a document that contains a cell from its second line on. */
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
    if (severity !== 1 || ignoredCodes.has(code)) continue;
    const line = range.start.line - 1;
    // Errors on the import line result from errors in the cells that declare the names.
    if (line < 0) continue;
    if (line >= lines) {
      after.set(line - lines, code === 2344 && after.get(line - lines) !== false);
      continue;
    }
    const column = Math.max(0, range.start.character - (line === 0 ? shift : 0));
    const from = offsetOf(source, line, column);
    const to = offsetOf(source, range.end.line - 1, range.end.character - (range.end.line === 1 ? shift : 0));
    diagnostics.push({ code, message: withoutInternals(message), line, column, length: Math.max(1, to - from) });
  }
  return { diagnostics, after };
}

/** Removes the internal module names of cells from a text. */
export function withoutInternals(text: string): string {
  return withoutModules(text)
    .replace(/\(alias\) /g, "")
    .trim();
}

/** A location in the response of textDocument/definition. */
export interface Definition {
  uri?: string;
  range?: Range;
  targetUri?: string;
  /** The range of the whole declaration, if the server sends it. */
  targetRange?: Range;
}

interface Range {
  start: { line: number; character: number };
  end: { line: number; character: number };
}

/** The Markdown of hover contents or documentation. */
export function markdown(contents: unknown): string {
  if (typeof contents === "string") return contents;
  if (Array.isArray(contents)) return contents.map(markdown).join("\n\n");
  if (typeof contents === "object" && contents !== null && "value" in contents) return String(contents.value);
  return "";
}

/** Names of LSP's completion item kinds. */
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
