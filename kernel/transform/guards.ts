/**
 * Checks that are added to code so that it can be interrupted.
 *
 * Every loop looks at a flag. Code of an interrupted cell must not go on, however it is written: what follows an
 * `await`, a `catch` block and the entry of a function check for it. A `finally` block still runs, so an `await` that
 * stands in a `try` with a `finally` ends as soon as the cell is interrupted, not when its promise settles.
 */
import type MagicString from "magic-string";
import { slotCount, slots } from "../child/slots.ts";
import { isFunction } from "./bound.ts";
import { isMath } from "./locals.ts";
import { isUsing } from "./lower.ts";
import { child, children, flag, list, type Node, text } from "./syntax.ts";

/** Names that guarded code uses; each is a function or value of `globalThis[Symbol.for("anneal.cell")]`. */
export const guardNames = ["flag", "stop", "resume", "enter", "caught", "cleanup", "leave", "wait", "iterate"] as const;

const raised = `__anneal_flag[${slots.flag}]!==0`;
const poll = `if(${raised})__anneal_stop();`;
const stopped = `__anneal_flag[${slots.stopped}]!==0`;
const numberCall = `const __anneal_call=++__anneal_flag[${slots.calls}];`;

const loops = new Set(["ForStatement", "ForInStatement", "ForOfStatement", "WhileStatement", "DoWhileStatement"]);

export function isLoop(node: Node): boolean {
  return loops.has(node.type);
}

/** Where a node stands: in a function, and in a `try` whose `finally` must run as soon as the cell is interrupted. */
interface Place {
  inFunction: boolean;
  hasFinally: boolean;
}

/** Adds the checks to the code of a cell. */
export function guardCell(magic: MagicString, program: Node): void {
  guard(magic, program, { inFunction: true, hasFinally: false });
}

/**
 * Adds the checks to a module that cells import. An `await` at its top level has none: a module that failed to load
 * would fail for all later cells too.
 */
export function guardModule(magic: MagicString, program: Node): void {
  guard(magic, program, { inFunction: false, hasFinally: false });
  if (!magic.hasChanged()) return;
  const names = guardNames.map((name) => `${name}:__anneal_${name}`).join(",");
  // A worker thread that loads the module has no cells, and nothing to check.
  const none =
    `{flag:new Int32Array(${slotCount}),stop(){},resume:(value)=>value,enter(){},caught(){},cleanup(){},leave(){},` +
    "wait:(value)=>value,iterate:(value)=>value}";
  magic.prepend(`const __anneal_id=0,{${names}}=globalThis[Symbol.for("anneal.cell")]??${none};`);
}

function guard(magic: MagicString, node: Node, place: Place): void {
  if (isFunction(node)) {
    for (const each of children(node)) guard(magic, each, { inFunction: true, hasFinally: false });
    guardEntry(magic, node);
    return;
  }
  if (node.type === "TryStatement") {
    guardTry(magic, node, place);
    return;
  }
  // A block with `using` has a `finally` of its own.
  const hasFinally = place.hasFinally || (node.type === "BlockStatement" && list(node, "body").some(isUsing));
  for (const each of children(node)) {
    // The callback of `promise.finally` is a `finally` block.
    if (node.type === "CallExpression" && isFunction(each) && isFinallyCall(node)) cleanupFunctions.add(each);
    guard(magic, each, { ...place, hasFinally });
  }
  if (loops.has(node.type)) {
    const waits = flag(node, "await") && place.inFunction;
    pollLoop(magic, node, waits ? `__anneal_resume();${poll}` : poll);
    const source = child(node, "right");
    if (waits && place.hasFinally && source) enclose(magic, source, "__anneal_iterate(", ",__anneal_call)");
  } else if (node.type === "AwaitExpression" && place.inFunction) {
    const argument = child(node, "argument");
    if (place.hasFinally && argument) enclose(magic, argument, "__anneal_wait(", ",__anneal_call)");
    enclose(magic, node, "__anneal_resume(", ")");
  }
}

function guardTry(magic: MagicString, node: Node, place: Place): void {
  const finalizer = child(node, "finalizer");
  const handler = child(node, "handler");
  const inside = finalizer ? { ...place, hasFinally: true } : place;
  const block = child(node, "block");
  if (block) guard(magic, block, inside);
  if (handler) {
    guard(magic, handler, inside);
    if (place.inFunction) guardCatch(magic, handler);
  }
  if (!finalizer) return;
  guard(magic, finalizer, place);
  if (!place.inFunction) return;
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

/** Functions that can do nothing but compute a value are left as fast as they are. */
function guardEntry(magic: MagicString, node: Node): void {
  const body = child(node, "body");
  if (!body || !hasEffect(body)) return;
  const polls = callsForMicrotasks(body);
  const check = cleanupFunctions.has(node) ? "__anneal_cleanup(false)" : "__anneal_enter(__anneal_id)";
  if (body.type === "BlockStatement") {
    const call = hasTry(body) ? numberCall : "";
    // On the line of the first statement, where a debugger stops that steps into the function.
    const at = list(body, "body")[0]?.start ?? body.start + 1;
    magic.appendLeft(at, `if(${stopped})${check};${polls ? poll : ""}${call}`);
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

/** A function that calls for microtasks, and so for itself, would never let go of the thread. */
function callsForMicrotasks(node: Node): boolean {
  const callee = node.type === "CallExpression" ? child(node, "callee") : undefined;
  const called = callee?.type === "MemberExpression" ? child(callee, "property") : callee;
  if (called?.type === "Identifier" && schedulers.has(text(called, "name") ?? "")) return true;
  return children(node).some(callsForMicrotasks);
}

function pollLoop(magic: MagicString, node: Node, look: string): void {
  const body = child(node, "body");
  if (!body) return;
  if (body.type === "BlockStatement") magic.appendLeft(body.start + 1, look);
  else enclose(magic, body, `{${look}`, "}");
}

/**
 * Puts text around a node. What is inside of the node must have been changed before: then the inner text stays the
 * inner one where both meet at one place.
 */
export function enclose(magic: MagicString, node: Node, before: string, after: string): void {
  magic.prependRight(node.start, before);
  magic.appendLeft(node.end, after);
}
