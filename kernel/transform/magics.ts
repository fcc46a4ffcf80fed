/** Lines of a cell that speak to the kernel, such as `%npm install d3` and `%%time`. They stand in its first lines. */
import type { Command } from "../host/protocol.ts";
import { CellSyntaxError, offsetOf, parse } from "./syntax.ts";

/** What the magics at the head of a cell ask for. */
export interface Magics {
  /** The cell with its magics made blank, so that lines keep their numbers. */
  source: string;
  /** Check this cell's types; undefined leaves it to the session's setting. */
  check: boolean | undefined;
  /** The cell holds nothing else: the setting is for the session. */
  alone: boolean;
  /** Tell how long the cell took. */
  time: boolean;
  /** What the child does before the cell's own code, in order. */
  commands: Command[];
}

/** The magics that there are, as a user writes them, with a line on each. */
export const knownMagics: Readonly<Record<string, string>> = {
  "%npm": "runs npm in the notebook's folder: %npm install d3",
  "%check": "%check off and %check on: for this cell, or from now on where it stands alone",
  "%time": "times one statement: %time await load()",
  "%%time": "times the whole cell",
  "%env": "lists the environment, shows %env NAME, sets %env NAME=value",
  "%reset": "forgets all variables",
  "%%sh": "gives the rest of the cell to the shell",
};

/** What is asked about a name. */
export interface Question {
  name: string;
  /** The source too: `??name`. */
  source: boolean;
}

/** The expression that a cell asks about, as `?name` or `name?`, or with two marks; undefined for any other cell. */
export function askedAbout(source: string): Question | undefined {
  const match = /^\s*(?:(\?{1,2})\s*([\p{L}\p{N}_$.]+)|([\p{L}\p{N}_$.]+)(\?{1,2}))\s*$/u.exec(source);
  const name = match?.[2] ?? match?.[3];
  return name === undefined ? undefined : { name, source: (match?.[1] ?? match?.[4]) === "??" };
}

/**
 * Reads the magics in the first lines of a cell.
 * @throws CellSyntaxError for a magic that the kernel does not know, or one that is used in another way than it works
 */
export function readMagics(source: string): Magics {
  const lines = source.split("\n");
  const found: Magics = { source, check: undefined, alone: false, time: false, commands: [] };
  for (const [index, line] of lines.entries()) {
    const trimmed = line.trim();
    if (trimmed === "") continue;
    if (!trimmed.startsWith("%")) break;
    const wrong = (message: string, help: string) =>
      new CellSyntaxError(message, offsetOf(source, index, line.indexOf("%")), trimmed.length, help);
    const [, magic = "", rest = ""] = /^(%{1,2}[\w-]*)\s*(.*)$/.exec(trimmed) ?? [];
    lines[index] = "";
    switch (magic) {
      case "%check":
        if (rest !== "on" && rest !== "off") throw wrong(`${trimmed}: %check is on or off`, helpOf(magic));
        found.check = rest === "on";
        break;
      case "%npm":
        if (rest === "") throw wrong("%npm needs to be told what to do", helpOf(magic));
        found.commands.push({ name: "npm", args: words(rest) });
        break;
      case "%env":
        found.commands.push(environment(rest));
        break;
      case "%reset":
        found.commands.push({ name: "reset" });
        break;
      case "%%time":
        if (rest !== "") throw wrong(`%%time stands alone on its line`, helpOf("%time"));
        found.time = true;
        break;
      case "%time": {
        found.time = true;
        // What is timed stays where it stands, for the places of its errors.
        lines[index] = line.replace(/%time\s?/, (text) => " ".repeat(text.length));
        if (!isOneStatement(lines.slice(index).join("\n"))) {
          throw wrong(
            "%time times one statement, and more follows",
            "With %%time as its first line the whole cell is timed.",
          );
        }
        break;
      }
      case "%%sh":
      case "%%bash":
        if (rest !== "") throw wrong(`${trimmed}: the shell's text begins on the next line`, helpOf("%%sh"));
        found.commands.push({
          name: "shell",
          program: magic.slice(2),
          script: lines.slice(index + 1).join("\n"),
        });
        lines.fill("", index);
        return finished(found, lines);
      default:
        throw wrong(`${magic} is no magic of this kernel`, `There are:\n${listOfMagics()}`);
    }
  }
  return finished(found, lines);
}

function finished(found: Magics, lines: readonly string[]): Magics {
  const source = lines.join("\n");
  return { ...found, source, alone: source.trim() === "" && found.commands.length === 0 };
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

/** The words of a command line; quotes hold words together. */
function words(line: string): string[] {
  return [...line.matchAll(/"([^"]*)"|'([^']*)'|(\S+)/g)].map(([, a, b, c]) => a ?? b ?? c ?? "");
}
