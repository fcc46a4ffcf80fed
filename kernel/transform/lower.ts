/**
 * Compiles syntax that neither Node.js nor oxc supports: decorators, `accessor` and `using`. It runs the TypeScript compiler,
 * which takes about 80 ms, so it is used only for code that needs it.
 */
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { compilerProgram } from "../language/compiler.ts";
import { child, children, list, type Node, parse, text } from "./syntax.ts";

/** Compiler options that change the emitted code. */
export interface EmitOptions {
  experimentalDecorators?: boolean | undefined;
  emitDecoratorMetadata?: boolean | undefined;
  useDefineForClassFields?: boolean | undefined;
}

const nodeMajor = Number(process.versions.node.split(".")[0]);
const hasUsing = nodeMajor >= 24;

/** Whether code must be compiled by {@link lower}. */
export function needsLowering(source: string, options: EmitOptions): boolean {
  const legacyFields = options.useDefineForClassFields === false;
  if (!/@|\busing\b|\baccessor\b/.test(source) && !(legacyFields && /\bclass\b/.test(source))) return false;
  const needsIt = (node: Node): boolean =>
    list(node, "decorators").length > 0 ||
    node.type === "AccessorProperty" ||
    (legacyFields && node.type === "PropertyDefinition") ||
    (!hasUsing && isUsing(node)) ||
    children(node).some(needsIt);
  return needsIt(parse(source, "ts").program as unknown as Node);
}

/** Whether a statement is a `using` or `await using` declaration. */
export function isUsing(node: Node): boolean {
  return node.type === "VariableDeclaration" && /using$/.test(text(node, "kind") ?? "");
}

/**
 * Compiles a module to JavaScript with the TypeScript compiler.
 * @param extension the file extension, such as `.ts`
 * @throws Error when the compiler cannot be run
 */
export function lower(source: string, options: EmitOptions, extension = ".ts"): { code: string; map: string } {
  const folder = mkdtempSync(join(tmpdir(), "anneal-lower-"));
  try {
    const file = join(folder, `cell${extension}`);
    writeFileSync(file, source);
    const [program, ...first] = compilerProgram();
    const flags = Object.entries(options).flatMap(([name, value]) =>
      value === undefined ? [] : [`--${name}`, String(value)],
    );
    const { error } = spawnSync(program, [...first, ...baseFlags, ...flags, "--outDir", folder, file], { cwd: folder });
    if (error) throw error;
    const output = join(folder, "cell.js");
    const code = readFileSync(output, "utf8").replace(/\n\/\/# sourceMappingURL=.*\s*$/, "\n");
    return { code, map: readFileSync(`${output}.map`, "utf8") };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

// Without type checks, which the checker does.
const baseFlags = [
  ...["--ignoreConfig", "--noCheck", "--noLib", "--noResolve", "--sourceMap", "--verbatimModuleSyntax"],
  ...["--target", "es2022", "--module", "preserve", "--jsx", "react-jsx", "--pretty", "false"],
];

/** A cell whose top-level `using` declarations were replaced by `const`, with unchanged positions. */
export interface UsingCell {
  source: string;
  /** The names to dispose when the cell ends. */
  using: ReadonlyMap<string, "sync" | "async">;
}

/** Replaces the top-level `using` declarations of a cell by `const`. The kernel disposes them when the cell ends. */
export function replaceUsing(source: string): UsingCell {
  const using = new Map<string, "sync" | "async">();
  if (!/\busing\b/.test(source)) return { source, using };
  let changed = source;
  for (const node of list(parse(source, "ts").program as unknown as Node, "body")) {
    if (!isUsing(node)) continue;
    const kind = text(node, "kind") ?? "";
    const [first] = list(node, "declarations");
    if (!first) continue;
    const head = source
      .slice(node.start, first.start)
      .replace(/using/, "const")
      .replace(/^await/, "     ");
    changed = changed.slice(0, node.start) + head + changed.slice(first.start);
    for (const each of list(node, "declarations")) {
      const id = child(each, "id");
      if (id) using.set(text(id, "name") ?? "", kind === "using" ? "sync" : "async");
    }
  }
  return { source: changed, using };
}
