/** How an error looks under a cell. */
import { inspect, stripVTControlCharacters, types } from "node:util";
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
  lines.push(...ownProperties(error));
  const isAggregate = safely(() => Array.isArray((error as AggregateError).errors), false);
  const errors: unknown[] = isAggregate ? safely(() => (error as AggregateError).errors, []) : [];
  const hasCause = safely(() => error.cause !== undefined, false);
  const inner = safely(
    () => [
      ...(hasCause ? [{ role: "caused by", thrown: error.cause }] : []),
      ...errors.slice(0, innerShown).map((thrown) => ({ role: "among them", thrown })),
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
  if (errors.length > innerShown) lines.push(paint.dim(`… and ${errors.length - innerShown} more`));
  return lines;
}

/** So many of the errors that an AggregateError gathers are shown. */
const innerShown = 5;
const propertiesShown = 20;
const propertyLength = 1000;
/** Shown by other lines than those of the properties. */
const shownElsewhere = new Set(["name", "message", "stack", "cause", "errors"]);

/** What was set on an error, such as `code` and `status`; getters are not run. */
function ownProperties(error: Error): string[] {
  const found = safely(() => {
    if (types.isProxy(error)) return [];
    const own = Object.entries(Object.getOwnPropertyDescriptors(error));
    return own.filter(([name, { enumerable }]) => enumerable && !shownElsewhere.has(name));
  }, []);
  const lines = found
    .slice(0, propertiesShown)
    .map(([name, { get, value }]) => `    ${paint.dim(`${name}:`)} ${get ? "[Getter]" : shortText(value)}`);
  if (found.length > propertiesShown) lines.push(paint.dim(`    … ${found.length - propertiesShown} more properties`));
  return lines;
}

function shortText(value: unknown): string {
  const text = safely(
    () => inspect(value, { depth: 1, maxArrayLength: 10, maxStringLength: propertyLength, breakLength: 100 }),
    "a value that cannot be shown",
  ).replaceAll("\n", "\n    ");
  return text.length > propertyLength ? `${text.slice(0, propertyLength)}…` : text;
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
