/** Formats errors for Jupyter. */
import { inspect, stripVTControlCharacters, types } from "node:util";
import type { ShownError } from "../host/protocol.ts";
import { excerpt, paint } from "../language/excerpt.ts";
import { bounded, textOf } from "./display.ts";
import { Interrupted, isInterruption } from "./interrupt.ts";
import { missingPackages } from "./modules.ts";
import { plainMessage, sourceOf } from "./stacks.ts";

const maxFrames = 20;
/** The folder of this package's compiled files. Frames in it count as library code even outside node_modules. */
const ownPackage = import.meta.url.slice(0, import.meta.url.lastIndexOf("/kernel/") + 1);

/** Formats a thrown value. */
export function showError(thrown: unknown): ShownError {
  if (isInterruption(thrown)) {
    const error = thrown instanceof Interrupted ? thrown : new Interrupted();
    const { name, message } = error;
    return { ename: name, evalue: message, traceback: errorLines(error, name, message, new Set()) };
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
  lines.push(...ownProperties(error));
  const isAggregate = safely(() => Array.isArray((error as AggregateError).errors), false);
  const errors: unknown[] = isAggregate ? safely(() => (error as AggregateError).errors, []) : [];
  const hasCause = safely(() => error.cause !== undefined, false);
  const inner = safely(
    () => [
      ...(hasCause ? [{ role: "caused by", thrown: error.cause }] : []),
      ...errors.slice(0, maxInnerErrors).map((thrown) => ({ role: "among them", thrown })),
    ],
    [],
  );
  for (const { role, thrown } of inner) {
    if (seen.has(thrown)) continue;
    const [first = "", ...rest] = isError(thrown)
      ? errorLines(
          thrown,
          safely(() => String(thrown.name), "Error"),
          safely(() => plainMessage(String(thrown.message)), ""),
          seen,
        )
      : [shortText(thrown)];
    lines.push(`${paint.dim(role)} ${first}`, ...rest);
  }
  if (errors.length > maxInnerErrors) lines.push(paint.dim(`… and ${errors.length - maxInnerErrors} more`));
  return lines;
}

/** How many errors of an AggregateError are shown. */
const maxInnerErrors = 5;
const maxProperties = 20;
const maxPropertyLength = 1000;
/** Properties that are shown elsewhere in the traceback. */
const shownElsewhere = new Set(["name", "message", "stack", "cause", "errors"]);

/** Own properties of an error, such as `code` and `status`. Getters are not called. */
function ownProperties(error: Error): string[] {
  const properties = safely(() => {
    if (types.isProxy(error)) return [];
    const own = Object.entries(Object.getOwnPropertyDescriptors(error));
    return own.filter(([name, { enumerable }]) => enumerable && !shownElsewhere.has(name));
  }, []);
  const lines = properties
    .slice(0, maxProperties)
    .map(([name, { get, value }]) => `    ${paint.dim(`${name}:`)} ${get ? "[Getter]" : shortText(value)}`);
  if (properties.length > maxProperties) {
    lines.push(paint.dim(`    … ${properties.length - maxProperties} more properties`));
  }
  return lines;
}

function shortText(value: unknown): string {
  const text = safely(
    () => inspect(value, { depth: 1, maxArrayLength: 10, maxStringLength: maxPropertyLength, breakLength: 100 }),
    "a value that cannot be shown",
  ).replaceAll("\n", "\n    ");
  return text.length > maxPropertyLength ? `${text.slice(0, maxPropertyLength)}…` : text;
}

function framesOf(error: Error): string[] {
  const stack = safely(() => String(error.stack ?? ""), "");
  return stack
    .split("\n")
    .filter((line) => /^\s+at /.test(line))
    .map((line) => line.trim().slice("at ".length));
}

/** Folds consecutive frames of libraries and of Node.js into one line. */
function fold(frames: readonly string[]): string[] {
  const lines: string[] = [];
  let folded: string[] = [];
  const close = () => {
    if (folded.length > 0) lines.push(paint.dim(`    … ${folded.length} in ${[...new Set(folded)].join(", ")}`));
    folded = [];
  };
  // Node.js frames below the cell are the same for every script.
  const last = frames.findLastIndex((frame) => libraryOf(frame) !== "Node.js");
  for (const frame of frames.slice(0, Math.min(maxFrames, last + 1))) {
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

// Getters and proxies of user code may throw; formatting an error must not.
function safely<T>(call: () => T, fallback: T): T {
  try {
    return bounded(call);
  } catch {
    return fallback;
  }
}
