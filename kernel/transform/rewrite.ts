/** Rewrites the JavaScript of a cell: top-level names, imports and the last expression. */
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
 * @param declared the declarations of this cell, from `topLevelDeclarations`
 * @param earlier the names of earlier cells
 * @param captured names that functions in any cell reference; without it loops use no local copies
 * @param using names of this cell to dispose when it ends
 */
export function rewrite(
  magic: MagicString,
  program: Node,
  declared: readonly Declaration[],
  earlier: ReadonlyMap<string, DeclarationKind>,
  using: ReadonlyMap<string, "sync" | "async"> = new Map(),
  captured?: ReadonlySet<string>,
): void {
  const own = new Map(declared.map(({ name, kind }) => [name, kind]));
  const cell = new CellRewrite(magic, { own, earlier, using, captured }, visitors);
  for (const { name, kind } of declared) if (kind === "var" || kind === "function") cell.bound.add(name);
  const body = list(program, "body").filter((node) => node.type !== "EmptyStatement");
  // Directives count as expressions: the result of a cell `"use strict"` is the string.
  const last = body.at(-1);
  for (const statement of body) {
    rewriteStatement(cell, statement, statement === last);
    for (const name of variablesOf(statement)) cell.bound.add(name);
  }
  for (const { name, kind } of declared) {
    if (kind === "var") cell.hoisted.push(`${scopeObject}.${name}=${runtime}.peek.${name};`);
    if (kind === "enum" || kind === "namespace") cell.hoisted.push(`${scopeObject}.${name}=void 0;`);
  }
  // A check after the imports, so that a cell that is interrupted while they load does not start.
  const loading = cell.imports.length > 0 ? `${cell.imports.join("")}__anneal_resume();` : "";
  // The cell starts on a new line, so that a breakpoint in its first line is not set in the prologue.
  magic.prepend(`${prologue}${cell.hoisted.join("")}${loading}\n`);
  magic.append(epilogue);
}

/** The names that a `const`, `let` or `var` statement declares. */
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
      if (isLast) returnResult(cell, child(node, "expression"));
      return;
    default:
      cell.walk(node, undefined);
      // `export default` of an expression.
      if (isLast && statement.type === "ExportDefaultDeclaration") returnResult(cell, node);
  }
}

/** Returns the value of the last expression as the cell's result. */
function returnResult(cell: CellRewrite, expression: Node | undefined): void {
  if (expression) enclose(cell.magic, expression, `return ${runtime}.result(`, ")");
}
