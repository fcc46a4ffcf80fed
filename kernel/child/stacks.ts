/** Stack traces that speak of cells and of TypeScript files, instead of the code that they became. */
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { originalPositionFor, TraceMap } from "@jridgewell/trace-mapping";
import type { CodeMaps } from "../host/protocol.ts";

interface Place {
  line: number;
  column: number;
}

interface Code {
  label: string;
  source: string;
  maps: CodeMaps;
  traced?: [rewrite: TraceMap, strip: TraceMap];
}

const cells = new Map<number, Code>();
const sourcesByLabel = new Map<string, string>();
const files = new Map<string, Code | undefined>();

type FileTransform = (source: string, path: string) => { maps: CodeMaps };
let transformFile: FileTransform | undefined;

/** Tells how TypeScript files were transformed. It is known only once one was imported, to keep the start short. */
export function setFileTransform(transform: FileTransform): void {
  transformFile = transform;
}

/** The file name that the code of a cell runs under. */
export function cellFile(cell: number): string {
  return `anneal-cell:${cell}`;
}

/** Keeps what is needed to speak of a cell later. */
export function rememberCell(cell: number, code: { label: string; source: string; maps: CodeMaps }): void {
  cells.set(cell, { ...code });
  sourcesByLabel.set(code.label, code.source);
}

/** The source of the cell of that label, such as `In[3]`. */
export function sourceOf(label: string): string | undefined {
  return sourcesByLabel.get(label);
}

/** Where a place in running code was written; undefined for code that the kernel added. Both count from 1. */
function original(code: Code, line: number, column: number): Place | undefined {
  code.traced ??= [new TraceMap(code.maps.rewrite), new TraceMap(code.maps.strip)];
  let at: { line: number | null; column: number | null } = { line, column: column - 1 };
  for (const map of code.traced) {
    if (at.line === null || at.column === null) return undefined;
    at = originalPositionFor(map, { line: at.line, column: at.column });
  }
  if (at.line === null || at.column === null) return undefined;
  const shift = at.line === 1 ? code.maps.shift : 0;
  return { line: at.line, column: Math.max(1, at.column + 1 - shift) };
}

function fileCode(url: string): Code | undefined {
  if (!files.has(url)) {
    let code: Code | undefined;
    try {
      const path = fileURLToPath(url.replace(/\?.*$/, ""));
      const source = readFileSync(path, "utf8");
      if (transformFile) code = { label: path, source, maps: transformFile(source, path).maps };
    } catch {
      // The file is gone or broken by now: its frames stay as they are.
    }
    files.set(url, code);
  }
  return files.get(url);
}

const ownFiles = new URL("..", import.meta.url).href;
const frameOfCell = /^(.*?)\(?anneal-cell:(\d+):(\d+):(\d+)\)?$/;
const frameOfFile = /^(.*?)\(?(file:[^()]*\.m?tsx?(?:\?v=[\da-z.]+)?):(\d+):(\d+)\)?$/;

/** One frame as a reader of cells wants it; undefined for frames of the kernel itself. */
function mapFrame(frame: string): string | undefined {
  if (frame.includes(ownFiles)) return undefined;
  const inCell = frameOfCell.exec(frame);
  const match = inCell ?? frameOfFile.exec(frame);
  if (!match) return frame;
  const [, before = "", key = "", line, column] = match;
  const code = inCell ? cells.get(Number(key)) : fileCode(key);
  if (!code) return frame;
  const place = original(code, Number(line), Number(column));
  if (!place) return undefined;
  const name = before.replace(/^(async )?__anneal_cell\s*/, "").trim();
  const at = `${code.label}:${place.line}:${place.column}`;
  return name === "" || name === "async" ? at : `${name} (${at})`;
}

/** Makes `error.stack` speak of cells everywhere: in tracebacks, and where user code prints it. */
export function installStackTraces(): void {
  Error.prepareStackTrace = (error, sites) => {
    const lines = [describe(error)];
    for (const site of sites) {
      const raw = String(site);
      const frame = mapFrame(raw);
      if (frame !== undefined) lines.push(`    at ${frame}`);
      // Below the cell's top level there is only how the kernel runs it.
      if (raw.includes("__anneal_cell")) break;
    }
    return lines.join("\n");
  };
}

function describe(error: unknown): string {
  try {
    return plainMessage(Error.prototype.toString.call(error));
  } catch {
    return "Error";
  }
}

/** A message without the names that a cell's code was given: V8 quotes the code that failed. */
export function plainMessage(message: string): string {
  return message.includes("__anneal")
    ? message
        .replace(/\(0\s*,\s*__anneal_scope\.([\p{L}\p{N}_$]+)\)/gu, "$1")
        .replace(/__anneal_scope\.|__anneal\.peek\.|__anneal\.constant\([^)]*\)\./g, "")
    : message;
}
