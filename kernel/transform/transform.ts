/**
 * Transforms a TypeScript cell to JavaScript.
 *
 * First oxc strips the types. Then every top-level name becomes a property of the scope, an object that all cells share, so
 * that cells can redeclare names and earlier functions see the latest values. Names of inner scopes do not change. Guards
 * are inserted so that a cell can be interrupted.
 */
import { originalPositionFor, TraceMap } from "@jridgewell/trace-mapping";
import MagicString from "magic-string";
import { type TransformResult, transformSync } from "oxc-transform";
import type { CodeMaps, Declaration } from "../host/protocol.ts";
import { topLevelDeclarations } from "./bound.ts";
import { guardCell } from "./guards.ts";
import { mentionedInFunctions } from "./locals.ts";
import { type EmitOptions, lower, needsLowering, replaceUsing } from "./lower.ts";
import { rewrite } from "./rewrite.ts";
import { CellSyntaxError, children, type Node, offsetOf, parse, position } from "./syntax.ts";

/** A transformed cell. */
export interface TransformedCell {
  code: string;
  maps: CodeMaps;
  declared: Declaration[];
  /** Names that functions in the cell reference. */
  mentioned: ReadonlySet<string>;
}

/**
 * Transforms a cell to JavaScript.
 *
 * @param source the cell without magics
 * @param emit compiler options of the folder's tsconfig.json
 * @param captured names that functions in earlier cells reference; without it loops use no local copies
 * @param earlier names that earlier cells declared, with their kinds
 * @returns a script that evaluates to a promise of the last expression's value
 * @throws CellSyntaxError when the cell has a syntax error
 */
export function transformCell(
  source: string,
  earlier: ReadonlyMap<string, Declaration["kind"]>,
  emit: EmitOptions = {},
  captured?: ReadonlySet<string>,
): TransformedCell {
  const { source: wrapped, shift } = prepareCell(source);
  const { source: prepared, using } = replaceUsing(wrapped);
  let stripped: Pick<TransformResult, "code" | "map"> & { errors: readonly ParserError[] } = transformSync(
    "cell.ts",
    prepared,
    {
      lang: "ts",
      sourceType: "module",
      sourcemap: true,
      typescript: { onlyRemoveTypeImports: true },
    },
  );
  if (stripped.errors.length > 0) throwIfJsx(prepared, shift);
  throwFirst(stripped.errors, (offset) => offset - shift);
  if (needsLowering(prepared, emit)) {
    const { code, map } = lower(prepared, emit);
    stripped = { code, map: JSON.parse(map) as TransformResult["map"], errors: [] };
  }
  const parsed = parse(stripped.code, "js");
  throwFirst(parsed.errors, (offset) => {
    const { line, column } = position(stripped.code, offset);
    const original = originalPositionFor(new TraceMap(JSON.stringify(stripped.map ?? {})), { line: line + 1, column });
    return offsetOf(prepared, (original.line ?? 1) - 1, original.column ?? 0) - shift;
  });
  const magic = new MagicString(stripped.code);
  const program = parsed.program as unknown as Node;
  const declared = topLevelDeclarations(program, prepared);
  const mentioned = new Set<string>();
  mentionedInFunctions(program, mentioned);
  const allCaptured = captured && new Set([...captured, ...mentioned]);
  guardCell(magic, program);
  rewrite(magic, program, declared, earlier, using, allCaptured);
  return {
    code: magic.toString(),
    maps: {
      rewrite: magic.generateMap({ hires: "boundary", source: "cell.js" }).toString(),
      strip: JSON.stringify(stripped.map ?? {}),
      shift,
    },
    declared,
    mentioned,
  };
}

/**
 * Puts a cell that is an object literal, such as `{ a: 1 }`, in parentheses. Otherwise it would be parsed as a block.
 * @returns the cell and the column shift of its first line
 */
export function prepareCell(source: string): { source: string; shift: number } {
  const trimmed = source.trim();
  if (trimmed.startsWith("{") && trimmed.endsWith("}")) {
    const wrapped = `(${source}\n)`;
    if (parse(wrapped, "ts").errors.length === 0) return { source: wrapped, shift: 1 };
  }
  return { source, shift: 0 };
}

interface ParserError {
  severity: unknown;
  message: string;
  helpMessage: string | null;
  labels: { start: number; end: number }[];
}

/** Throws an error with a suggestion if JSX is the only syntax error in a cell. */
function throwIfJsx(source: string, shift: number): void {
  const { program, errors } = parse(source, "tsx");
  const jsx = errors.length === 0 ? firstJsx(program as unknown as Node) : undefined;
  if (!jsx) return;
  throw new CellSyntaxError(
    "a cell cannot contain JSX",
    Math.max(0, jsx.start - shift),
    jsx.end - jsx.start,
    "Put the component in a .tsx file in the notebook's folder and import it, or use display.html(`<b>text</b>`).",
  );
}

function firstJsx(node: Node): Node | undefined {
  if (node.type === "JSXElement" || node.type === "JSXFragment") return node;
  for (const each of children(node)) {
    const jsx = firstJsx(each);
    if (jsx) return jsx;
  }
  return undefined;
}

function throwFirst(errors: readonly ParserError[], original: (offset: number) => number): void {
  const error = errors.find((each) => each.severity === "Error");
  if (!error) return;
  const label = error.labels[0] ?? { start: 0, end: 0 };
  throw new CellSyntaxError(
    error.message,
    Math.max(0, original(label.start)),
    Math.max(1, label.end - label.start),
    error.helpMessage ?? undefined,
  );
}
