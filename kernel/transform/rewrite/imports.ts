/** Rewrites imports, exports, `import()` and `import.meta`. */
import { specifierName } from "../bound.ts";
import { child, children, list, type Node, text } from "../syntax.ts";
import { type CellRewrite, runtime, type Visitor } from "./cell.ts";

/** Imported names with their local names; `*` is the module namespace. */
type Bindings = [imported: string, local: string][];

export function rewriteImport(cell: CellRewrite, node: Node): void {
  const bindings = list(node, "specifiers").map((specifier): Bindings[number] => [
    specifier.type === "ImportNamespaceSpecifier" ? "*" : specifierName(specifier, "imported"),
    specifierName(specifier, "local"),
  ]);
  bind(cell, node, child(node, "source"), bindings);
}

/** Rewrites `export … from` as an import. Removes other export lists, which have no meaning in a cell. */
export function rewriteExport(cell: CellRewrite, node: Node): void {
  const source = child(node, "source");
  const bindings = list(node, "specifiers").map((specifier): Bindings[number] => [
    specifierName(specifier, "local"),
    specifierName(specifier, "exported"),
  ]);
  if (source) bind(cell, node, source, bindings);
  else cell.magic.remove(node.start, node.end);
}

function bind(cell: CellRewrite, node: Node, source: Node | undefined, bindings: Bindings): void {
  const attributes = list(node, "attributes").map((each) => [
    specifierName(each, "key"),
    text(child(each, "value") ?? each, "value") ?? "",
  ]);
  const options = attributes.length > 0 ? `,{with:${JSON.stringify(Object.fromEntries(attributes))}}` : "";
  const specifier = JSON.stringify(source ? text(source, "value") : "");
  cell.imports.push(`await ${runtime}.bind(${specifier},${JSON.stringify(bindings)}${options});`);
  cell.magic.remove(node.start, node.end);
}

export const importVisitors: Record<string, Visitor> = {
  ImportExpression(cell, node, at) {
    cell.magic.update(node.start, node.start + "import".length, `${runtime}.import`);
    cell.walkAll(children(node), at);
  },
  MetaProperty(cell, node) {
    const meta = child(node, "meta");
    if (meta && text(meta, "name") === "import") cell.replace(node, `${runtime}.meta`);
  },
};
