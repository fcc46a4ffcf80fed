/**
 * A cell in TypeScript becomes JavaScript that can run beside the other cells.
 *
 * Types are stripped by oxc; then every top-level name becomes a property of one object that all cells share (the
 * scope), so that any cell can declare any name again as anything, and a function that was defined earlier sees the
 * newest value. Names of inner scopes are left alone. Guards are added so that a cell can be interrupted.
 */
import { originalPositionFor, TraceMap } from "@jridgewell/trace-mapping";
import MagicString from "magic-string";
import { type TransformResult, transformSync } from "oxc-transform";
import type { CodeMaps, Declaration } from "../host/protocol.ts";
import { boundAt } from "./bound.ts";
import { guardCell } from "./guards.ts";
import { mentionedInFunctions } from "./locals.ts";
import { type EmitOptions, lower, needsLowering, takeUsing } from "./lower.ts";
import { rewrite } from "./rewrite.ts";
import { CellSyntaxError, children, type Node, offsetOf, parse, position } from "./syntax.ts";

/** A cell as it will run. */
export interface TransformedCell {
  code: string;
  maps: CodeMaps;
  declared: Declaration[];
  /** Names that functions of the cell mention. */
  mentioned: ReadonlySet<string>;
}

/**
 * Turns a cell into JavaScript.
 *
 * @param source the cell, without magics
 * @param emit what the folder's tsconfig.json says
 * @param captured names that functions of earlier cells mention; without it no loop works on copies
 * @param known names that earlier cells declared; the value tells which of them may not be assigned
 * @returns code whose value, when run as a script, is a promise of the last expression's value
 * @throws CellSyntaxError
 */
export function transformCell(
  source: string,
  known: ReadonlyMap<string, Declaration["kind"]>,
  emit: EmitOptions = {},
  captured?: ReadonlySet<string>,
): TransformedCell {
  const { source: given, shift } = prepareCell(source);
  const { source: prepared, using } = takeUsing(given);
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
  if (stripped.errors.length > 0) throwAtJsx(prepared, shift);
  throwFirst(stripped.errors, (offset) => offset - shift);
  if (needsLowering(prepared, emit)) {
    const { code, map } = lower(prepared, emit);
    stripped = { code, map: JSON.parse(map) as TransformResult["map"], errors: [] };
  }
  const parsed = parse(stripped.code, "js");
  throwFirst(parsed.errors, (offset) => {
    const { line, column } = position(stripped.code, offset);
    const at = originalPositionFor(new TraceMap(JSON.stringify(stripped.map ?? {})), { line: line + 1, column });
    return offsetOf(prepared, (at.line ?? 1) - 1, at.column ?? 0) - shift;
  });
  const magic = new MagicString(stripped.code);
  const program = parsed.program as unknown as Node;
  const declared = boundAt(program, prepared);
  const mentioned = new Set<string>();
  mentionedInFunctions(program, mentioned);
  const hidden = captured && new Set([...captured, ...mentioned]);
  guardCell(magic, program);
  rewrite(magic, program, declared, known, using, hidden);
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
 * A cell that is one object literal, such as `{ a: 1 }`, would be read as a block: parentheses make it an object.
 * @returns the cell, and how many columns its first line moved
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

/** Says what to do where a cell is well-formed but for JSX. */
function throwAtJsx(source: string, shift: number): void {
  const { program, errors } = parse(source, "tsx");
  const jsx = errors.length === 0 ? firstJsx(program as unknown as Node) : undefined;
  if (!jsx) return;
  throw new CellSyntaxError(
    "a cell cannot contain JSX",
    Math.max(0, jsx.start - shift),
    jsx.end - jsx.start,
    "Put the component in a .tsx file beside the notebook and import it, or show HTML: display.html(`<b>text</b>`).",
  );
}

function firstJsx(node: Node): Node | undefined {
  if (node.type === "JSXElement" || node.type === "JSXFragment") return node;
  for (const each of children(node)) {
    const found = firstJsx(each);
    if (found) return found;
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
