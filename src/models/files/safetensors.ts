import { type FileHandle, open, readFile } from "node:fs/promises";
import type { HostValue } from "../../tensor/index.ts";
import { ModelError } from "../error.ts";
import { type StoredTensor, storage, toHostValue, toStored } from "./dtypes.ts";
import { damaged, headerLength, parseHeader, type TensorInfo } from "./header.ts";
import { layOut } from "./layout.ts";

// Implemented here because the format is one JSON header before raw bytes, and no maintained package reads and writes it.

/** Maximum bytes per read or write: Node's calls take less than 2 GiB. */
export const pieceSize = 2 ** 30;

/**
 * A `.safetensors` file of any size, read one tensor at a time.
 *
 * @example
 * const file = await SafetensorsFile.open("model.safetensors");
 * const weights = toFloat32(await file.read("lm_head.weight"));
 * await file.close();
 */
export class SafetensorsFile {
  /** Path of the file. */
  readonly path: string;
  /** Location of each tensor, by name. */
  readonly tensors: ReadonlyMap<string, TensorInfo>;
  /** The file's metadata, such as `{ format: "pt" }`. */
  readonly metadata: Readonly<Record<string, string>>;
  readonly #handle: FileHandle;

  private constructor(
    path: string,
    tensors: ReadonlyMap<string, TensorInfo>,
    metadata: Readonly<Record<string, string>>,
    handle: FileHandle,
  ) {
    this.path = path;
    this.tensors = tensors;
    this.metadata = metadata;
    this.#handle = handle;
  }

  /**
   * Opens a file and validates its header. Close it after use.
   * @throws ModelError when the file is missing, truncated, or not of this format
   */
  static async open(path: string): Promise<SafetensorsFile> {
    const handle = await open(path, "r").catch((error) => {
      throw unreadable(path, error);
    });
    try {
      const { size } = await handle.stat();
      const start = new Uint8Array(Math.min(8, size));
      await readInto(handle, start, 0, path);
      const header = new Uint8Array(headerLength(start, size, path));
      await readInto(handle, header, 8, path);
      const { tensors, metadata } = parseHeader(header, size, path);
      return new SafetensorsFile(path, tensors, metadata, handle);
    } catch (error) {
      await handle.close();
      throw error instanceof ModelError ? error : unreadable(path, error as NodeJS.ErrnoException);
    }
  }

  /**
   * Reads one tensor in its stored dtype into a new buffer.
   * @throws ModelError when there is no such tensor, or the file was truncated after it was opened
   */
  async read(name: string): Promise<StoredTensor> {
    const info = this.tensors.get(name);
    if (!info) throw new ModelError(`${this.path} has no tensor ${JSON.stringify(name)}.`);
    const { dtype, shape, offset, bytes } = info;
    const buffer = allocate(bytes, `${this.path}: tensor ${JSON.stringify(name)}`);
    await readInto(this.#handle, new Uint8Array(buffer), offset, this.path).catch((error) => {
      throw error instanceof ModelError ? error : unreadable(this.path, error);
    });
    return { dtype, shape: [...shape], data: storage[dtype].view(buffer) };
  }

  /** Closes the file. */
  async close(): Promise<void> {
    await this.#handle.close();
  }
}

async function readInto(handle: FileHandle, target: Uint8Array, position: number, path: string): Promise<void> {
  let done = 0;
  while (done < target.length) {
    const length = Math.min(pieceSize, target.length - done);
    const { bytesRead } = await handle.read(target, done, length, position + done);
    if (bytesRead === 0) throw damaged(path, `it ends at byte ${position + done}`);
    done += bytesRead;
  }
}

function allocate(bytes: number, what: string): ArrayBuffer {
  try {
    return new ArrayBuffer(bytes);
  } catch {
    throw new ModelError(`${what} has ${bytes} bytes, which could not be allocated.`);
  }
}

const unreadable = (path: string, error: NodeJS.ErrnoException) =>
  new ModelError(error.code === "ENOENT" ? `There is no file ${path}.` : `Cannot read ${path}: ${error.message}`);

/**
 * Encodes named tensors as a `.safetensors` file. The result does not depend on the order of the names. For tensors that do
 * not fit in memory twice, use {@link writeSafetensors}.
 */
export function encodeSafetensors(
  tensors: Readonly<Record<string, HostValue>>,
  metadata: Readonly<Record<string, string>> = { format: "pt" },
): Uint8Array<ArrayBuffer> {
  const entries = Object.entries(tensors).map(([name, { dtype, shape }]) => ({ name, dtype, shape }));
  const { start, ordered, bytes } = layOut(entries, metadata);
  const file = new Uint8Array(bytes);
  file.set(start);
  let position = start.length;
  for (const { name, dtype, bytes: expected } of ordered) {
    const { buffer, byteOffset, byteLength } = toStored(dtype, tensors[name].data);
    if (byteLength !== expected) throw wrongSize(name, byteLength, expected);
    file.set(new Uint8Array(buffer, byteOffset, byteLength), position);
    position += byteLength;
  }
  return file;
}

/** Returns the error for a tensor whose data does not fit its shape. */
export const wrongSize = (name: string, actual: number, expected: number) =>
  new ModelError(`Tensor ${name} has ${actual} bytes, but its shape needs ${expected}.`);

/**
 * Reads all tensors of a `.safetensors` file; 16-bit floats become float32, uint8 becomes int32.
 * @throws ModelError when the file is missing, truncated, or not of this format
 */
export async function readSafetensors(path: string): Promise<Record<string, HostValue>> {
  const file = await SafetensorsFile.open(path);
  try {
    const entries: [string, HostValue][] = [];
    for (const name of file.tensors.keys()) entries.push([name, toHostValue(await file.read(name))]);
    return Object.fromEntries(entries);
  } finally {
    await file.close();
  }
}

/** Decodes the tensors of a file's bytes, as {@link readSafetensors} does; `name` is for messages. */
export function decodeSafetensors(file: Uint8Array, name: string): Record<string, HostValue> {
  const length = headerLength(file.subarray(0, 8), file.length, name);
  const { tensors } = parseHeader(file.subarray(8, 8 + length), file.length, name);
  return Object.fromEntries(
    Array.from(tensors, ([key, { dtype, shape, offset, bytes }]) => {
      const buffer = new ArrayBuffer(bytes);
      new Uint8Array(buffer).set(file.subarray(offset, offset + bytes));
      return [key, toHostValue({ dtype, shape: [...shape], data: storage[dtype].view(buffer) })];
    }),
  );
}

/** Reads a small file as text. */
export async function readText(path: string): Promise<string> {
  return readFile(path, "utf8").catch((error) => {
    throw unreadable(path, error);
  });
}
