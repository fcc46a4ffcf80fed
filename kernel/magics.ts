/** Lines of a cell that speak to the kernel: `%check off`, `%check on`, `?name`. */
import { CellSyntaxError, offsetOf } from "./syntax.ts";

/** What the magics at the head of a cell ask for. */
export interface Magics {
  /** The cell with its magics made blank, so that lines keep their numbers. */
  source: string;
  /** Check this cell's types; undefined leaves it to the session's setting. */
  check: boolean | undefined;
  /** The cell holds nothing else: the setting is for the session. */
  alone: boolean;
}

/** The expression that a cell asks about, as `?name` or `name?`; undefined for any other cell. */
export function askedAbout(source: string): string | undefined {
  const match = /^\s*(?:\?{1,2}\s*([\p{L}\p{N}_$.]+)|([\p{L}\p{N}_$.]+)\?{1,2})\s*$/u.exec(source);
  return match?.[1] ?? match?.[2];
}

/**
 * Reads the magics in the first lines of a cell.
 * @throws CellSyntaxError for a magic that the kernel does not know
 */
export function readMagics(source: string): Magics {
  const lines = source.split("\n");
  let check: boolean | undefined;
  for (const [index, line] of lines.entries()) {
    const trimmed = line.trim();
    if (trimmed === "") continue;
    if (!trimmed.startsWith("%")) break;
    const match = /^%check\s+(on|off)$/.exec(trimmed);
    if (!match) {
      const offset = offsetOf(source, index, line.indexOf("%"));
      throw new CellSyntaxError(
        `${trimmed} is no magic of this kernel`,
        offset,
        trimmed.length,
        "It knows %check off and %check on.",
      );
    }
    check = match[1] === "on";
    lines[index] = "";
  }
  const rest = lines.join("\n");
  return { source: rest, check, alone: check !== undefined && rest.trim() === "" };
}
