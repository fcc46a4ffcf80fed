/** Maps stack traces to the source of cells and TypeScript files. */
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { originalPositionFor, TraceMap } from "@jridgewell/trace-mapping";
import type { CodeMaps } from "../host/protocol.ts";

interface Position {
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

/** Sets the function that transforms TypeScript files. Loaded with the first such file, to keep startup short. */
export function setFileTransform(transform: FileTransform): void {
  transformFile = transform;
}

/** The file name of a cell's code in V8. */
export function cellFile(cell: number): string {
  return `anneal-cell:${cell}`;
}

/** Registers a cell's source and maps for stack traces. */
export function registerCell(cell: number, code: { label: string; source: string; maps: CodeMaps }): void {
  cells.set(cell, { ...code });
  sourcesByLabel.set(code.label, code.source);
}

/** The source of the cell with a label, such as `In[3]`. */
export function sourceOf(label: string): string | undefined {
  return sourcesByLabel.get(label);
}

/** Maps a position to the source; undefined for code that the kernel inserted. Lines and columns start at 1. */
function originalPosition(code: Code, line: number, column: number): Position | undefined {
  code.traced ??= [new TraceMap(code.maps.rewrite), new TraceMap(code.maps.strip)];
  let position: { line: number | null; column: number | null } = { line, column: column - 1 };
  for (const map of code.traced) {
    if (position.line === null || position.column === null) return undefined;
    position = originalPositionFor(map, { line: position.line, column: position.column });
  }
  if (position.line === null || position.column === null) return undefined;
  const shift = position.line === 1 ? code.maps.shift : 0;
  return { line: position.line, column: Math.max(1, position.column + 1 - shift) };
}

function fileCode(url: string): Code | undefined {
  if (!files.has(url)) {
    let code: Code | undefined;
    try {
      const path = fileURLToPath(url.replace(/\?.*$/, ""));
      const source = readFileSync(path, "utf8");
      if (transformFile) code = { label: path, source, maps: transformFile(source, path).maps };
    } catch {
      // The file was deleted or is invalid now: its frames are not mapped.
    }
    files.set(url, code);
  }
  return files.get(url);
}

const ownFiles = new URL("..", import.meta.url).href;
const frameOfCell = /^(.*?)\(?anneal-cell:(\d+):(\d+):(\d+)\)?$/;
const frameOfFile = /^(.*?)\(?(file:[^()]*\.m?tsx?(?:\?v=[\da-z.]+)?):(\d+):(\d+)\)?$/;

/** Maps a stack frame; undefined for frames of the kernel itself. */
function mapFrame(frame: string): string | undefined {
  if (frame.includes(ownFiles)) return undefined;
  const inCell = frameOfCell.exec(frame);
  const match = inCell ?? frameOfFile.exec(frame);
  if (!match) return frame;
  const [, before = "", key = "", line, column] = match;
  const code = inCell ? cells.get(Number(key)) : fileCode(key);
  if (!code) return frame;
  const position = originalPosition(code, Number(line), Number(column));
  if (!position) return undefined;
  const name = before.replace(/^(async )?__anneal_cell\s*/, "").trim();
  const location = `${code.label}:${position.line}:${position.column}`;
  return name === "" || name === "async" ? location : `${name} (${location})`;
}

/** Installs a `prepareStackTrace` hook, so that `error.stack` refers to cells. */
export function installStackTraces(): void {
  Error.prepareStackTrace = (error, sites) => {
    const lines = [describe(error)];
    for (const site of sites) {
      const raw = String(site);
      const frame = mapFrame(raw);
      if (frame !== undefined) lines.push(`    at ${frame}`);
      // Frames below the cell's top level belong to the kernel.
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

/** Removes names that the transformation inserted from a message, because V8 quotes the failing code. */
export function plainMessage(message: string): string {
  return message.includes("__anneal")
    ? message
        .replace(/\(0\s*,\s*__anneal_scope\.([\p{L}\p{N}_$]+)\)/gu, "$1")
        .replace(/__anneal_scope\.|__anneal\.peek\.|__anneal\.constant\([^)]*\)\./g, "")
    : message;
}
