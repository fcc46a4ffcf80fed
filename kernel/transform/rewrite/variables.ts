/** Rewrites top-level variable declarations. */
import { enclose } from "../guards.ts";
import { child, children, list, type Node, text } from "../syntax.ts";
import { type CellRewrite, runtime, type Visitor } from "./cell.ts";
import { isAnonymousFunction, isInFunction, type Scope } from "./scopes.ts";

/**
 * Rewrites `const a = 1, { b } = o` to `(scope.a = 1, { b: scope.b } = o)`.
 * @param bare for the head of for-in and for-of, where only the pattern is kept
 */
export function rewriteVariables(cell: CellRewrite, node: Node, at: Scope, bare: boolean): void {
  const declarators = list(node, "declarations");
  const [first] = declarators;
  if (!first) return;
  cell.magic.update(node.start, first.start, bare ? "" : "(");
  const defaultValue = bare || text(node, "kind") === "var" ? "" : "=void 0";
  for (const each of declarators) rewriteDeclarator(cell, each, at, defaultValue);
  if (!bare) cell.magic.appendLeft(declarators.at(-1)?.end ?? node.end, ")");
}

function rewriteDeclarator(cell: CellRewrite, node: Node, at: Scope, defaultValue: string): void {
  const id = child(node, "id");
  const init = child(node, "init");
  if (!id) return;
  const name = id.type === "Identifier" ? (text(id, "name") ?? "") : undefined;
  if (name === undefined) cell.walk(id, at);
  else cell.replace(id, `${cell.expressionFor(name)}${init ? "" : defaultValue}`);
  if (!init) return;
  cell.walk(init, at);
  if (name === undefined) return;
  // Assigning to a property does not set the name of an anonymous function; an object literal does.
  if (isAnonymousFunction(init)) {
    enclose(cell.magic, init, `({${JSON.stringify(name)}:`, `})[${JSON.stringify(name)}]`);
  }
  const kind = cell.facts.using.get(name);
  if (kind) enclose(cell.magic, init, `${runtime}.use(`, `,${JSON.stringify(kind)})`);
}

/** Whether a declaration in a block or loop declares a top-level name: a `var` outside functions. */
export function isTopLevelVar(node: Node, at: Scope): boolean {
  return node.type === "VariableDeclaration" && text(node, "kind") === "var" && !isInFunction(at);
}

export const variableVisitors: Record<string, Visitor> = {
  VariableDeclaration(cell, node, at) {
    if (isTopLevelVar(node, at)) rewriteVariables(cell, node, at, false);
    else cell.walkAll(children(node), at);
  },
};
