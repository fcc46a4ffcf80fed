/** Maps between positions in sources, which front-ends use, and positions in V8's scripts. */
import { readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, sep } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { eachMapping, LEAST_UPPER_BOUND, originalPositionFor, TraceMap } from "@jridgewell/trace-mapping";
import { transformFile } from "../child/typescript.ts";
import type { CodeMaps } from "../host/protocol.ts";
import type { EmitOptions } from "../transform/lower.ts";

/** A position in a source. Line and column start offset 1. */
export interface Position {
  path: string;
  line: number;
  column: number;
}

/** A position in a script of V8. Line and column start offset 0. */
export interface Generated {
  lineNumber: number;
  columnNumber: number;
}

interface Code {
  path: string;
  rewrite: TraceMap;
  strip: TraceMap;
}

const maxCells = 2000;

/** The sources of a kernel. Cells are not written to files; front-ends request their text. */
export class Sources {
  /** The path of a cell consists of prefix, hash of its text, and suffix. */
  readonly prefix = join(tmpdir(), `anneal-${process.pid}`) + sep;
  readonly suffix = ".ts";
  readonly seed = 0x7e7e_5eed;
  readonly #emit: EmitOptions;
  readonly #texts = new Map<string, string>();
  readonly #cells = new Map<string, Code | { path: string; maps: CodeMaps }>();
  readonly #files = new Map<string, Code | undefined>();

  constructor(emit: EmitOptions) {
    this.#emit = emit;
  }

  /** Registers the text of a cell and returns its path. */
  registerText(text: string): string {
    const path = `${this.prefix}${murmur2(text, this.seed)}${this.suffix}`;
    this.#texts.set(path, text);
    return path;
  }

  /** Registers a cell that is about to run. @param url the URL of its script @returns the cell's path */
  add(url: string, text: string, maps: CodeMaps): string {
    const path = this.registerText(text);
    this.#cells.set(url, { path, maps });
    const oldest = this.#cells.keys().next();
    if (this.#cells.size > maxCells && oldest.value !== undefined) this.#cells.delete(oldest.value);
    return path;
  }

  /** The text of a cell or file; undefined if there is none. */
  text(path: string): string | undefined {
    const cell = this.#texts.get(path);
    if (cell !== undefined) return cell;
    try {
      return readFileSync(path, "utf8");
    } catch {
      return undefined;
    }
  }

  isCell(path: string): boolean {
    return path.startsWith(this.prefix);
  }

  /** The URLs of the scripts that ran a cell's text. */
  scriptsOf(path: string): string[] {
    return [...this.#cells].filter(([, code]) => code.path === path).map(([url]) => url);
  }

  #code(url: string): Code | undefined {
    const cell = this.#cells.get(url);
    if (cell) {
      if ("rewrite" in cell) return cell;
      const code = withTraceMaps(cell.path, cell.maps);
      this.#cells.set(url, code);
      return code;
    }
    if (!/^file:.*\.m?tsx?(\?|$)/.test(url)) return undefined;
    if (!this.#files.has(url)) {
      let code: Code | undefined;
      try {
        const path = fileURLToPath(url.replace(/\?.*$/, ""));
        code = withTraceMaps(path, transformFile(readFileSync(path, "utf8"), path, this.#emit).maps);
      } catch {
        // The file was deleted or is invalid now: its frames have no position.
      }
      this.#files.set(url, code);
    }
    return this.#files.get(url);
  }

  /** Maps a position in a script to the source; undefined for code that the kernel inserted and for other files. */
  original(url: string, { lineNumber, columnNumber }: Generated): Position | undefined {
    const code = this.#code(url);
    if (!code) return undefined;
    let position: { line: number | null; column: number | null } = { line: lineNumber + 1, column: columnNumber };
    for (const map of [code.rewrite, code.strip]) {
      if (position.line === null || position.column === null) return undefined;
      position = nearest(map, position.line, position.column);
    }
    return position.line === null || position.column === null
      ? undefined
      : { path: code.path, line: position.line, column: position.column + 1 };
  }

  /** Maps a line to the first position in a script. For a line without code, uses the next line with code. */
  generated(url: string, line: number): (Generated & { line: number }) | undefined {
    const code = this.#code(url);
    if (!code) return undefined;
    let stripped: { line: number; column: number; from: number } | undefined;
    eachMapping(code.strip, ({ originalLine, generatedLine, generatedColumn }) => {
      if (originalLine === null || originalLine < line || (stripped && originalLine >= stripped.from)) return;
      stripped = { line: generatedLine, column: generatedColumn, from: originalLine };
    });
    if (!stripped) return undefined;
    const target = stripped;
    let result: Generated | undefined;
    let distance = Number.POSITIVE_INFINITY;
    /** For each line of the script, the column where code of earlier source lines ends. */
    const previousEnd = new Map<number, number>();
    eachMapping(code.rewrite, ({ originalLine, originalColumn, generatedLine, generatedColumn }) => {
      if (originalLine !== null && originalLine < target.line) {
        previousEnd.set(generatedLine - 1, Math.max(previousEnd.get(generatedLine - 1) ?? 0, generatedColumn + 1));
      }
      if (originalLine !== target.line || originalColumn === null || originalColumn < target.column) return;
      if (originalColumn - target.column >= distance) return;
      distance = originalColumn - target.column;
      result = { lineNumber: generatedLine - 1, columnNumber: generatedColumn };
    });
    if (!result) return undefined;
    const { lineNumber, columnNumber } = result as Generated;
    // Text that the kernel inserted before the statement, such as `return`, belongs to it.
    return { lineNumber, columnNumber: Math.min(columnNumber, previousEnd.get(lineNumber) ?? 0), line: target.from };
  }

  /** The URL of a file, without the version that the loader adds. */
  fileUrl(path: string): string {
    return pathToFileURL(path).href;
  }
}

function withTraceMaps(path: string, { rewrite, strip }: CodeMaps): Code {
  return { path, rewrite: new TraceMap(rewrite), strip: new TraceMap(strip) };
}

/** MurmurHash2, which Jupyter's front-ends use to name cells (https://github.com/aappleby/smhasher). */
export function murmur2(text: string, seed: number): number {
  const m = 0x5bd1e995;
  const data = Buffer.from(text, "utf8");
  let hash = seed ^ data.length;
  let offset = 0;
  for (; data.length - offset >= 4; offset += 4) {
    let k = Math.imul(data.readInt32LE(offset), m);
    k ^= k >>> 24;
    hash = Math.imul(hash, m) ^ Math.imul(k, m);
  }
  const rest = data.subarray(offset);
  for (let each = rest.length - 1; each >= 0; each--) hash ^= (rest[each] ?? 0) << (8 * each);
  if (rest.length > 0) hash = Math.imul(hash, m);
  hash ^= hash >>> 13;
  hash = Math.imul(hash, m);
  return (hash ^ (hash >>> 15)) >>> 0;
}

// A check that the kernel inserted before the first statement of a line maps to that statement.
function nearest(map: TraceMap, line: number, column: number) {
  const before = originalPositionFor(map, { line, column });
  return before.line === null ? originalPositionFor(map, { line, column, bias: LEAST_UPPER_BOUND }) : before;
}
