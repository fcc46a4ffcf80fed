/** Loops. Those that only a cell's own course can see work on copies of its variables; see ../locals.ts. */
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
  const ins = copied.map((name) => `${cell.placeOf(name)}=${scopeObject}.${name}`).join(",");
  const outs = copied.filter((name) => names.assigned.has(name) && cell.kindOf(name) !== "const");
  const back = outs.map((name) => `${scopeObject}.${name}=${cell.placeOf(name)};`).join("");
  enclose(cell.magic, node, `{let ${ins};try{`, `}finally{${back}}}`);
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
  // Nothing may come between a label and its loop.
  if (body && isLoop(body)) rewriteLoop(cell, body, at);
  else cell.walkField(node, "body", at);
};

// The label is no name of a variable.
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
