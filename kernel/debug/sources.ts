/** Where code is, as the debugger's two sides name it: front-ends by path and line of what was written, V8 by script. */
import { readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, sep } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { eachMapping, LEAST_UPPER_BOUND, originalPositionFor, TraceMap } from "@jridgewell/trace-mapping";
import { transformFile } from "../child/typescript.ts";
import type { CodeMaps } from "../host/protocol.ts";
import type { EmitOptions } from "../transform/lower.ts";

/** A place in what was written; both count from 1. */
export interface Place {
  path: string;
  line: number;
  column: number;
}

/** A place in what runs, as V8 counts: both from 0. */
export interface Generated {
  lineNumber: number;
  columnNumber: number;
}

interface Code {
  path: string;
  rewrite: TraceMap;
  strip: TraceMap;
}

const cellsKept = 2000;

/** The sources of one kernel. No file is written: front-ends ask for the text of a cell. */
export class Sources {
  /** Front-ends name a cell by prefix, hash of its text, suffix. */
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

  /** The path that stands for the text of a cell. */
  remember(text: string): string {
    const path = `${this.prefix}${murmur2(text, this.seed)}${this.suffix}`;
    this.#texts.set(path, text);
    return path;
  }

  /** A cell is about to run under the name of a script. */
  add(url: string, text: string, maps: CodeMaps): string {
    const path = this.remember(text);
    this.#cells.set(url, { path, maps });
    const oldest = this.#cells.keys().next();
    if (this.#cells.size > cellsKept && oldest.value !== undefined) this.#cells.delete(oldest.value);
    return path;
  }

  /** The text at a path; undefined where there is none. */
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

  /** The scripts that were made of a cell's text so far. */
  scriptsOf(path: string): string[] {
    return [...this.#cells].filter(([, code]) => code.path === path).map(([url]) => url);
  }

  #code(url: string): Code | undefined {
    const cell = this.#cells.get(url);
    if (cell) {
      if ("rewrite" in cell) return cell;
      const code = traced(cell.path, cell.maps);
      this.#cells.set(url, code);
      return code;
    }
    if (!/^file:.*\.m?tsx?(\?|$)/.test(url)) return undefined;
    if (!this.#files.has(url)) {
      let code: Code | undefined;
      try {
        const path = fileURLToPath(url.replace(/\?.*$/, ""));
        code = traced(path, transformFile(readFileSync(path, "utf8"), path, this.#emit).maps);
      } catch {
        // Gone or broken by now: its frames have no place.
      }
      this.#files.set(url, code);
    }
    return this.#files.get(url);
  }

  /** Where a place of a script was written; undefined for code that the kernel added, and for what is not TypeScript. */
  original(url: string, { lineNumber, columnNumber }: Generated): Place | undefined {
    const code = this.#code(url);
    if (!code) return undefined;
    let at: { line: number | null; column: number | null } = { line: lineNumber + 1, column: columnNumber };
    for (const map of [code.rewrite, code.strip]) {
      if (at.line === null || at.column === null) return undefined;
      at = nearest(map, at.line, at.column);
    }
    return at.line === null || at.column === null
      ? undefined
      : { path: code.path, line: at.line, column: at.column + 1 };
  }

  /** The first place in a script that was made of a line, or of the next line that anything was made of. */
  generated(url: string, line: number): (Generated & { line: number }) | undefined {
    const code = this.#code(url);
    if (!code) return undefined;
    let stripped: { line: number; column: number; from: number } | undefined;
    eachMapping(code.strip, ({ originalLine, generatedLine, generatedColumn }) => {
      if (originalLine === null || originalLine < line || (stripped && originalLine >= stripped.from)) return;
      stripped = { line: generatedLine, column: generatedColumn, from: originalLine };
    });
    if (!stripped) return undefined;
    const wanted = stripped;
    let found: Generated | undefined;
    let distance = Number.POSITIVE_INFINITY;
    /** Where code of earlier lines ends, on each line of what runs. */
    const taken = new Map<number, number>();
    eachMapping(code.rewrite, ({ originalLine, originalColumn, generatedLine, generatedColumn }) => {
      if (originalLine !== null && originalLine < wanted.line) {
        taken.set(generatedLine - 1, Math.max(taken.get(generatedLine - 1) ?? 0, generatedColumn + 1));
      }
      if (originalLine !== wanted.line || originalColumn === null || originalColumn < wanted.column) return;
      if (originalColumn - wanted.column >= distance) return;
      distance = originalColumn - wanted.column;
      found = { lineNumber: generatedLine - 1, columnNumber: generatedColumn };
    });
    if (!found) return undefined;
    const { lineNumber, columnNumber } = found as Generated;
    // What the kernel put before the statement, such as `return`, is part of it.
    return { lineNumber, columnNumber: Math.min(columnNumber, taken.get(lineNumber) ?? 0), line: wanted.from };
  }

  /** The address of a file on disk, without the version that the loader adds. */
  fileUrl(path: string): string {
    return pathToFileURL(path).href;
  }
}

function traced(path: string, { rewrite, strip }: CodeMaps): Code {
  return { path, rewrite: new TraceMap(rewrite), strip: new TraceMap(strip) };
}

/** MurmurHash2, by which Jupyter's front-ends name cells. (https://github.com/aappleby/smhasher) */
export function murmur2(text: string, seed: number): number {
  const m = 0x5bd1e995;
  const data = Buffer.from(text, "utf8");
  let hash = seed ^ data.length;
  let at = 0;
  for (; data.length - at >= 4; at += 4) {
    let k = Math.imul(data.readInt32LE(at), m);
    k ^= k >>> 24;
    hash = Math.imul(hash, m) ^ Math.imul(k, m);
  }
  const rest = data.subarray(at);
  for (let each = rest.length - 1; each >= 0; each--) hash ^= (rest[each] ?? 0) << (8 * each);
  if (rest.length > 0) hash = Math.imul(hash, m);
  hash ^= hash >>> 13;
  hash = Math.imul(hash, m);
  return (hash ^ (hash >>> 15)) >>> 0;
}

// A check that the kernel added before the first statement of a line stands for that statement.
function nearest(map: TraceMap, line: number, column: number) {
  const before = originalPositionFor(map, { line, column });
  return before.line === null ? originalPositionFor(map, { line, column, bias: LEAST_UPPER_BOUND }) : before;
}
