/**
 * Loops over top-level variables, at the speed of local ones.
 *
 * A top-level name is a property of an object that all cells share, which a hot loop pays for. Where nothing but the
 * loop itself can see a name while it runs, the loop works on a local copy that is written back when it ends, however
 * it ends: it runs in one go (no `await`), calls nothing but `Math` (so that no signal has to break it half-way, which
 * would lose the copy), and no function of any cell mentions the name.
 */
import { child, children, flag, type Node, text } from "./syntax.ts";

const functions = new Set(["FunctionDeclaration", "FunctionExpression", "ArrowFunctionExpression"]);
const classes = new Set(["ClassDeclaration", "ClassExpression"]);

/** Adds the names that functions and classes under a node mention. */
export function mentionedInFunctions(node: Node, found: Set<string>, inside = false): void {
  if (inside && node.type === "Identifier") found.add(text(node, "name") ?? "");
  const within = inside || functions.has(node.type) || classes.has(node.type);
  for (const each of children(node)) mentionedInFunctions(each, found, within);
}

/** What a loop does with names: all that it mentions, and those of them that it assigns. */
export interface LoopNames {
  mentioned: Set<string>;
  assigned: Set<string>;
}

/** The names of a loop that may work on copies; undefined where it may not. */
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
      // A `var` is a name of the cell wherever it stands.
      if (text(node, "kind") === "var") assigned(node, names);
      break;
  }
  if (refused.has(node.type) || functions.has(node.type) || classes.has(node.type)) return false;
  return children(node).every((each) => gather(each, names));
}

const refused = new Set([
  "AwaitExpression",
  "YieldExpression",
  "ImportExpression",
  "NewExpression",
  "TaggedTemplateExpression",
  "LabeledStatement",
  "ReturnStatement",
]);

/** Whether a call is one of `Math`. */
export function isMath(callee: Node | undefined): boolean {
  const object = callee?.type === "MemberExpression" && !flag(callee, "computed") ? child(callee, "object") : undefined;
  return object?.type === "Identifier" && text(object, "name") === "Math";
}

/** Every name in what is assigned to: one too many is written back with the value that it had. */
function assigned(target: Node | undefined, names: LoopNames): void {
  if (!target || target.type === "MemberExpression") return;
  if (target.type === "Identifier") names.assigned.add(text(target, "name") ?? "");
  for (const each of children(target)) assigned(each, names);
}
