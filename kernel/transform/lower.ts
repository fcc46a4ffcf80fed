/**
 * What Node.js does not run yet and oxc leaves alone becomes what it runs: decorators, `accessor`, `using`. The compiler
 * itself does it, which takes some 80 ms, so only code that has any of these is given to it.
 */
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { compilerProgram } from "../language/compiler.ts";
import { child, children, list, type Node, parse, text } from "./syntax.ts";

/** What a tsconfig.json says that changes what code becomes. */
export interface EmitOptions {
  experimentalDecorators?: boolean | undefined;
  emitDecoratorMetadata?: boolean | undefined;
  useDefineForClassFields?: boolean | undefined;
}

const nodeMajor = Number(process.versions.node.split(".")[0]);
const hasUsing = nodeMajor >= 24;

/** Whether the compiler must lower some code. */
export function needsLowering(source: string, options: EmitOptions): boolean {
  const classic = options.useDefineForClassFields === false;
  if (!/@|\busing\b|\baccessor\b/.test(source) && !(classic && /\bclass\b/.test(source))) return false;
  const found = (node: Node): boolean =>
    list(node, "decorators").length > 0 ||
    node.type === "AccessorProperty" ||
    (classic && node.type === "PropertyDefinition") ||
    (!hasUsing && isUsing(node)) ||
    children(node).some(found);
  return found(parse(source, "ts").program as unknown as Node);
}

/** Whether a statement is a `using` or `await using` declaration. */
export function isUsing(node: Node): boolean {
  return node.type === "VariableDeclaration" && /using$/.test(text(node, "kind") ?? "");
}

/**
 * Has the compiler make JavaScript of a module.
 * @param extension of the file it stands for, such as `.ts`
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
    const { error } = spawnSync(program, [...first, ...always, ...flags, "--outDir", folder, file], { cwd: folder });
    if (error) throw error;
    const made = join(folder, "cell.js");
    const code = readFileSync(made, "utf8").replace(/\n\/\/# sourceMappingURL=.*\s*$/, "\n");
    return { code, map: readFileSync(`${made}.map`, "utf8") };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

// Types are not looked at, so that none are loaded: the checker has done that.
const always = [
  ...["--ignoreConfig", "--noCheck", "--noLib", "--noResolve", "--sourceMap", "--verbatimModuleSyntax"],
  ...["--target", "es2022", "--module", "preserve", "--jsx", "react-jsx", "--pretty", "false"],
];

/** A cell whose own `using` declarations became constants of the same length. */
export interface UsingCell {
  source: string;
  /** The names that are to be disposed of when the cell ends. */
  using: ReadonlyMap<string, "sync" | "async">;
}

/**
 * Finds the `using` declarations of a cell's top level. They are disposed of when the cell ends: the cell is their block.
 */
export function takeUsing(source: string): UsingCell {
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
