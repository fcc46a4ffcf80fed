import { ModelError } from "../error.ts";
import { dtypeOf, type StoredDType, storage } from "./dtypes.ts";

/** Location of a tensor in a file. */
export interface TensorInfo {
  readonly dtype: StoredDType;
  readonly shape: readonly number[];
  /** Offset of its first byte in the file. */
  readonly offset: number;
  /** Size in bytes. */
  readonly bytes: number;
}

/** Parsed header of a safetensors file. */
export interface Header {
  readonly tensors: Map<string, TensorInfo>;
  readonly metadata: Record<string, string>;
}

/** Maximum header length of the format. */
const longestHeader = 100_000_000;

/**
 * Returns the length of a header.
 * @param start the file's first 8 bytes
 * @param fileSize size of the file in bytes
 * @param file its name, for messages
 * @throws ModelError when the length is invalid
 */
export function headerLength(start: Uint8Array, fileSize: number, file: string): number {
  if (start.length < 8) throw damaged(file, `it has only ${start.length} bytes`);
  const length = Number(new DataView(start.buffer, start.byteOffset, 8).getBigUint64(0, true));
  if (length > longestHeader) {
    throw damaged(file, `its header would have ${length} bytes, but the format allows ${longestHeader}`);
  }
  if (length > fileSize - 8) throw damaged(file, `its header of ${length} bytes is truncated`);
  return length;
}

/**
 * Parses and validates a header as the format's reference implementation does: tensors must be contiguous from the end of
 * the header to the end of the file.
 * @param header its bytes, without the 8 bytes of its length
 * @throws ModelError naming the file and the invalid tensor
 */
export function parseHeader(header: Uint8Array, fileSize: number, file: string): Header {
  let text: string;
  let json: unknown;
  try {
    text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(header);
    json = JSON.parse(text);
  } catch {
    throw damaged(file, "its header is not valid JSON");
  }
  if (!isObject(json)) throw damaged(file, `its header is ${show(json)}, not an object`);
  const repeated = repeatedKey(text);
  if (repeated !== undefined) throw damaged(file, `its header contains ${show(repeated)} twice`);
  const metadata = parseMetadata(json.__metadata__, file);
  const start = 8 + header.length;
  const tensors = new Map<string, TensorInfo>();
  for (const [name, entry] of Object.entries(json)) {
    if (name !== "__metadata__") tensors.set(name, parseEntry(name, entry, start, fileSize, file));
  }
  checkLayout(tensors, start, fileSize, file);
  return { tensors, metadata };
}

function parseMetadata(metadata: unknown, file: string): Record<string, string> {
  if (metadata === undefined) return {};
  if (!isObject(metadata)) throw damaged(file, `__metadata__ is ${show(metadata)}, not an object`);
  for (const [key, value] of Object.entries(metadata)) {
    if (typeof value !== "string")
      throw damaged(file, `__metadata__ has ${show(value)} for ${show(key)}, not a string`);
  }
  return metadata as Record<string, string>;
}

function parseEntry(name: string, entry: unknown, start: number, fileSize: number, file: string): TensorInfo {
  const invalid = (why: string) => damaged(file, `tensor ${show(name)} ${why}`);
  if (!isObject(entry)) throw invalid(`is ${show(entry)}, not an object`);
  const { dtype: stored, shape, data_offsets: offsets } = entry;
  const dtype = typeof stored === "string" ? dtypeOf.get(stored) : undefined;
  if (!dtype) {
    const supported = [...dtypeOf.keys()].join(", ");
    throw typeof stored === "string"
      ? new ModelError(
          `${file}: tensor ${show(name)} has dtype ${show(stored)}, which is not supported; supported: ${supported}.`,
        )
      : invalid(`has dtype ${show(stored)}, not a string`);
  }
  if (!Array.isArray(shape) || !shape.every(isSize)) {
    throw invalid(`has shape ${show(shape)}, not a list of non-negative integers`);
  }
  const count = shape.reduce((product: number, size: number) => product * size, 1);
  if (!Number.isSafeInteger(count * storage[dtype].bytes))
    throw invalid(`has shape ${show(shape)}, which is too large`);
  if (!Array.isArray(offsets) || offsets.length !== 2 || !offsets.every(isSize)) {
    throw invalid(`has offsets ${show(offsets)}, not two non-negative integers`);
  }
  const [from, to] = offsets as [number, number];
  if (to < from) throw invalid(`has offsets [${from}, ${to}], which end before they start`);
  if (start + to > fileSize) throw invalid(`ends at byte ${start + to} of a file of ${fileSize} bytes`);
  const bytes = count * storage[dtype].bytes;
  if (to - from !== bytes) throw invalid(`has ${to - from} bytes, but shape [${shape}] of ${stored} needs ${bytes}`);
  return { dtype, shape, offset: start + from, bytes };
}

function checkLayout(tensors: ReadonlyMap<string, TensorInfo>, start: number, fileSize: number, file: string): void {
  const ordered = [...tensors].sort(([, a], [, b]) => a.offset - b.offset || a.bytes - b.bytes);
  let end = start;
  let before = "the header";
  for (const [name, { offset, bytes }] of ordered) {
    if (offset < end) throw damaged(file, `tensor ${show(name)} overlaps ${before}`);
    if (offset > end)
      throw damaged(file, `${offset - end} bytes between ${before} and tensor ${show(name)} belong to no tensor`);
    end = offset + bytes;
    before = `tensor ${show(name)}`;
  }
  if (end !== fileSize) throw damaged(file, `${fileSize - end} bytes after ${before} belong to no tensor`);
}

/** Returns the first key that occurs twice in an object of a JSON text, at any depth. JSON.parse would keep the last one. */
function repeatedKey(json: string): string | undefined {
  // The text is valid JSON, so it suffices to scan strings and brackets.
  const tokens = /"(?:[^"\\]|\\.)*"(\s*:)?|[{}]/g;
  const objects: Set<string>[] = [];
  for (const [token, colon] of json.matchAll(tokens)) {
    if (token === "{") objects.push(new Set());
    else if (token === "}") objects.pop();
    else if (colon) {
      const key = JSON.parse(token.slice(0, -colon.length)) as string;
      const keys = objects[objects.length - 1];
      if (keys.has(key)) return key;
      keys.add(key);
    }
  }
  return undefined;
}

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);

const isSize = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0;

/** Formats a value for a message, on one line and truncated. */
function show(value: unknown): string {
  const text = JSON.stringify(value) ?? "missing";
  return text.length > 80 ? `${text.slice(0, 77)}...` : text;
}

/** Returns the error for a file that violates the format. */
export const damaged = (file: string, why: string) =>
  new ModelError(`${file} is not a valid safetensors file: ${why}.`);
