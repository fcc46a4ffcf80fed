/** Mistakes that are found before a cell runs, as they look under it. */

import type { ShownError } from "../host/protocol.ts";
import { type CellSyntaxError, position } from "../transform/syntax.ts";
import { excerpt, paint } from "./excerpt.ts";
import { isInstallable, packageName } from "./packages.ts";

/** One finding of the type checker, its place in the cell counted from 0. */
export interface Diagnostic {
  code: number;
  message: string;
  line: number;
  column: number;
  length: number;
}

const shownAtMost = 10;

/** A cell that is no TypeScript. */
export function showSyntaxError(error: CellSyntaxError, label: string, source: string): ShownError {
  const { line, column } = position(source, error.offset);
  return {
    ename: "SyntaxError",
    evalue: `${error.message} (line ${line + 1})`,
    traceback: [
      `${paint.error("SyntaxError")}: ${error.message}`,
      `    at ${label}:${line + 1}:${column + 1}`,
      ...excerpt(source, line, column, error.length),
      ...(error.help === undefined ? [] : [error.help]),
    ],
  };
}

/** A cell whose types do not fit. */
export function showDiagnostics(found: readonly Diagnostic[], label: string, source: string): ShownError {
  const [first] = found;
  const traceback: string[] = [];
  for (const each of found.slice(0, shownAtMost)) {
    traceback.push(
      `${paint.error(`TS${each.code}`)}: ${each.message}`,
      `    at ${label}:${each.line + 1}:${each.column + 1}`,
      ...excerpt(source, each.line, each.column, each.length),
    );
  }
  if (found.length > shownAtMost) traceback.push(`… and ${found.length - shownAtMost} more`);
  const missing = missingPackages(found);
  if (missing.length > 0) {
    const which = missing.length === 1 ? `The package ${missing[0]} is` : `The packages ${missing.join(", ")} are`;
    traceback.push(`${which} not installed here. To install: %npm install ${missing.join(" ")}`);
  }
  traceback.push(paint.dim("Nothing was run. With `%check off` as its first line the cell runs anyway."));
  return {
    ename: first ? `TS${first.code}` : "TypeError",
    evalue: first ? `${first.message} (line ${first.line + 1})` : "",
    traceback,
    ...(missing.length > 0 ? { missing } : {}),
  };
}

/** TypeScript's number of "Cannot find module". */
const moduleNotFound = 2307;

function missingPackages(found: readonly Diagnostic[]): string[] {
  const names = found
    .filter(({ code }) => code === moduleNotFound)
    .map(({ message }) => /'([^']+)'/.exec(message)?.[1] ?? "")
    .filter((specifier) => !/^(\.|\/|\w+:)/.test(specifier))
    .map(packageName);
  return [...new Set(names)].filter(isInstallable);
}
