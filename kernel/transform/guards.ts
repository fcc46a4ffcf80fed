/**
 * Inserts checks into code so that it can be interrupted.
 *
 * Every loop checks a flag. To stop an interrupted cell, there are also checks after each `await`, in each `catch` block and
 * at the start of functions. `finally` blocks still run, so an `await` in a `try` with a `finally` rejects as soon as the
 * cell is interrupted, not when its promise settles.
 */
import type MagicString from "magic-string";
import { slotCount, slots } from "../child/slots.ts";
import { isFunction } from "./bound.ts";
import { isMath } from "./locals.ts";
import { isUsing } from "./lower.ts";
import { child, children, flag, list, type Node, text } from "./syntax.ts";

/** Names used by the checks; properties of `globalThis[Symbol.for("anneal.cell")]`. */
export const guardNames = ["flag", "stop", "resume", "enter", "caught", "cleanup", "leave", "wait", "iterate"] as const;

const raised = `__anneal_flag[${slots.flag}]!==0`;
const poll = `if(${raised})__anneal_stop();`;
const stopped = `__anneal_flag[${slots.stopped}]!==0`;
const numberCall = `const __anneal_call=++__anneal_flag[${slots.calls}];`;

const loops = new Set(["ForStatement", "ForInStatement", "ForOfStatement", "WhileStatement", "DoWhileStatement"]);

export function isLoop(node: Node): boolean {
  return loops.has(node.type);
}

/** The context of a node: whether it is in a function, and in a `try` with a `finally`. */
interface Context {
  inFunction: boolean;
  hasFinally: boolean;
}

/** Inserts the checks into a cell. */
export function guardCell(magic: MagicString, program: Node): void {
  guard(magic, program, { inFunction: true, hasFinally: false });
}

/**
 * Inserts the checks into an imported module. Top-level awaits get none, because a module whose evaluation failed stays
 * failed for all later cells.
 */
export function guardModule(magic: MagicString, program: Node): void {
  guard(magic, program, { inFunction: false, hasFinally: false });
  if (!magic.hasChanged()) return;
  const names = guardNames.map((name) => `${name}:__anneal_${name}`).join(",");
  // In worker threads there are no cells, so the checks do nothing.
  const none =
    `{flag:new Int32Array(${slotCount}),stop(){},resume:(value)=>value,enter(){},caught(){},cleanup(){},leave(){},` +
    "wait:(value)=>value,iterate:(value)=>value}";
  magic.prepend(`const __anneal_id=0,{${names}}=globalThis[Symbol.for("anneal.cell")]??${none};`);
}

function guard(magic: MagicString, node: Node, context: Context): void {
  if (isFunction(node)) {
    for (const each of children(node)) guard(magic, each, { inFunction: true, hasFinally: false });
    guardEntry(magic, node);
    return;
  }
  if (node.type === "TryStatement") {
    guardTry(magic, node, context);
    return;
  }
  // A block with `using` acts like a `finally`.
  const hasFinally = context.hasFinally || (node.type === "BlockStatement" && list(node, "body").some(isUsing));
  for (const each of children(node)) {
    // The callback of `promise.finally` counts as a `finally` block.
    if (node.type === "CallExpression" && isFunction(each) && isFinallyCall(node)) cleanupFunctions.add(each);
    guard(magic, each, { ...context, hasFinally });
  }
  if (loops.has(node.type)) {
    const waits = flag(node, "await") && context.inFunction;
    pollLoop(magic, node, waits ? `__anneal_resume();${poll}` : poll);
    const source = child(node, "right");
    if (waits && context.hasFinally && source) enclose(magic, source, "__anneal_iterate(", ",__anneal_call)");
  } else if (node.type === "AwaitExpression" && context.inFunction) {
    const argument = child(node, "argument");
    if (context.hasFinally && argument) enclose(magic, argument, "__anneal_wait(", ",__anneal_call)");
    enclose(magic, node, "__anneal_resume(", ")");
  }
}

