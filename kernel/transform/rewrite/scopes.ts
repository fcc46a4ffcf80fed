/** Tracks inner scopes in a cell, whose names are not rewritten. */
import { hoistedVars, isFunction } from "../bound.ts";
import { boundNames, child, children, list, type Node, text } from "../syntax.ts";
import type { CellRewrite, Visitor } from "./cell.ts";

/** An inner scope with its outer scopes; undefined for the cell's top level. */
export type Scope = InnerScope | undefined;

interface InnerScope {
  names: ReadonlySet<string>;
  outer: Scope;
  /** Whether it is a function body or static block, which is the scope of `var` declarations. */
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

/** Creates an inner scope. */
export function inner(names: Iterable<string>, outer: Scope, ofFunction = false): Scope {
  return { names: new Set(names), outer, ofFunction };
}

/** The lexical names that the statements of a block declare. */
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

/** Rewrites the parameters and the body of a function. */
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

/** Whether an expression is an anonymous function or class. */
export function isAnonymousFunction(node: Node): boolean {
  if (node.type === "ParenthesizedExpression") return isAnonymousFunction(child(node, "expression") ?? node);
  if (node.type === "ClassExpression") return !child(node, "id");
  return node.type !== "FunctionDeclaration" && isFunction(node) && !child(node, "id");
}
