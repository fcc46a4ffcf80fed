import { ModelError } from "../error.ts";
import { dtypeOf, type StoredDType, storage } from "./dtypes.ts";

/** Where a tensor lies in a file. */
export interface TensorInfo {
  readonly dtype: StoredDType;
  readonly shape: readonly number[];
  /** Position of its first byte in the file. */
  readonly offset: number;
  /** Its size. */
  readonly bytes: number;
}

/** What the first bytes of a safetensors file say. */
export interface Header {
  readonly tensors: Map<string, TensorInfo>;
  readonly metadata: Record<string, string>;
}

/** The format's own limit. */
const longestHeader = 100_000_000;

/**
 * The length of a header.
 * @param start the file's first 8 bytes
 * @param fileSize bytes of the file
 * @param file its name, for messages
 * @throws ModelError when the length cannot be right
 */
export function headerLength(start: Uint8Array, fileSize: number, file: string): number {
  if (start.length < 8) throw damaged(file, `it has ${start.length} bytes`);
  const length = Number(new DataView(start.buffer, start.byteOffset, 8).getBigUint64(0, true));
  if (length > longestHeader) {
    throw damaged(file, `its header would have ${length} bytes, and the format allows ${longestHeader}`);
  }
  if (length > fileSize - 8) throw damaged(file, `its header of ${length} bytes is cut short`);
  return length;
}

/**
 * Read and check a header as the format's reference implementation does: the tensors must lie one after the other, from
 * the header's end to the file's end, without gaps or overlaps.
 * @param header its bytes, without the 8 bytes of its length
 * @throws ModelError naming the file and the tensor that is wrong
 */
export function parseHeader(header: Uint8Array, fileSize: number, file: string): Header {
  let text: string;
  let json: unknown;
  try {
    text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(header);
    json = JSON.parse(text);
  } catch {
    throw damaged(file, "its header is no JSON");
  }
  if (!isObject(json)) throw damaged(file, `its header is ${show(json)}, not an object`);
  const twice = repeatedKey(text);
  if (twice !== undefined) throw damaged(file, `its header names ${show(twice)} twice`);
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
    if (typeof value !== "string") throw damaged(file, `__metadata__ has ${show(value)} for ${show(key)}, not text`);
  }
  return metadata as Record<string, string>;
}

function parseEntry(name: string, entry: unknown, start: number, fileSize: number, file: string): TensorInfo {
  const wrong = (why: string) => damaged(file, `tensor ${show(name)} ${why}`);
  if (!isObject(entry)) throw wrong(`is ${show(entry)}, not an object`);
  const { dtype: stored, shape, data_offsets: offsets } = entry;
  const dtype = typeof stored === "string" ? dtypeOf.get(stored) : undefined;
  if (!dtype) {
    const known = [...dtypeOf.keys()].join(", ");
    throw typeof stored === "string"
      ? new ModelError(`${file}: tensor ${show(name)} has dtype ${show(stored)}, which is not read; ${known} are.`)
      : wrong(`has dtype ${show(stored)}, not text`);
  }
  if (!Array.isArray(shape) || !shape.every(isSize)) {
    throw wrong(`has shape ${show(shape)}, not a list of whole numbers of 0 or more`);
  }
  const count = shape.reduce((product: number, size: number) => product * size, 1);
  if (!Number.isSafeInteger(count * storage[dtype].bytes)) throw wrong(`has shape ${show(shape)}, which is too large`);
  if (!Array.isArray(offsets) || offsets.length !== 2 || !offsets.every(isSize)) {
    throw wrong(`has offsets ${show(offsets)}, not two whole numbers of 0 or more`);
  }
  const [from, to] = offsets as [number, number];
  if (to < from) throw wrong(`has offsets [${from}, ${to}], which end before they begin`);
  if (start + to > fileSize) throw wrong(`ends at byte ${start + to} of a file of ${fileSize}`);
  const bytes = count * storage[dtype].bytes;
  if (to - from !== bytes) throw wrong(`has ${to - from} bytes where its shape [${shape}] of ${stored} needs ${bytes}`);
  return { dtype, shape, offset: start + from, bytes };
}

function checkLayout(tensors: ReadonlyMap<string, TensorInfo>, start: number, fileSize: number, file: string): void {
  const ordered = [...tensors].sort(([, a], [, b]) => a.offset - b.offset || a.bytes - b.bytes);
  let end = start;
  let before = "the header";
  for (const [name, { offset, bytes }] of ordered) {
    if (offset < end) throw damaged(file, `tensor ${show(name)} overlaps ${before}`);
    if (offset > end)
      throw damaged(file, `${offset - end} bytes between ${before} and tensor ${show(name)} are no tensor's`);
    end = offset + bytes;
    before = `tensor ${show(name)}`;
  }
  if (end !== fileSize) throw damaged(file, `${fileSize - end} bytes after ${before} are no tensor's`);
}

/** The first key that stands twice in one object of a JSON text, at any depth. JSON.parse keeps the last of them. */
function repeatedKey(json: string): string | undefined {
  // The text is known to be JSON, so strings and brackets are all there is to look at.
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

/** A value for a message, on one line and not too long. */
function show(value: unknown): string {
  const text = JSON.stringify(value) ?? "missing";
  return text.length > 80 ? `${text.slice(0, 77)}...` : text;
}

/** The error of a file that is not what the format says. */
export const damaged = (file: string, why: string) => new ModelError(`${file} is no whole safetensors file: ${why}.`);
