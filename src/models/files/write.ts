import { createHash, type Hash } from "node:crypto";
import { type FileHandle, open } from "node:fs/promises";
import { join } from "node:path";
import { ModelError } from "../error.ts";
import { isFloat, type StoredData, type StoredDType, toFloat32, toStored } from "./dtypes.ts";
import { layOut, sizeOf, type TensorEntry } from "./layout.ts";
import { pieceSize, wrongSize } from "./safetensors.ts";

/** A tensor to write, whose data is read just before it is written. */
export interface TensorSource extends TensorEntry {
  /**
   * Returns the data in the declared dtype. For float16 and bfloat16: the bits as Uint16Array, or float32 values, which are
   * rounded.
   */
  read(): StoredData | Promise<StoredData>;
}

/** Size and digest of a written file. */
export interface WrittenFile {
  bytes: number;
  /** SHA-256 of the content, in hexadecimal. */
  sha256: string;
}

/** The tensors to write, as an iterable or an async iterable. */
export type Sources = Iterable<TensorSource> | AsyncIterable<TensorSource>;

/** Options of {@link writeShards}. */
export interface ShardOptions {
  /** Maximum bytes of tensors per file; a larger tensor gets its own file. Default 5 * 10^9. */
  maxShardSize?: number;
  /** Store floating point tensors in this dtype. Default: each in its own dtype. */
  dtype?: "float32" | "float16" | "bfloat16";
}

/** Name of the index file, which maps tensors to shards. */
export const indexName = "model.safetensors.index.json";

/**
 * Writes a `.safetensors` file, tensor by tensor, and flushes it to disk. Only one tensor's data is in memory at a time.
 * @returns the file's size and digest
 * @throws ModelError when two tensors have the same name, or data does not fit its shape
 */
export async function writeSafetensors(
  path: string,
  tensors: Sources,
  { metadata = { format: "pt" } }: { metadata?: Readonly<Record<string, string>> } = {},
): Promise<WrittenFile> {
  const { start, ordered, bytes } = layOut(await collect(tensors), metadata);
  const hash = createHash("sha256");
  const handle = await open(path, "w");
  try {
    await writeAll(handle, start, hash);
    for (const { name, dtype, bytes: expected, read } of ordered) {
      const { buffer, byteOffset, byteLength } = toStored(dtype, await read());
      if (byteLength !== expected) throw wrongSize(name, byteLength, expected);
      await writeAll(handle, new Uint8Array(buffer, byteOffset, byteLength), hash);
    }
    await handle.sync();
  } finally {
    await handle.close();
  }
  return { bytes, sha256: hash.digest("hex") };
}

/**
 * Writes a model's tensors in transformers' layout: `model.safetensors`, or, when that would be larger than
 * `maxShardSize`, `model-00001-of-0000N.safetensors` and so on with an index.
 * @returns the written files, by name
 */
export async function writeShards(
  folder: string,
  tensors: Sources,
  { maxShardSize = 5e9, dtype }: ShardOptions = {},
): Promise<Record<string, WrittenFile>> {
  if (!(maxShardSize > 0)) throw new ModelError(`maxShardSize must be above 0 bytes, not ${maxShardSize}.`);
  const sources = (await collect(tensors)).map((source) => {
    return dtype && isFloat(source.dtype) ? converted(source, dtype) : source;
  });
  const shards = divide(sources, maxShardSize);
  const written: Record<string, WrittenFile> = {};
  if (shards.length <= 1) {
    const name = "model.safetensors";
    return { [name]: await writeSafetensors(join(folder, name), sources) };
  }
  const weightMap: [string, string][] = [];
  const number = (n: number) => String(n).padStart(5, "0");
  for (const [i, shard] of shards.entries()) {
    const name = `model-${number(i + 1)}-of-${number(shards.length)}.safetensors`;
    written[name] = await writeSafetensors(join(folder, name), shard);
    for (const source of shard) weightMap.push([source.name, name]);
  }
  const count = sources.reduce((sum, { shape }) => sum + shape.reduce((product, size) => product * size, 1), 0);
  const index = {
    metadata: { total_parameters: count, total_size: sources.reduce((sum, source) => sum + sizeOf(source), 0) },
    weight_map: Object.fromEntries(weightMap.sort(([a], [b]) => (a < b ? -1 : 1))),
  };
  written[indexName] = await writeContent(join(folder, indexName), `${JSON.stringify(index, null, 2)}\n`);
  return written;
}

/** Returns a source that converts to another floating point dtype. */
function converted(source: TensorSource, dtype: StoredDType): TensorSource {
  if (source.dtype === dtype) return source;
  return {
    name: source.name,
    shape: source.shape,
    dtype,
    read: async () => toStored(dtype, toFloat32({ dtype: source.dtype, data: await source.read() })),
  };
}

function divide(sources: readonly TensorSource[], maxBytes: number): TensorSource[][] {
  const shards: TensorSource[][] = [];
  let size = 0;
  for (const source of sources) {
    const bytes = sizeOf(source);
    const last = shards[shards.length - 1];
    if (last && size + bytes <= maxBytes) {
      last.push(source);
      size += bytes;
    } else {
      shards.push([source]);
      size = bytes;
    }
  }
  return shards;
}

/**
 * Writes a small file and flushes it to disk.
 * @returns its size and digest
 */
export async function writeContent(path: string, content: Uint8Array | string): Promise<WrittenFile> {
  const data = typeof content === "string" ? new TextEncoder().encode(content) : content;
  const hash = createHash("sha256");
  const handle = await open(path, "w");
  try {
    await writeAll(handle, data, hash);
    await handle.sync();
  } finally {
    await handle.close();
  }
  return { bytes: data.length, sha256: hash.digest("hex") };
}

async function writeAll(handle: FileHandle, data: Uint8Array, hash: Hash): Promise<void> {
  let done = 0;
  while (done < data.length) {
    const { bytesWritten } = await handle.write(data, done, Math.min(pieceSize, data.length - done));
    hash.update(data.subarray(done, done + bytesWritten));
    done += bytesWritten;
  }
}

async function collect(tensors: Sources): Promise<TensorSource[]> {
  const result: TensorSource[] = [];
  for await (const source of tensors) {
    const { name, dtype, shape } = source;
    result.push({ name, dtype, shape, read: () => source.read() });
  }
  return result;
}
