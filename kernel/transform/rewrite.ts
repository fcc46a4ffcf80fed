/** Rewriting the JavaScript of a cell: top-level names, imports, and the last expression. */
import type MagicString from "magic-string";
import type { Declaration, DeclarationKind } from "../host/protocol.ts";
import { declarationOf } from "./bound.ts";
import { enclose, guardNames } from "./guards.ts";
import { CellRewrite, runtime, scopeObject, type Visitor } from "./rewrite/cell.ts";
import { importVisitors, rewriteExport, rewriteImport } from "./rewrite/imports.ts";
import { loopVisitors } from "./rewrite/loops.ts";
import { referenceVisitors } from "./rewrite/references.ts";
import { scopeVisitors, walkFunction } from "./rewrite/scopes.ts";
import { rewriteVariables, variableVisitors } from "./rewrite/variables.ts";
import { boundNames, child, list, type Node, text } from "./syntax.ts";

const prologue =
  `(async function __anneal_cell(){"use strict";const ${runtime}=globalThis[Symbol.for("anneal.cell")],` +
  `${scopeObject}=${runtime}.scope,__anneal_id=${runtime}.cell(),__anneal_call=0,{` +
  `${guardNames.map((name) => `${name}:__anneal_${name}`).join(",")}}=${runtime};`;
const epilogue = "\n})()";

const visitors: Readonly<Record<string, Visitor>> = {
  ...referenceVisitors,
  ...scopeVisitors,
  ...variableVisitors,
  ...loopVisitors,
  ...importVisitors,
};

/**
 * Rewrites a program in place.
 *
 * @param declared the names of this cell, from `boundAt`
 * @param known the names of earlier cells
 * @param captured names that functions of any cell mention; without it all names stay where all cells see them
 * @param using names of this cell that are disposed of when it ends
 */
export function rewrite(
  magic: MagicString,
  program: Node,
  declared: readonly Declaration[],
  known: ReadonlyMap<string, DeclarationKind>,
  using: ReadonlyMap<string, "sync" | "async"> = new Map(),
  captured?: ReadonlySet<string>,
): void {
  const own = new Map(declared.map(({ name, kind }) => [name, kind]));
  const cell = new CellRewrite(magic, { own, known, using, captured }, visitors);
  for (const { name, kind } of declared) if (kind === "var" || kind === "function") cell.bound.add(name);
  const body = list(program, "body").filter((node) => node.type !== "EmptyStatement");
  // A directive is an expression like any other here: `"use strict"` alone is a string to show.
  const last = body.at(-1);
  for (const statement of body) {
    rewriteStatement(cell, statement, statement === last);
    for (const name of variablesOf(statement)) cell.bound.add(name);
  }
  for (const { name, kind } of declared) {
    if (kind === "var") cell.hoisted.push(`${scopeObject}.${name}=${runtime}.peek.${name};`);
    if (kind === "enum" || kind === "namespace") cell.hoisted.push(`${scopeObject}.${name}=void 0;`);
  }
  // One resume after the imports: a cell given up while they load must not start.
  const loading = cell.imports.length > 0 ? `${cell.imports.join("")}__anneal_resume();` : "";
  // The cell begins on a line of its own: a breakpoint at its start is not one in the prologue.
  magic.prepend(`${prologue}${cell.hoisted.join("")}${loading}\n`);
  magic.append(epilogue);
}

/** Names of a `const`, `let` or `var` statement. */
function variablesOf(statement: Node): string[] {
  const declaration = declarationOf(statement);
  if (declaration.type !== "VariableDeclaration") return [];
  return list(declaration, "declarations").flatMap((each) => boundNames(child(each, "id") ?? each));
}

function rewriteStatement(cell: CellRewrite, statement: Node, isLast: boolean): void {
  const node = declarationOf(statement);
  if (statement.type === "ImportDeclaration") {
    rewriteImport(cell, statement);
    return;
  }
  if (statement.type.startsWith("Export")) {
    if (child(statement, "source") || statement === node) {
      rewriteExport(cell, statement);
      return;
    }
    cell.magic.remove(statement.start, node.start);
  }
  switch (node.type) {
    case "VariableDeclaration":
      rewriteVariables(cell, node, undefined, false);
      return;
    case "FunctionDeclaration": {
      const id = child(node, "id");
      if (id) cell.hoisted.push(`${scopeObject}.${text(id, "name")}=${text(id, "name")};`);
      walkFunction(cell, node, undefined);
      return;
    }
    case "ClassDeclaration": {
      const id = child(node, "id");
      cell.walk(node, undefined);
      if (id) enclose(cell.magic, node, `${scopeObject}.${text(id, "name")}=`, ";");
      return;
    }
    case "ExpressionStatement":
      cell.walk(node, undefined);
      if (isLast) showResult(cell, child(node, "expression"));
      return;
    default:
      cell.walk(node, undefined);
      // `export default` of an expression.
      if (isLast && statement.type === "ExportDefaultDeclaration") showResult(cell, node);
  }
}

/** The value of the last expression is what the cell results in. */
function showResult(cell: CellRewrite, expression: Node | undefined): void {
  if (expression) enclose(cell.magic, expression, `return ${runtime}.result(`, ")");
}
