/** How an error looks under a cell. */
import { stripVTControlCharacters } from "node:util";
import type { ShownError } from "../host/protocol.ts";
import { excerpt, paint } from "../language/excerpt.ts";
import { bounded, textOf } from "./display.ts";
import { Interrupted, isInterruption } from "./interrupt.ts";
import { missingPackages } from "./modules.ts";
import { plainMessage, sourceOf } from "./stacks.ts";

const framesShown = 20;
/** Where the package's own libraries lie when it is not among the installed ones. */
const ownPackage = new URL("../../", import.meta.url).href;

/** What Jupyter shows for something that was thrown. */
export function showError(thrown: unknown): ShownError {
  if (isInterruption(thrown)) {
    const told = thrown instanceof Interrupted ? thrown : new Interrupted();
    return { ename: told.name, evalue: told.message, traceback: errorLines(told, told.name, told.message, new Set()) };
  }
  if (!isError(thrown)) {
    const evalue = stripVTControlCharacters(textOf(thrown));
    return { ename: "Uncaught", evalue, traceback: [`${paint.error("Uncaught")} ${evalue}`] };
  }
  const ename = safely(() => String(thrown.name || thrown.constructor.name), "Error");
  const evalue = safely(() => plainMessage(String(thrown.message)), "");
  const missing = missingPackages.get(thrown);
  return {
    ename,
    evalue,
    traceback: errorLines(thrown, ename, evalue, new Set()),
    ...(missing === undefined ? {} : { missing: [missing] }),
  };
}

function isError(value: unknown): value is Error {
  return safely(() => value instanceof Error || Object.prototype.toString.call(value) === "[object Error]", false);
}

function errorLines(error: Error, ename: string, evalue: string, seen: Set<unknown>): string[] {
  seen.add(error);
  const lines = [evalue === "" ? paint.error(ename) : `${paint.error(ename)}: ${evalue}`];
  const frames = framesOf(error);
  lines.push(...fold(frames));
  const cellFrame = frames.map((frame) => /((?:In|Silent)\[\d+\]):(\d+):(\d+)/.exec(frame)).find((match) => match);
  const source = cellFrame ? sourceOf(cellFrame[1] ?? "") : undefined;
  if (cellFrame && source !== undefined) {
    lines.push("", ...excerpt(source, Number(cellFrame[2]) - 1, Number(cellFrame[3]) - 1, 1));
  }
  const inner = safely(() => [error.cause, ...(error instanceof AggregateError ? error.errors.slice(0, 5) : [])], []);
  for (const each of inner) {
    if (!isError(each) || seen.has(each)) continue;
    const [first = "", ...rest] = errorLines(
      each,
      safely(() => each.name, "Error"),
      safely(() => plainMessage(each.message), ""),
      seen,
    );
    lines.push(`${paint.dim(each === error.cause ? "caused by" : "among them")} ${first}`, ...rest);
  }
  return lines;
}

function framesOf(error: Error): string[] {
  const stack = safely(() => String(error.stack ?? ""), "");
  return stack
    .split("\n")
    .filter((line) => /^\s+at /.test(line))
    .map((line) => line.trim().slice("at ".length));
}

/** Frames of libraries and of Node itself are told in one line for each run of them. */
function fold(frames: readonly string[]): string[] {
  const lines: string[] = [];
  let folded: string[] = [];
  const close = () => {
    if (folded.length > 0) lines.push(paint.dim(`    … ${folded.length} in ${[...new Set(folded)].join(", ")}`));
    folded = [];
  };
  // What lies below the cell is how Node runs any script.
  const last = frames.findLastIndex((frame) => libraryOf(frame) !== "Node.js");
  for (const frame of frames.slice(0, Math.min(framesShown, last + 1))) {
    const library = libraryOf(frame);
    if (library !== undefined) folded.push(library);
    else {
      close();
      lines.push(`    at ${frame}`);
    }
  }
  close();
  return lines;
}

function libraryOf(frame: string): string | undefined {
  const inPackage = /.*node_modules[\\/]((?:@[^\\/]+[\\/])?[^\\/]+)/.exec(frame);
  if (inPackage) return inPackage[1];
  if (frame.includes(ownPackage)) return "anneal";
  if (/\(?node:/.test(frame)) return "Node.js";
  return undefined;
}

// Getters and proxies of user code may throw; telling an error must not.
function safely<T>(look: () => T, otherwise: T): T {
  try {
    return bounded(look);
  } catch {
    return otherwise;
  }
}
