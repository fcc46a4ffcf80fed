// Generates docs/api.md from the doc comments of the package's entries. Uses oxc, because TypeDoc and API Extractor need the
// compiler's JavaScript API, which TypeScript 7 does not have.
import { readFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { type ClassBody, type Comment, type Program, parseSync, type Statement } from "oxc-parser";
import { root } from "./reference.ts";

/** The package's entries: import specifiers and files in `src`. */
export const faces = [
  { specifier: "anneal", file: "index" },
  { specifier: "anneal/nn", file: "faces/nn" },
  { specifier: "anneal/tensor", file: "faces/tensor" },
  { specifier: "anneal/widgets", file: "faces/widgets" },
] as const;

/** A name that an entry exports. */
export interface Entry {
  name: string;
  /** Whether it exists at run time. */
  isValue: boolean;
  /** Path of the source file that declares it, relative to `src`. */
  source: string;
  /** Its declarations; several for overloads. */
  declarations: string[];
  /** Its doc comment; undefined if there is none. */
  comment: string | undefined;
}

interface Parsed {
  path: string;
  text: string;
  body: Program["body"];
  comments: Comment[];
}

const parsed = new Map<string, Parsed>();

function parse(path: string): Parsed {
  const cached = parsed.get(path);
  if (cached) return cached;
  const text = readFileSync(path, "utf8");
  const { program, comments } = parseSync(path, text);
  const file = { path, text, body: program.body, comments };
  parsed.set(path, file);
  return file;
}

const declarationPath = (from: string, specifier: string) =>
  join(dirname(from), specifier.replace(/\.(ts|js)$/, ".d.ts"));

const nameOf = (node: { type: string; name?: string; value?: string }) => node.name ?? node.value ?? "";

/** The names that a statement declares. */
function declaredNames(statement: Statement): string[] {
  if (statement.type !== "ExportNamedDeclaration" || !statement.declaration) return [];
  const { declaration } = statement;
  if (declaration.type === "VariableDeclaration") {
    return declaration.declarations.flatMap(({ id }) => (id.type === "Identifier" ? [id.name] : []));
  }
  if ("id" in declaration && declaration.id?.type === "Identifier") return [declaration.id.name];
  return [];
}

/** Finds the declaration of a name that a file exports. */
function find(path: string, name: string): { file: Parsed; statements: Statement[] } | undefined {
  const file = parse(path);
  const statements = file.body.filter((statement) => declaredNames(statement as Statement).includes(name));
  if (statements.length > 0) return { file, statements: statements as Statement[] };
  for (const statement of file.body) {
    if (statement.type === "ExportNamedDeclaration" && statement.source) {
      const specifier = statement.specifiers.find(({ exported }) => nameOf(exported) === name);
      if (specifier) return find(declarationPath(path, statement.source.value), nameOf(specifier.local));
    } else if (statement.type === "ExportAllDeclaration") {
      const target = declarationPath(path, statement.source.value);
      if (statement.exported) {
        if (nameOf(statement.exported) === name) return { file, statements: [statement] };
      } else {
        const declaration = find(target, name);
        if (declaration) return declaration;
      }
    }
  }
  return undefined;
}

/** The doc comment directly before an offset in a file. */
function commentBefore({ text, comments }: Parsed, start: number): string | undefined {
  const comment = comments.findLast(({ end }) => end <= start);
  if (!comment?.value.startsWith("*") || text.slice(comment.end, start).trim() !== "") return undefined;
  return plainComment(comment.value);
}

const plainComment = (comment: string) =>
  comment
    .replace(/^\*/, "")
    .split("\n")
    .map((line) => line.replace(/^\s*\* ?/, ""))
    .join("\n")
    .trim();

/** The description of an entry at the top of its file. */
export function faceText(file: string): string {
  const [first] = parse(join(root, `dist/src/${file}.d.ts`)).comments;
  return plainComment(first.value).replace(/\s*@packageDocumentation/, "");
}

/** All names that an entry exports. */
export function entriesOf(file: string): Entry[] {
  const path = join(root, `dist/src/${file}.d.ts`);
  return parse(path).body.flatMap((statement) => {
    if (statement.type !== "ExportNamedDeclaration") return [];
    return statement.specifiers.map(({ exported, exportKind }) => entry(path, nameOf(exported), exportKind === "type"));
  });
}

function entry(path: string, name: string, isType: boolean): Entry {
  const declaration = find(path, name);
  if (!declaration) throw new Error(`${path}: no declaration of ${name}`);
  const { file, statements } = declaration;
  return {
    name,
    isValue: !isType && /^export (declare )?(abstract )?(function|class|const|enum)/.test(textOf(file, statements[0])),
    source: relative(join(root, "dist/src"), file.path).replace(/\.d\.ts$/, ".ts"),
    declarations: statements.map((statement) => withoutPrivate(file, statement)),
    comment: statements.map(({ start }) => commentBefore(file, start)).find((comment) => comment !== undefined),
  };
}

const textOf = ({ text }: Parsed, { start, end }: { start: number; end: number }) => text.slice(start, end);

/** A declaration without private members. */
function withoutPrivate(file: Parsed, statement: Statement): string {
  let text = textOf(file, statement);
  const declaration = statement.type === "ExportNamedDeclaration" ? statement.declaration : undefined;
  if (declaration?.type === "ClassDeclaration") {
    for (const member of privateMembers(declaration.body)) text = text.replace(`    ${textOf(file, member)}\n`, "");
  }
  return text
    .replace(/^export (declare )?/, "")
    .replace(/;$/, "")
    .replace(/\{@link ([\w.]+)\}/g, "$1")
    .replace(/^( {4})+/gm, (spaces) => spaces.slice(spaces.length / 2));
}

const privateMembers = ({ body }: ClassBody) =>
  body.filter(
    (member) =>
      ("accessibility" in member && member.accessibility === "private") ||
      ("key" in member && member.key?.type === "PrivateIdentifier"),
  );
