/** Completeness and magic completion: checks of a cell's text that need no types. */

import { knownMagics } from "../transform/magics.ts";
import { parse } from "../transform/syntax.ts";
import { prepareCell } from "../transform/transform.ts";
import type { Completions } from "./check.ts";

/** The content of is_complete_reply. */
export type Completeness = { status: "complete" | "invalid" } | { status: "incomplete"; indent: string };

/** Whether a cell is complete, incomplete or invalid. */
export function completeness(source: string): Completeness {
  // A shell script ends with an empty line.
  if (/^\s*%%(sh|bash)\s*\n?/.test(source)) {
    return /\n\s*\n\s*$|\n[^\n]*\S[^\n]*\n\s*$/.test(source)
      ? { status: "complete" }
      : { status: "incomplete", indent: "" };
  }
  const text = source.replace(/^\s*%.*$/gm, "");
  const { errors } = parse(prepareCell(text).source, "ts");
  const error = errors.find((each) => each.severity === "Error");
  if (!error) return { status: "complete" };
  const label = error.labels[0];
  const end = text.trimEnd().length;
  const cut =
    (label !== undefined && label.start >= end) ||
    /EOF/.test(error.message) ||
    /^Unterminated (multiline comment|template)/.test(error.message) ||
    (/^Unterminated string/.test(error.message) && label !== undefined && text[label.start] === "`") ||
    (label !== undefined && label.end >= end && /^(Identifier expected after|Expected)/.test(error.message));
  return cut ? { status: "incomplete", indent: indentAfter(text) } : { status: "invalid" };
}

/** Completions for a magic at an offset; undefined if there is none. */
export function completeMagic(source: string, offset: number): Completions | undefined {
  const line = source.slice(source.lastIndexOf("\n", offset - 1) + 1, offset);
  const [, prefix] = /^\s*(%{1,2}\w*)$/.exec(line) ?? [];
  if (prefix === undefined || !isHead(source.slice(0, offset - line.length))) return undefined;
  const items = Object.keys(knownMagics)
    .filter((name) => name.startsWith(prefix))
    .map((text) => ({ text, type: "magic" }));
  return { items, start: offset - prefix.length, end: offset };
}

function isHead(before: string): boolean {
  return before.split("\n").every((line) => line.trim() === "" || line.trim().startsWith("%"));
}

const step = "  ";

/** Indentation for the next line: that of the last line, plus one step after an opening bracket. */
function indentAfter(source: string): string {
  const last = source.trimEnd().split("\n").at(-1) ?? "";
  const indent = /^\s*/.exec(last)?.[0] ?? "";
  return /[{([]$|=>$/.test(last.trimEnd()) ? indent + step : indent;
}

/** Converts Markdown to plain text. */
export function plainText(markdown: string): string {
  return markdown
    .replace(/^```.*\n?/gm, "")
    .replace(/\n{3,}/g, "\n\n")
    .trim();
}
