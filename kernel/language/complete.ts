/** Small questions about a cell that need no types: is it complete, so that Enter runs it? */

import { knownMagics } from "../transform/magics.ts";
import { parse } from "../transform/syntax.ts";
import { prepareCell } from "../transform/transform.ts";
import type { Completions } from "./check.ts";

/** The answer to is_complete_request. */
export type Completeness = { status: "complete" | "invalid" } | { status: "incomplete"; indent: string };

/** Whether a cell can run as it is, lacks its end, or is wrong however it goes on. */
export function completeness(source: string): Completeness {
  // Where a shell's text ends, nobody but its writer knows: an empty line says so.
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

/** The magics that could stand where one is being written; undefined elsewhere. */
export function completeMagic(source: string, offset: number): Completions | undefined {
  const line = source.slice(source.lastIndexOf("\n", offset - 1) + 1, offset);
  const [, written] = /^\s*(%{1,2}\w*)$/.exec(line) ?? [];
  if (written === undefined || !isHead(source.slice(0, offset - line.length))) return undefined;
  const items = Object.keys(knownMagics)
    .filter((name) => name.startsWith(written))
    .map((text) => ({ text, type: "magic" }));
  return { items, start: offset - written.length, end: offset };
}

function isHead(before: string): boolean {
  return before.split("\n").every((line) => line.trim() === "" || line.trim().startsWith("%"));
}

const step = "  ";

/** Indentation of the line that would follow: the last line's, one step more after an opening bracket. */
function indentAfter(source: string): string {
  const last = source.trimEnd().split("\n").at(-1) ?? "";
  const indent = /^\s*/.exec(last)?.[0] ?? "";
  return /[{([]$|=>$/.test(last.trimEnd()) ? indent + step : indent;
}

/** Markdown as a terminal shows it. */
export function plainText(markdown: string): string {
  return markdown
    .replace(/^```.*\n?/gm, "")
    .replace(/\n{3,}/g, "\n\n")
    .trim();
}
