/** Rewrites loops. Some use local copies of variables; see ../locals.ts. */
import { enclose, isLoop } from "../guards.ts";
import { namesOfLoop } from "../locals.ts";
import { child, children, type Node } from "../syntax.ts";
import { type CellRewrite, scopeObject, type Visitor } from "./cell.ts";
import { blockNames, inner, isInFunction, isLocal, type Scope } from "./scopes.ts";
import { isTopLevelVar, rewriteVariables } from "./variables.ts";

const loop: Visitor = (cell, node, at) => {
  const { captured } = cell.facts;
  const names = captured && cell.copies.size === 0 && !isInFunction(at) ? namesOfLoop(node) : undefined;
  const copied = [...(names?.mentioned ?? [])].filter(
    (name) =>
      cell.bound.has(name) && cell.kindOf(name) !== "import" && captured?.has(name) === false && !isLocal(name, at),
  );
  if (!names || copied.length === 0) {
    rewriteLoop(cell, node, at);
    return;
  }
  cell.copies = new Set(copied);
  rewriteLoop(cell, node, at);
  const copies = copied.map((name) => `${cell.expressionFor(name)}=${scopeObject}.${name}`).join(",");
  const writable = copied.filter((name) => names.assigned.has(name) && cell.kindOf(name) !== "const");
  const writeBack = writable.map((name) => `${scopeObject}.${name}=${cell.expressionFor(name)};`).join("");
  enclose(cell.magic, node, `{let ${copies};try{`, `}finally{${writeBack}}}`);
  cell.copies = new Set();
};

function rewriteLoop(cell: CellRewrite, node: Node, at: Scope): void {
  const head = child(node, "init") ?? child(node, "left");
  const within = inner(head ? blockNames([head]) : [], at);
  for (const each of children(node)) {
    if (each === head && isTopLevelVar(each, at)) {
      rewriteVariables(cell, each, within, node.type !== "ForStatement");
    } else cell.walk(each, within);
  }
}

const labeled: Visitor = (cell, node, at) => {
  const body = child(node, "body");
  // A label must be directly followed by its loop, so no block is inserted.
  if (body && isLoop(body)) rewriteLoop(cell, body, at);
  else cell.walkField(node, "body", at);
};

// Labels are not variables.
const jump: Visitor = () => {};

export const loopVisitors: Record<string, Visitor> = {
  ForStatement: loop,
  ForInStatement: loop,
  ForOfStatement: loop,
  WhileStatement: loop,
  DoWhileStatement: loop,
  LabeledStatement: labeled,
  BreakStatement: jump,
  ContinueStatement: jump,
};
