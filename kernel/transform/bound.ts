/** The names that a program declares. */
import type { Declaration, DeclarationKind } from "../host/protocol.ts";
import { boundNames, child, children, list, type Node, text } from "./syntax.ts";

/** The top-level names of a program, each with the kind of its last declaration. */
export function boundAt(program: Node, source: string): Declaration[] {
  const kinds = new Map<string, DeclarationKind>();
  for (const statement of list(program, "body")) {
    const node = declarationOf(statement);
    switch (node.type) {
      case "ImportDeclaration":
        for (const specifier of list(node, "specifiers")) {
          const local = child(specifier, "local");
          if (local) kinds.set(text(local, "name") ?? "", "import");
        }
        break;
      case "VariableDeclaration":
        if (text(node, "kind") === "var") break;
        for (const name of list(node, "declarations").flatMap((each) => boundNames(child(each, "id") ?? each))) {
          kinds.set(name, text(node, "kind") as DeclarationKind);
        }
        break;
      case "FunctionDeclaration":
      case "ClassDeclaration": {
        const id = child(node, "id");
        if (id) kinds.set(text(id, "name") ?? "", node.type === "ClassDeclaration" ? "class" : "function");
        break;
      }
      case "ExportNamedDeclaration":
        if (child(node, "source")) {
          for (const specifier of list(node, "specifiers")) kinds.set(specifierName(specifier, "exported"), "import");
        }
        break;
    }
  }
  for (const name of hoistedVars(program)) {
    if (!kinds.has(name)) kinds.set(name, "var");
  }
  // What was an enum or a namespace is plain variables by now; they must start afresh when their cell runs again.
  for (const [, kind, name] of source.matchAll(/\b(enum|namespace)\s+([\p{L}_$][\p{L}\p{N}_$]*)/gu)) {
    if (name !== undefined && kinds.has(name) && ["var", "let"].includes(kinds.get(name) ?? "")) {
      kinds.set(name, kind as DeclarationKind);
    }
  }
  return [...kinds].map(([name, kind]) => ({ name, kind }));
}

/** What an export statement declares, or the statement itself. */
export function declarationOf(statement: Node): Node {
  if (statement.type === "ExportNamedDeclaration" || statement.type === "ExportDefaultDeclaration") {
    return child(statement, "declaration") ?? statement;
  }
  return statement;
}

/** The name that a specifier of an import or export has on one side. */
export function specifierName(specifier: Node, key: string): string {
  const node = child(specifier, key);
  if (!node) return "default";
  return text(node, "name") ?? text(node, "value") ?? "default";
}

/** Names declared with `var` anywhere under `node`, short of inner functions. */
export function hoistedVars(node: Node): string[] {
  if (isFunction(node) || node.type === "StaticBlock") return [];
  const own =
    node.type === "VariableDeclaration" && text(node, "kind") === "var"
      ? list(node, "declarations").flatMap((each) => boundNames(child(each, "id") ?? each))
      : [];
  return [...own, ...children(node).flatMap(hoistedVars)];
}

export function isFunction(node: Node): boolean {
  return (
    node.type === "FunctionDeclaration" || node.type === "FunctionExpression" || node.type === "ArrowFunctionExpression"
  );
}
