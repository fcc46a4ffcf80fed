/** Scopes inside of a cell: which names stand for something of their own there, not for a top-level name. */
import { hoistedVars, isFunction } from "../bound.ts";
import { boundNames, child, children, list, type Node, text } from "../syntax.ts";
import type { CellRewrite, Visitor } from "./cell.ts";

/** Names of an inner scope, with what is outside of it; undefined outside of all is the cell's top level. */
export type Scope = InnerScope | undefined;

interface InnerScope {
  names: ReadonlySet<string>;
  outer: Scope;
  /** The body of a function, or of a static block: `var` declares a name of it. */
  ofFunction: boolean;
}

export function isLocal(name: string, at: Scope): boolean {
  for (let each = at; each; each = each.outer) if (each.names.has(name)) return true;
  return false;
}

export function isInFunction(at: Scope): boolean {
  for (let each = at; each; each = each.outer) if (each.ofFunction) return true;
  return false;
}

/** Opens a scope. */
export function inner(names: Iterable<string>, outer: Scope, ofFunction = false): Scope {
  return { names: new Set(names), outer, ofFunction };
}

/** Lexical names that statements declare in the block they are in. */
export function blockNames(statements: readonly Node[]): string[] {
  return statements.flatMap((node) => {
    switch (node.type) {
      case "VariableDeclaration":
        if (text(node, "kind") === "var") return [];
        return list(node, "declarations").flatMap((each) => boundNames(child(each, "id") ?? each));
      case "FunctionDeclaration":
      case "ClassDeclaration":
        return ownName(node);
      default:
        return [];
    }
  });
}

function ownName(node: Node): string[] {
  const id = child(node, "id");
  return id ? [text(id, "name") ?? ""] : [];
}

const block: Visitor = (cell, node, at) => {
  cell.walkAll(children(node), inner(blockNames(list(node, "body")), at));
};

const staticBlock: Visitor = (cell, node, at) => {
  const names = [...blockNames(list(node, "body")), ...children(node).flatMap(hoistedVars)];
  cell.walkAll(children(node), inner(names, at, true));
};

const switchStatement: Visitor = (cell, node, at) => {
  cell.walkField(node, "discriminant", at);
  const cases = list(node, "cases");
  cell.walkAll(cases, inner(blockNames(cases.flatMap((each) => list(each, "consequent"))), at));
};

const catchClause: Visitor = (cell, node, at) => {
  const parameter = child(node, "param");
  cell.walkAll(children(node), inner(parameter ? boundNames(parameter) : [], at));
};

const classNode: Visitor = (cell, node, at) => {
  const name = ownName(node);
  const within = name.length > 0 ? inner(name, at) : at;
  cell.walkField(node, "superClass", within);
  cell.walkAll(list(node, "decorators"), within);
  cell.walkField(node, "body", within);
};

/** A function: its parameters and its body. */
export function walkFunction(cell: CellRewrite, node: Node, at: Scope): void {
  const body = child(node, "body");
  const names = [
    ...(node.type === "FunctionExpression" ? ownName(node) : []),
    ...list(node, "params").flatMap(boundNames),
    ...(body ? hoistedVars(body) : []),
    ...(node.type === "ArrowFunctionExpression" ? [] : ["arguments"]),
  ];
  const within = inner(names, at, true);
  cell.walkAll(list(node, "params"), within);
  if (body) cell.walk(body, within);
}

export const scopeVisitors: Record<string, Visitor> = {
  BlockStatement: block,
  StaticBlock: staticBlock,
  SwitchStatement: switchStatement,
  CatchClause: catchClause,
  ClassDeclaration: classNode,
  ClassExpression: classNode,
  FunctionDeclaration: walkFunction,
  FunctionExpression: walkFunction,
  ArrowFunctionExpression: walkFunction,
};

/** Whether an expression is a function or class that takes its name from what it is assigned to. */
export function isAnonymousFunction(node: Node): boolean {
  if (node.type === "ParenthesizedExpression") return isAnonymousFunction(child(node, "expression") ?? node);
  if (node.type === "ClassExpression") return !child(node, "id");
  return node.type !== "FunctionDeclaration" && isFunction(node) && !child(node, "id");
}
