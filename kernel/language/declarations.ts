/** What a cell declares, as the type checker must know it: types too. */
import { boundNames, child, children, flag, list, type Node, parse, text } from "../transform/syntax.ts";

/** A name at the top level of a cell. */
export interface TypedDeclaration {
  name: string;
  /**
   * How other cells get it: a variable is declared there anew, with its type, so that the compiler knows whether it may
   * be assigned; everything else is imported, as it may be a type too.
   */
  form: "let" | "const" | "import";
  /** Exported by the cell's own words. */
  exported: boolean;
}

/** The module that stands for a cell that ran, to the compiler. */
export interface CellModule {
  /** The cell's number: modules' keys are used again, numbers are not. */
  cell: number;
  /** What the scope exports the module as. */
  key: string;
  source: string;
  declarations: readonly TypedDeclaration[];
  /** Modules that it uses names of. */
  needs: ReadonlySet<CellModule>;
}

/** Where a name of a cell is declared. */
export interface Declared {
  module: CellModule;
  form: TypedDeclaration["form"];
}

/** The top-level names of a cell; as many as can be told where the cell is not well-formed. */
export function typedDeclarations(source: string): TypedDeclaration[] {
  const { program, errors } = parse(source, "ts");
  if (errors.length > 0) return guess(source);
  const found = new Map<string, TypedDeclaration>();
  const add = (name: string | undefined, form: TypedDeclaration["form"], exported: boolean) => {
    if (name !== undefined && name !== "") found.set(name, { name, form, exported });
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
        for (const name of vars(node)) if (!found.has(name)) add(name, "let", false);
    }
  }
  return [...found.values()];
}

/** The text of the last top-level statement of a cell that declares a name, with the comment before it. */
export function declarationOf(source: string, name: string): string | undefined {
  const statements = list(parse(source, "ts").program as unknown as Node, "body");
  const at = statements.findLastIndex(
    ({ start, end, type }) =>
      type !== "ExpressionStatement" && typedDeclarations(source.slice(start, end)).some((each) => each.name === name),
  );
  const statement = statements[at];
  if (!statement) return undefined;
  const between = source.slice(statements[at - 1]?.end ?? 0, statement.start);
  const comment = /\/\*\*(?:(?!\*\/)[\s\S])*\*\/\s*$/.exec(between)?.[0] ?? "";
  return comment + source.slice(statement.start, statement.end);
}

function nameOf(node: Node, key: string): string | undefined {
  const found = child(node, key);
  return found && text(found, "name");
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
