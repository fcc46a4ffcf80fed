/** Magics: commands to the kernel in the first lines of a cell, such as `%npm install d3` and `%%time`. */
import type { Command } from "../host/protocol.ts";
import { CellSyntaxError, offsetOf, parse } from "./syntax.ts";

/** The magics of a cell. */
export interface Magics {
  /** The cell with its magics replaced by blank lines, so that line numbers do not change. */
  source: string;
  /** Whether to check this cell's types; undefined for the session's setting. */
  check: boolean | undefined;
  /** The cell contains only settings, which then apply to the session. */
  alone: boolean;
  /** Print how long the cell took. */
  time: boolean;
  /** Commands to run before the cell's code, in order. */
  commands: Command[];
}

/** All magics, with a description of each. */
export const knownMagics: Readonly<Record<string, string>> = {
  "%npm": "runs npm in the notebook's folder: %npm install d3",
  "%check": "%check off and %check on: for this cell, or for all later cells if the cell contains nothing else",
  "%time": "times one statement: %time await load()",
  "%%time": "times the whole cell",
  "%env": "lists the environment; %env NAME prints a variable, %env NAME=value sets it",
  "%reset": "deletes all variables",
  "%%sh": "runs the rest of the cell in the shell",
};

/** A cell that requests the documentation of a name. */
export interface Inspection {
  name: string;
  /** Whether to include the source (`??name`). */
  source: boolean;
}

/** Parses a cell such as `?name`, `name?` or `name??`; undefined for any other cell. */
export function readInspection(source: string): Inspection | undefined {
  const match = /^\s*(?:(\?{1,2})\s*([\p{L}\p{N}_$.]+)|([\p{L}\p{N}_$.]+)(\?{1,2}))\s*$/u.exec(source);
  const name = match?.[2] ?? match?.[3];
  return name === undefined ? undefined : { name, source: (match?.[1] ?? match?.[4]) === "??" };
}

/**
 * Reads the magics in the first lines of a cell.
 * @throws CellSyntaxError for an unknown magic or invalid arguments
 */
export function readMagics(source: string): Magics {
  const lines = source.split("\n");
  const magics: Magics = { source, check: undefined, alone: false, time: false, commands: [] };
  for (const [index, line] of lines.entries()) {
    const trimmed = line.trim();
    if (trimmed === "") continue;
    if (!trimmed.startsWith("%")) break;
    const syntaxError = (message: string, help: string) =>
      new CellSyntaxError(message, offsetOf(source, index, line.indexOf("%")), trimmed.length, help);
    const [, magic = "", rest = ""] = /^(%{1,2}[\w-]*)\s*(.*)$/.exec(trimmed) ?? [];
    lines[index] = "";
    switch (magic) {
      case "%check":
        if (rest !== "on" && rest !== "off") throw syntaxError(`${trimmed}: %check takes on or off`, helpOf(magic));
        magics.check = rest === "on";
        break;
      case "%npm":
        if (rest === "") throw syntaxError("%npm needs arguments, such as: %npm install d3", helpOf(magic));
        magics.commands.push({ name: "npm", args: words(rest) });
        break;
      case "%env":
        magics.commands.push(environment(rest));
        break;
      case "%reset":
        magics.commands.push({ name: "reset" });
        break;
      case "%%time":
        if (rest !== "") throw syntaxError("%%time takes no arguments", helpOf("%time"));
        magics.time = true;
        break;
      case "%time": {
        magics.time = true;
        // The statement keeps its column, for positions in errors.
        lines[index] = line.replace(/%time\s?/, (text) => " ".repeat(text.length));
        if (!isOneStatement(lines.slice(index).join("\n"))) {
          throw syntaxError(
            "%time times one statement, but the cell has more",
            "To time the whole cell, use %%time as its first line.",
          );
        }
        break;
      }
      case "%%sh":
      case "%%bash":
        if (rest !== "") throw syntaxError(`${trimmed}: the shell script must start on the next line`, helpOf("%%sh"));
        magics.commands.push({
          name: "shell",
          program: magic.slice(2),
          script: lines.slice(index + 1).join("\n"),
        });
        lines.fill("", index);
        return withSource(magics, lines);
      default:
        throw syntaxError(`unknown magic ${magic}`, `Available magics:\n${listOfMagics()}`);
    }
  }
  return withSource(magics, lines);
}

function withSource(magics: Magics, lines: readonly string[]): Magics {
  const source = lines.join("\n");
  return { ...magics, source, alone: source.trim() === "" && magics.commands.length === 0 };
}

function helpOf(magic: string): string {
  return `${magic} ${knownMagics[magic] ?? ""}`;
}

function listOfMagics(): string {
  return Object.entries(knownMagics)
    .map(([name, line]) => `  ${name.padEnd(8)} ${line}`)
    .join("\n");
}

function isOneStatement(code: string): boolean {
  const { program, errors } = parse(code, "ts");
  return errors.length > 0 || program.body.length <= 1;
}

function environment(rest: string): Command {
  const match = /^([^\s=]+)(?:\s*=\s*|\s+)(.*)$/.exec(rest);
  if (match?.[1] !== undefined) return { name: "env", variable: match[1], value: unquoted(match[2] ?? "") };
  return { name: "env", variable: rest === "" ? undefined : rest, value: undefined };
}

function unquoted(text: string): string {
  return /^(["']).*\1$/.test(text) ? text.slice(1, -1) : text;
}

/** Splits a command line into words, respecting quotes. */
function words(line: string): string[] {
  return [...line.matchAll(/"([^"]*)"|'([^']*)'|(\S+)/g)].map(([, a, b, c]) => a ?? b ?? c ?? "");
}
