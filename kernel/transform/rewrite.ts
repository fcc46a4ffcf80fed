/** Rewriting the JavaScript of a cell: top-level names, imports, and the last expression. */
import type MagicString from "magic-string";
import type { Declaration, DeclarationKind } from "../host/protocol.ts";
import { declarationOf, hoistedVars, isFunction, specifierName } from "./bound.ts";
import { enclose, guardNames, isLoop } from "./guards.ts";
import { namesOfLoop } from "./locals.ts";
import { boundNames, child, children, flag, list, type Node, text } from "./syntax.ts";

// Names that the code of a cell is given. They are long so that no cell declares one of them by chance.
const scope = "__anneal_scope";
const runtime = "__anneal";
const prologue =
  '(async function __anneal_cell(){"use strict";const __anneal=globalThis[Symbol.for("anneal.cell")],' +
  "__anneal_scope=__anneal.scope,__anneal_id=__anneal.cell(),__anneal_call=0,{" +
  `${guardNames.map((name) => `${name}:__anneal_${name}`).join(",")}}=__anneal;`;
const epilogue = "\n})()";

/** Names of an inner scope, with what is outside of it; undefined outside of all is the cell's top level. */
type Scope = { names: ReadonlySet<string>; outer: Scope } | undefined;

function isLocal(name: string, at: Scope): boolean {
  for (let each = at; each; each = each.outer) if (each.names.has(name)) return true;
  return false;
}

/** Lexical names that statements declare in the block they are in. */
function blockNames(statements: readonly Node[]): Set<string> {
  const names = new Set<string>();
  for (const node of statements) {
    if (node.type === "VariableDeclaration" && text(node, "kind") !== "var") {
      for (const each of list(node, "declarations"))
        for (const name of boundNames(child(each, "id") ?? each)) names.add(name);
    } else if (node.type === "FunctionDeclaration" || node.type === "ClassDeclaration") {
      const id = child(node, "id");
      if (id) names.add(text(id, "name") ?? "");
    }
  }
  return names;
}

/**
 * Rewrites a program in place.
 *
 * @param declared the names of this cell, from `boundAt`
 * @param known the names of earlier cells
 * @param captured names that functions of any cell mention; without it all names stay where all cells see them
 * @param using names of this cell that are disposed of when it ends
 */
