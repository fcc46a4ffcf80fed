/**
 * Local copies of top-level variables in loops, for speed.
 *
 * Top-level variables are properties of the scope object, which is slow in hot loops. If no other code can see a variable
 * while a loop runs, the loop uses a local copy, which is written back in a `finally`. This requires that the loop has no
 * `await`, that it calls only `Math` functions (an interrupt by signal would skip the `finally`), and that no function in
 * any cell references the variable.
 */
import { child, children, flag, type Node, text } from "./syntax.ts";

const functions = new Set(["FunctionDeclaration", "FunctionExpression", "ArrowFunctionExpression"]);
const classes = new Set(["ClassDeclaration", "ClassExpression"]);

/** Adds the names that functions and classes in a node reference. */
export function mentionedInFunctions(node: Node, names: Set<string>, inside = false): void {
  if (inside && node.type === "Identifier") names.add(text(node, "name") ?? "");
  const within = inside || functions.has(node.type) || classes.has(node.type);
  for (const each of children(node)) mentionedInFunctions(each, names, within);
}

/** The names that a loop references, and those that it assigns. */
export interface LoopNames {
  mentioned: Set<string>;
  assigned: Set<string>;
}

/** The names of a loop; undefined if it must not use copies. */
export function namesOfLoop(loop: Node): LoopNames | undefined {
  const names: LoopNames = { mentioned: new Set(), assigned: new Set() };
  return gather(loop, names) ? names : undefined;
}

function gather(node: Node, names: LoopNames): boolean {
  switch (node.type) {
    case "Identifier":
      names.mentioned.add(text(node, "name") ?? "");
      return true;
    case "MemberExpression": {
      const object = child(node, "object");
      const property = flag(node, "computed") ? child(node, "property") : undefined;
      return (!object || gather(object, names)) && (!property || gather(property, names));
    }
    case "CallExpression":
      if (!isMath(child(node, "callee"))) return false;
      return children(node).every((each) => gather(each, names));
    case "AssignmentExpression":
      assigned(child(node, "left"), names);
      break;
    case "UpdateExpression":
      assigned(child(node, "argument"), names);
      break;
    case "ForInStatement":
    case "ForOfStatement":
      if (flag(node, "await")) return false;
      assigned(child(node, "left"), names);
      break;
    case "VariableDeclaration":
      // A `var` declares a variable of the cell at any depth.
      if (text(node, "kind") === "var") assigned(node, names);
      break;
  }
  if (unsupported.has(node.type) || functions.has(node.type) || classes.has(node.type)) return false;
  return children(node).every((each) => gather(each, names));
}

const unsupported = new Set([
  "AwaitExpression",
  "YieldExpression",
  "ImportExpression",
  "NewExpression",
  "TaggedTemplateExpression",
  "LabeledStatement",
  "ReturnStatement",
]);

/** Whether a callee is a method of `Math`. */
export function isMath(callee: Node | undefined): boolean {
  const object = callee?.type === "MemberExpression" && !flag(callee, "computed") ? child(callee, "object") : undefined;
  return object?.type === "Identifier" && text(object, "name") === "Math";
}

/** Adds all names in an assignment target. Names that are only read there are written back unchanged. */
function assigned(target: Node | undefined, names: LoopNames): void {
  if (!target || target.type === "MemberExpression") return;
  if (target.type === "Identifier") names.assigned.add(text(target, "name") ?? "");
  for (const each of children(target)) assigned(each, names);
}
