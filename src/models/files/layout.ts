import { ModelError } from "../error.ts";
import { type StoredDType, storage } from "./dtypes.ts";

/** Metadata of a tensor, needed before a file is written. */
export interface TensorEntry {
  name: string;
  dtype: StoredDType;
  shape: readonly number[];
}

/** Returns the size of a tensor in bytes. */
export function sizeOf({ name, dtype, shape }: TensorEntry): number {
  const bytes = shape.reduce((product, size) => product * size, 1) * (storage[dtype]?.bytes ?? Number.NaN);
  if (!Number.isSafeInteger(bytes) || bytes < 0) {
    throw new ModelError(`Tensor ${name} of dtype ${dtype} and shape [${shape}] cannot be stored.`);
  }
  return bytes;
}

/**
 * Lays out tensors in a file. The header lists them by name; the data is sorted by dtype width, widest first, so that each
 * tensor is aligned, then by name.
 * @returns the first bytes of the file, the tensors in the order of their data, and the size of the file
 * @throws ModelError when two tensors have the same name
 */
export function layOut<T extends TensorEntry>(entries: readonly T[], metadata: Readonly<Record<string, string>>) {
  const ordered = entries
    .map((entry) => ({ ...entry, bytes: sizeOf(entry) }))
    .sort((a, b) => storage[b.dtype].bytes - storage[a.dtype].bytes || byName(a, b));
  const offsets = new Map<string, [number, number]>();
  let end = 0;
  for (const { name, bytes } of ordered) {
    if (offsets.has(name) || name === "__metadata__") throw new ModelError(`Two tensors are named ${name}.`);
    offsets.set(name, [end, end + bytes]);
    end += bytes;
  }
  // Not a JavaScript object, which would order numeric names first, and lose a name like __proto__.
  const fields = [...entries].sort(byName).map(({ name, dtype, shape }) => {
    const entry = { dtype: storage[dtype].name, shape, data_offsets: offsets.get(name) };
    return `${JSON.stringify(name)}:${JSON.stringify(entry)}`;
  });
  const json = new TextEncoder().encode(`{${[`"__metadata__":${JSON.stringify(metadata)}`, ...fields].join(",")}}`);
  const length = Math.ceil(json.length / 8) * 8;
  const start = new Uint8Array(8 + length).fill(0x20, 8 + json.length);
  new DataView(start.buffer).setBigUint64(0, BigInt(length), true);
  start.set(json, 8);
  return { start, ordered, bytes: start.length + end };
}

const byName = (a: TensorEntry, b: TensorEntry) => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0);
