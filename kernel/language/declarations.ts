/** The top-level declarations of a cell for the type checker, including types. */
import { boundNames, child, children, flag, list, type Node, parse, text } from "../transform/syntax.ts";

/** A top-level declaration of a cell. */
export interface TypedDeclaration {
  name: string;
  /**
   * How other cells access it. Variables are redeclared there with their type, so that the compiler knows whether they
   * may be assigned. Everything else is imported, as it may be a type.
   */
  form: "let" | "const" | "import";
  /** Whether the cell has an `export` modifier on it. */
  exported: boolean;
}

/** The module of an executed cell. */
export interface CellModule {
  /** The cell's number, which is unique, whereas keys are reused. */
  cell: number;
  /** The module's name in the scope's exports. */
  key: string;
  source: string;
  declarations: readonly TypedDeclaration[];
  /** Modules whose names it uses. */
  needs: ReadonlySet<CellModule>;
}

/** The module that declares a name. */
export interface Declared {
  module: CellModule;
  form: TypedDeclaration["form"];
}

/** The top-level names of a cell. If it has syntax errors, those that a regular expression finds. */
export function typedDeclarations(source: string): TypedDeclaration[] {
  const { program, errors } = parse(source, "ts");
  if (errors.length > 0) return guess(source);
  const declarations = new Map<string, TypedDeclaration>();
  const add = (name: string | undefined, form: TypedDeclaration["form"], exported: boolean) => {
    if (name !== undefined && name !== "") declarations.set(name, { name, form, exported });
  };
  for (const statement of list(program as unknown as Node, "body")) {
    const exported = statement.type === "ExportNamedDeclaration";
    const node = exported ? (child(statement, "declaration") ?? statement) : statement;
    const id = child(node, "id");
    switch (node.type) {
      case "ImportDeclaration":
        for (const specifier of list(node, "specifiers")) add(nameOf(specifier, "local"), "import", false);
        break;
      case "VariableDeclaration":
        for (const each of list(node, "declarations")) {
          for (const name of boundNames(child(each, "id") ?? each))
            add(name, /^(const|.*using)$/.test(text(node, "kind") ?? "") ? "const" : "let", exported);
        }
        break;
      case "FunctionDeclaration":
      case "TSDeclareFunction":
      case "ClassDeclaration":
      case "TSEnumDeclaration":
      case "TSInterfaceDeclaration":
      case "TSTypeAliasDeclaration":
      case "TSImportEqualsDeclaration":
        add(id && text(id, "name"), "import", exported);
        break;
      case "TSModuleDeclaration":
        if (id?.type === "Identifier" && !flag(node, "global")) add(text(id, "name"), "import", exported);
        break;
      default:
        for (const name of vars(node)) if (!declarations.has(name)) add(name, "let", false);
    }
  }
  return [...declarations.values()];
}

/** The text of the last top-level statement that declares a name, with its doc comment. */
export function declarationOf(source: string, name: string): string | undefined {
  const statements = list(parse(source, "ts").program as unknown as Node, "body");
  const index = statements.findLastIndex(
    ({ start, end, type }) =>
      type !== "ExpressionStatement" && typedDeclarations(source.slice(start, end)).some((each) => each.name === name),
  );
  const statement = statements[index];
  if (!statement) return undefined;
  const between = source.slice(statements[index - 1]?.end ?? 0, statement.start);
  const comment = /\/\*\*(?:(?!\*\/)[\s\S])*\*\/\s*$/.exec(between)?.[0] ?? "";
  return comment + source.slice(statement.start, statement.end);
}

function nameOf(node: Node, key: string): string | undefined {
  const identifier = child(node, key);
  return identifier && text(identifier, "name");
}

function vars(node: Node): string[] {
  if (/Function|Class/.test(node.type)) return [];
  const own =
    node.type === "VariableDeclaration" && text(node, "kind") === "var"
      ? list(node, "declarations").flatMap((each) => boundNames(child(each, "id") ?? each))
      : [];
  return [...own, ...children(node).flatMap(vars)];
}

function guess(source: string): TypedDeclaration[] {
  const pattern =
    /\b(const|let|var|function\*?|class|enum|interface|type|namespace|import)\s+([\p{L}_$][\p{L}\p{N}_$]*)/gu;
  return [...source.matchAll(pattern)].map(([, keyword, name = ""]) => ({
    name,
    form: keyword === "const" ? "const" : keyword === "let" || keyword === "var" ? "let" : "import",
    exported: false,
  }));
}