export function rewrite(
  magic: MagicString,
  program: Node,
  declared: readonly Declaration[],
  known: ReadonlyMap<string, DeclarationKind>,
  using: ReadonlyMap<string, "sync" | "async"> = new Map(),
  captured?: ReadonlySet<string>,
): void {
  const own = new Map(declared.map(({ name, kind }) => [name, kind]));
  const kindOf = (name: string) => own.get(name) ?? known.get(name);
  // A name that no cell has declared and the runtime does not know may still be declared by the time it is used.
  const isShared = (name: string) => kindOf(name) !== undefined || !(name in globalThis || name === "arguments");

  const hoisted: string[] = [];
  const imports: string[] = [];

  /** Names that have a value by the statement that is looked at. */
  const bound = new Set(known.keys());
  /** Names that the loop around works on copies of. */
  let copies: ReadonlySet<string> = new Set();

  const placeOf = (name: string) => (copies.has(name) ? `__anneal_copy_${name}` : `${scope}.${name}`);

  function reference(node: Node, at: Scope): string | undefined {
    const name = text(node, "name") ?? "";
    return isLocal(name, at) || !isShared(name) ? undefined : placeOf(name);
  }

  function replace(node: Node, by: string): void {
    // What guards put around the node stays.
    magic.update(node.start, node.end, by);
  }

  function walkAll(nodes: readonly Node[], at: Scope): void {
    for (const node of nodes) walk(node, at);
  }

  function walk(node: Node, at: Scope): void {
    if (isLoop(node)) {
      loop(node, at);
      return;
    }
    if (isFunction(node)) {
      functionNode(node, at);
      return;
    }
    switch (node.type) {
      case "Identifier": {
        const by = reference(node, at);
        if (by) replace(node, by);
        return;
      }
      case "MemberExpression": {
        walkField(node, "object", at);
        if (flag(node, "computed")) walkField(node, "property", at);
        return;
      }
      case "Property":
        property(node, at);
        return;
      case "MethodDefinition":
      case "PropertyDefinition":
      case "AccessorProperty":
        if (flag(node, "computed")) walkField(node, "key", at);
        walkField(node, "value", at);
        return;
      case "CallExpression":
      case "TaggedTemplateExpression":
        call(node, at);
        return;
      case "UnaryExpression": {
        const argument = child(node, "argument");
        const name = argument?.type === "Identifier" ? (text(argument, "name") ?? "") : "";
        if (
          text(node, "operator") === "typeof" &&
          argument &&
          name !== "" &&
          reference(argument, at) &&
          !copies.has(name)
        ) {
          replace(argument, `${runtime}.peek.${text(argument, "name")}`);
          return;
        }
        break;
      }
      case "AssignmentExpression":
      case "UpdateExpression":
        assignment(node, at);
        return;
      case "ImportExpression":
        magic.update(node.start, node.start + "import".length, `${runtime}.import`);
        walkAll(children(node), at);
        return;
      case "MetaProperty": {
        const meta = child(node, "meta");
        if (meta && text(meta, "name") === "import") replace(node, `${runtime}.meta`);
        return;
      }
      case "BlockStatement":
      case "StaticBlock": {
        const names = blockNames(list(node, "body"));
        const inner = { names, outer: at };
        if (node.type === "StaticBlock") {
          for (const name of children(node).flatMap(hoistedVars)) names.add(name);
          functionScopes.add(inner);
        }
        walkAll(children(node), inner);
        return;
      }
      case "SwitchStatement": {
        walkField(node, "discriminant", at);
        const cases = list(node, "cases");
        const names = blockNames(cases.flatMap((each) => list(each, "consequent")));
        walkAll(cases, { names, outer: at });
        return;
      }
      case "CatchClause": {
        const parameter = child(node, "param");
        const inner = { names: new Set(parameter ? boundNames(parameter) : []), outer: at };
        walkAll(children(node), inner);
        return;
      }
      case "ClassDeclaration":
      case "ClassExpression": {
        const id = child(node, "id");
        const inner = id ? { names: new Set([text(id, "name") ?? ""]), outer: at } : at;
        walkField(node, "superClass", inner);
        walkAll(list(node, "decorators"), inner);
        walkField(node, "body", inner);
        return;
      }
      case "VariableDeclaration":
        if (text(node, "kind") === "var" && !insideFunction(at)) {
          topVariables(node, at, false);
          return;
        }
        break;
      case "LabeledStatement": {
        const body = child(node, "body");
        // Nothing may come between a label and its loop.
        if (body && isLoop(body)) loop(body, at, false);
        else walkField(node, "body", at);
        return;
      }
      case "BreakStatement":
      case "ContinueStatement":
        return;
    }
    walkAll(children(node), at);
  }

  function walkField(node: Node, key: string, at: Scope): void {
    const value = child(node, key);
    if (value) walk(value, at);
  }

  function insideFunction(at: Scope): boolean {
    for (let each = at; each; each = each.outer) if (functionScopes.has(each)) return true;
    return false;
  }
  const functionScopes = new WeakSet<object>();

  function functionNode(node: Node, at: Scope): void {
    const names = new Set<string>();
    const id = child(node, "id");
    if (id && node.type === "FunctionExpression") names.add(text(id, "name") ?? "");
    for (const parameter of list(node, "params")) for (const name of boundNames(parameter)) names.add(name);
    const body = child(node, "body");
    if (body) for (const name of hoistedVars(body)) names.add(name);
    if (node.type !== "ArrowFunctionExpression") names.add("arguments");
    const inner = { names, outer: at };
    functionScopes.add(inner);
    walkAll(list(node, "params"), inner);
    if (body) walk(body, inner);
  }

  function property(node: Node, at: Scope): void {
    if (!flag(node, "shorthand")) {
      if (flag(node, "computed")) walkField(node, "key", at);
      walkField(node, "value", at);
      return;
    }
    const value = child(node, "value") ?? node;
    const target = value.type === "AssignmentPattern" ? (child(value, "left") ?? value) : value;
    const by = reference(target, at);
    if (by) replace(target, `${text(target, "name")}: ${by}`);
    if (value.type === "AssignmentPattern") walkField(value, "right", at);
  }

  // `f()` must not become `scope.f()`: that would hand the scope to the function as its `this`.
  function call(node: Node, at: Scope): void {
    const callee = child(node, "callee") ?? child(node, "tag");
    const by = callee?.type === "Identifier" ? reference(callee, at) : undefined;
    if (callee && by) replace(callee, `(0,${by})`);
    walkAll(by ? children(node).filter((each) => each !== callee) : children(node), at);
  }

  function assignment(node: Node, at: Scope): void {
    const key = node.type === "AssignmentExpression" ? "left" : "argument";
    const target = child(node, key);
    if (target?.type === "Identifier" && reference(target, at) && kindOf(text(target, "name") ?? "") === "const") {
      const name = text(target, "name") ?? "";
      replace(target, `${runtime}.constant("${name}").${name}`);
    } else if (target) walk(target, at);
    walkField(node, "right", at);
  }

  function loop(node: Node, at: Scope, mayCopy = true): void {
    if (mayCopy && captured && copies.size === 0 && !insideFunction(at)) {
      const names = namesOfLoop(node);
      const copied = [...(names?.mentioned ?? [])].filter(
        (name) => bound.has(name) && kindOf(name) !== "import" && !captured.has(name) && !isLocal(name, at),
      );
      if (names && copied.length > 0) {
        copies = new Set(copied);
        rewriteLoop(node, at);
        const ins = copied.map((name) => `${placeOf(name)}=${scope}.${name}`).join(",");
        const outs = copied.filter((name) => names.assigned.has(name) && kindOf(name) !== "const");
        const back = outs.map((name) => `${scope}.${name}=${placeOf(name)};`).join("");
        enclose(magic, node, `{let ${ins};try{`, `}finally{${back}}}`);
        copies = new Set();
        return;
      }
    }
    rewriteLoop(node, at);
  }

  function rewriteLoop(node: Node, at: Scope): void {
    const head = child(node, "init") ?? child(node, "left");
    const names = head ? blockNames([head]) : new Set<string>();
    const inner = { names, outer: at };
    for (const each of children(node)) {
      if (each === head && each.type === "VariableDeclaration" && text(each, "kind") === "var" && !insideFunction(at)) {
        topVariables(each, inner, node.type !== "ForStatement");
      } else walk(each, inner);
    }
  }

  // `const a = 1, { b } = o` becomes `(scope.a = 1, { b: scope.b } = o)`. In the head of for-in and for-of, only the
  // pattern stays.
  function topVariables(node: Node, at: Scope, bare: boolean): void {
    const declarators = list(node, "declarations");
    const [first] = declarators;
    if (!first) return;
    magic.update(node.start, first.start, bare ? "" : "(");
    for (const each of declarators) {
      const id = child(each, "id");
      const init = child(each, "init");
      if (!id) continue;
      const name = id.type === "Identifier" ? (text(id, "name") ?? "") : undefined;
      if (name !== undefined) {
        const missing = bare || init ? "" : text(node, "kind") === "var" ? "" : "=void 0";
        replace(id, `${placeOf(name)}${missing}`);
      } else walk(id, at);
      if (!init) continue;
      walk(init, at);
      // An assignment to a property does not name an anonymous function; a property of an object literal does.
      if (name !== undefined && isAnonymousFunction(init)) {
        enclose(magic, init, `({${JSON.stringify(name)}:`, `})[${JSON.stringify(name)}]`);
      }
      const kind = name === undefined ? undefined : using.get(name);
      if (kind) enclose(magic, init, `${runtime}.use(`, `,${JSON.stringify(kind)})`);
    }
    if (!bare) magic.appendLeft(declarators.at(-1)?.end ?? node.end, ")");
  }

  function topLevel(statement: Node, isLast: boolean): void {
    const node = declarationOf(statement);
    if (statement.type === "ImportDeclaration") {
      importStatement(statement);
      return;
    }
    if (statement.type.startsWith("Export")) {
      if (child(statement, "source") || statement === node) {
        exportStatement(statement);
        return;
      }
      magic.remove(statement.start, node.start);
    }
    switch (node.type) {
      case "VariableDeclaration":
        topVariables(node, undefined, false);
        return;
      case "FunctionDeclaration": {
        const name = child(node, "id");
        if (name) hoisted.push(`${scope}.${text(name, "name")}=${text(name, "name")};`);
        functionNode(node, undefined);
        return;
      }
      case "ClassDeclaration": {
        const id = child(node, "id");
        walk(node, undefined);
        if (id) enclose(magic, node, `${scope}.${text(id, "name")}=`, ";");
        return;
      }
      case "ExpressionStatement": {
        walk(node, undefined);
        const expression = child(node, "expression");
        if (isLast && expression) enclose(magic, expression, `return ${runtime}.result(`, ")");
        return;
      }
      default:
        walk(node, undefined);
        // `export default` of an expression.
        if (statement.type === "ExportDefaultDeclaration" && isLast)
          enclose(magic, node, `return ${runtime}.result(`, ")");
    }
  }

  function importStatement(node: Node): void {
    const source = child(node, "source");
    const bindings = list(node, "specifiers").map((specifier) => [
      specifier.type === "ImportNamespaceSpecifier" ? "*" : specifierName(specifier, "imported"),
      specifierName(specifier, "local"),
    ]);
    addImport(node, source, bindings);
  }

  function exportStatement(node: Node): void {
    const source = child(node, "source");
    const bindings = list(node, "specifiers").map((specifier) => [
      specifierName(specifier, "local"),
      specifierName(specifier, "exported"),
    ]);
    if (source) addImport(node, source, bindings);
    else magic.remove(node.start, node.end);
  }

  function addImport(node: Node, source: Node | undefined, bindings: string[][]): void {
    const attributes = list(node, "attributes").map((each) => [
      specifierName(each, "key"),
      text(child(each, "value") ?? each, "value") ?? "",
    ]);
    const options = attributes.length > 0 ? `,{with:${JSON.stringify(Object.fromEntries(attributes))}}` : "";
    const specifier = JSON.stringify(source ? text(source, "value") : "");
    imports.push(`await ${runtime}.bind(${specifier},${JSON.stringify(bindings)}${options});`);
    magic.remove(node.start, node.end);
  }

  const body = list(program, "body").filter((node) => node.type !== "EmptyStatement");
  // A directive is an expression like any other here: `"use strict"` alone is a string to show.
  const last = body.at(-1);
  for (const { name, kind } of declared) if (kind === "var" || kind === "function") bound.add(name);
  for (const statement of body) {
    topLevel(statement, statement === last);
    const declaration = declarationOf(statement);
    if (declaration.type === "VariableDeclaration") {
      for (const each of list(declaration, "declarations"))
        for (const name of boundNames(child(each, "id") ?? each)) bound.add(name);
    }
  }
  for (const { name, kind } of declared) {
    if (kind === "var") hoisted.push(`${scope}.${name}=${runtime}.peek.${name};`);
    if (kind === "enum" || kind === "namespace") hoisted.push(`${scope}.${name}=void 0;`);
  }
  // One resume after the imports: a cell given up while they load must not start.
  const loading = imports.length > 0 ? `${imports.join("")}__anneal_resume();` : "";
  // The cell begins on a line of its own: a breakpoint at its start is not one in the prologue.
  magic.prepend(`${prologue}${hoisted.join("")}${loading}\n`);
  magic.append(epilogue);
}

function isAnonymousFunction(node: Node): boolean {
  if (node.type === "ParenthesizedExpression") return isAnonymousFunction(child(node, "expression") ?? node);
  if (node.type === "ArrowFunctionExpression") return true;
  return (node.type === "FunctionExpression" || node.type === "ClassExpression") && !child(node, "id");
}