function guardTry(magic: MagicString, node: Node, context: Context): void {
  const finalizer = child(node, "finalizer");
  const handler = child(node, "handler");
  const inside = finalizer ? { ...context, hasFinally: true } : context;
  const block = child(node, "block");
  if (block) guard(magic, block, inside);
  if (handler) {
    guard(magic, handler, inside);
    if (context.inFunction) guardCatch(magic, handler);
  }
  if (!finalizer) return;
  guard(magic, finalizer, context);
  if (!context.inFunction) return;
  magic.appendLeft(finalizer.start + 1, "const __anneal_owner=__anneal_cleanup(true);try{");
  magic.prependRight(finalizer.end - 1, "}finally{__anneal_leave(__anneal_owner)}");
}

function guardCatch(magic: MagicString, handler: Node): void {
  const parameter = child(handler, "param");
  const body = child(handler, "body");
  if (!body) return;
  let name = "";
  if (!parameter) {
    name = "__anneal_error";
    magic.appendLeft(body.start, `(${name})`);
  } else if (parameter.type === "Identifier") name = text(parameter, "name") ?? "";
  magic.appendLeft(body.start + 1, `__anneal_caught(${name});`);
}

const cleanupFunctions = new WeakSet<Node>();

function isFinallyCall(node: Node): boolean {
  const callee = child(node, "callee");
  const property = callee?.type === "MemberExpression" ? child(callee, "property") : undefined;
  return property !== undefined && text(property, "name") === "finally";
}

/** Inserts the check at the start of a function. Functions without side effects get none, to stay fast. */
function guardEntry(magic: MagicString, node: Node): void {
  const body = child(node, "body");
  if (!body || !hasEffect(body)) return;
  const polls = schedulesMicrotasks(body);
  const check = cleanupFunctions.has(node) ? "__anneal_cleanup(false)" : "__anneal_enter(__anneal_id)";
  if (body.type === "BlockStatement") {
    const call = hasTry(body) ? numberCall : "";
    // On the line of the first statement, where the debugger stops when it steps into the function.
    const position = list(body, "body")[0]?.start ?? body.start + 1;
    magic.appendLeft(position, `if(${stopped})${check};${polls ? poll : ""}${call}`);
  } else {
    const first = polls ? `${raised}&&__anneal_stop(),` : "";
    enclose(magic, body, `(${stopped}&&${check},${first}`, ")");
  }
}

const effects = new Set([
  "NewExpression",
  "TaggedTemplateExpression",
  "ImportExpression",
  "AwaitExpression",
  "YieldExpression",
  "AssignmentExpression",
  "UpdateExpression",
]);

function hasEffect(node: Node): boolean {
  if (effects.has(node.type)) return true;
  if (node.type === "CallExpression" && !isMath(child(node, "callee"))) return true;
  if (node.type === "UnaryExpression" && text(node, "operator") === "delete") return true;
  return children(node).some(hasEffect);
}

function hasTry(node: Node): boolean {
  return node.type === "TryStatement" || isUsing(node) || (!isFunction(node) && children(node).some(hasTry));
}

const schedulers = new Set(["then", "catch", "finally", "nextTick", "queueMicrotask"]);

/** Whether a function schedules microtasks. If it schedules itself, it would block the thread forever. */
function schedulesMicrotasks(node: Node): boolean {
  const callee = node.type === "CallExpression" ? child(node, "callee") : undefined;
  const called = callee?.type === "MemberExpression" ? child(callee, "property") : callee;
  if (called?.type === "Identifier" && schedulers.has(text(called, "name") ?? "")) return true;
  return children(node).some(schedulesMicrotasks);
}

function pollLoop(magic: MagicString, node: Node, check: string): void {
  const body = child(node, "body");
  if (!body) return;
  if (body.type === "BlockStatement") magic.appendLeft(body.start + 1, check);
  else enclose(magic, body, `{${check}`, "}");
}

/**
 * Inserts text around a node. Changes inside the node must be made before, so that text at the same position nests
 * correctly.
 */
export function enclose(magic: MagicString, node: Node, before: string, after: string): void {
  magic.prependRight(node.start, before);
  magic.appendLeft(node.end, after);
}
