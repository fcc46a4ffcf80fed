/** Finds the names that a program declares. */
import type { Declaration, DeclarationKind } from "../host/protocol.ts";
import { boundNames, child, children, list, type Node, text } from "./syntax.ts";

/** The top-level declarations of a program. For repeated declarations, the last one counts. */
export function topLevelDeclarations(program: Node, source: string): Declaration[] {
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
  // Enums and namespaces were compiled to variables, which must be reset when the cell runs again.
  for (const [, kind, name] of source.matchAll(/\b(enum|namespace)\s+([\p{L}_$][\p{L}\p{N}_$]*)/gu)) {
    if (name !== undefined && kinds.has(name) && ["var", "let"].includes(kinds.get(name) ?? "")) {
      kinds.set(name, kind as DeclarationKind);
    }
  }
  return [...kinds].map(([name, kind]) => ({ name, kind }));
}

/** The declaration of an export statement, or else the statement itself. */
export function declarationOf(statement: Node): Node {
  if (statement.type === "ExportNamedDeclaration" || statement.type === "ExportDefaultDeclaration") {
    return child(statement, "declaration") ?? statement;
  }
  return statement;
}

/** A name of an import or export specifier. @param key the field, such as `imported` or `local` */
export function specifierName(specifier: Node, key: string): string {
  const node = child(specifier, key);
  if (!node) return "default";
  return text(node, "name") ?? text(node, "value") ?? "default";
}

/** Names declared with `var` in a node, excluding inner functions. */
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
