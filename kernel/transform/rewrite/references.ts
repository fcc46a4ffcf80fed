/** Rewrites references to top-level names. */
import { child, children, flag, type Node, text } from "../syntax.ts";
import { type CellRewrite, runtime, type Visitor } from "./cell.ts";
import type { Scope } from "./scopes.ts";

const identifier: Visitor = (cell, node, at) => {
  const replacement = cell.reference(node, at);
  if (replacement) cell.replace(node, replacement);
};

const member: Visitor = (cell, node, at) => {
  cell.walkField(node, "object", at);
  if (flag(node, "computed")) cell.walkField(node, "property", at);
};

const classMember: Visitor = (cell, node, at) => {
  if (flag(node, "computed")) cell.walkField(node, "key", at);
  cell.walkField(node, "value", at);
};

const property: Visitor = (cell, node, at) => {
  if (!flag(node, "shorthand")) {
    classMember(cell, node, at);
    return;
  }
  const value = child(node, "value") ?? node;
  const target = value.type === "AssignmentPattern" ? (child(value, "left") ?? value) : value;
  const replacement = cell.reference(target, at);
  if (replacement) cell.replace(target, `${text(target, "name")}: ${replacement}`);
  if (value.type === "AssignmentPattern") cell.walkField(value, "right", at);
};

// `f()` becomes `(0,scope.f)()`: with `scope.f()`, `this` would be the scope.
const call: Visitor = (cell, node, at) => {
  const callee = child(node, "callee") ?? child(node, "tag");
  const replacement = callee?.type === "Identifier" ? cell.reference(callee, at) : undefined;
  if (callee && replacement) cell.replace(callee, `(0,${replacement})`);
  cell.walkAll(replacement ? children(node).filter((each) => each !== callee) : children(node), at);
};

// `typeof x` of an undeclared name is "undefined", not an error.
const unary: Visitor = (cell, node, at) => {
  const argument = child(node, "argument");
  const name = text(node, "operator") === "typeof" && argument ? nameOf(argument) : undefined;
  if (argument && name !== undefined && !cell.copies.has(name) && cell.reference(argument, at)) {
    cell.replace(argument, `${runtime}.peek.${name}`);
  } else cell.walkAll(children(node), at);
};

const assignment: Visitor = (cell, node, at) => {
  assign(cell, child(node, "left"), at);
  cell.walkField(node, "right", at);
};

const update: Visitor = (cell, node, at) => assign(cell, child(node, "argument"), at);

function assign(cell: CellRewrite, target: Node | undefined, at: Scope): void {
  if (!target) return;
  const name = nameOf(target);
  if (name !== undefined && cell.kindOf(name) === "const" && cell.reference(target, at)) {
    cell.replace(target, `${runtime}.constant("${name}").${name}`);
  } else cell.walk(target, at);
}

function nameOf(node: Node): string | undefined {
  return node.type === "Identifier" ? text(node, "name") : undefined;
}

export const referenceVisitors: Record<string, Visitor> = {
  Identifier: identifier,
  MemberExpression: member,
  Property: property,
  MethodDefinition: classMember,
  PropertyDefinition: classMember,
  AccessorProperty: classMember,
  CallExpression: call,
  TaggedTemplateExpression: call,
  UnaryExpression: unary,
  AssignmentExpression: assignment,
  UpdateExpression: update,
};
