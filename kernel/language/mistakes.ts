/** Formats syntax and type errors that are diagnostics before a cell runs. */

import type { ShownError } from "../host/protocol.ts";
import { type CellSyntaxError, position } from "../transform/syntax.ts";
import { excerpt, paint } from "./excerpt.ts";
import { isInstallable, packageName } from "./packages.ts";

/** An error of the type checker. Line and column in the cell start at 0. */
export interface Diagnostic {
  code: number;
  message: string;
  line: number;
  column: number;
  length: number;
}

const maxShown = 10;

/** Formats a syntax error. */
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

/** Formats type errors. */
export function showDiagnostics(diagnostics: readonly Diagnostic[], label: string, source: string): ShownError {
  const [first] = diagnostics;
  const traceback: string[] = [];
  for (const each of diagnostics.slice(0, maxShown)) {
    traceback.push(
      `${paint.error(`TS${each.code}`)}: ${each.message}`,
      `    at ${label}:${each.line + 1}:${each.column + 1}`,
      ...excerpt(source, each.line, each.column, each.length),
    );
  }
  if (diagnostics.length > maxShown) traceback.push(`… and ${diagnostics.length - maxShown} more`);
  const missing = missingPackages(diagnostics);
  if (missing.length > 0) {
    const which = missing.length === 1 ? `The package ${missing[0]} is` : `The packages ${missing.join(", ")} are`;
    traceback.push(`${which} not installed. To install: %npm install ${missing.join(" ")}`);
  }
  traceback.push(paint.dim("The cell was not run. To run it anyway, add `%check off` as its first line."));
  return {
    ename: first ? `TS${first.code}` : "TypeError",
    evalue: first ? `${first.message} (line ${first.line + 1})` : "",
    traceback,
    ...(missing.length > 0 ? { missing } : {}),
  };
}

/** TypeScript's error code for "Cannot find module". */
const moduleNotFound = 2307;

function missingPackages(diagnostics: readonly Diagnostic[]): string[] {
  const names = diagnostics
    .filter(({ code }) => code === moduleNotFound)
    .map(({ message }) => /'([^']+)'/.exec(message)?.[1] ?? "")
    .filter((specifier) => !/^(\.|\/|\w+:)/.test(specifier))
    .map(packageName);
  return [...new Set(names)].filter(isInstallable);
}
