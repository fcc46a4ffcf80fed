import { readFile } from "node:fs/promises";
import { type DType, fromFloat16, type HostValue, type TensorData, toBfloat16, toFloat16 } from "../tensor/index.ts";
import { ModelError } from "./phi3/config.ts";

// Written here because the format is one JSON header before raw bytes, and no maintained package writes it.

/** A dtype's name in the format, and its values as they are stored. */
const storage: Record<DType, { name: string; encode: (data: TensorData) => ArrayBufferView }> = {
  float32: { name: "F32", encode: (data) => data },
  float16: { name: "F16", encode: (data) => Uint16Array.from(data, toFloat16) },
  bfloat16: { name: "BF16", encode: (data) => Uint16Array.from(data, toBfloat16) },
  int8: { name: "I8", encode: (data) => data },
  int32: { name: "I32", encode: (data) => data },
  int64: { name: "I64", encode: (data) => BigInt64Array.from(Array.from(data, BigInt)) },
  bool: { name: "BOOL", encode: (data) => data },
};
const bytesPerElement = { F32: 4, I32: 4, BOOL: 1, BF16: 2, F16: 2, I64: 8 } as const;

interface Entry {
  dtype: keyof typeof bytesPerElement;
  shape: number[];
  data_offsets: [number, number];
}

/** Named tensors as the bytes of a `.safetensors` file; names are sorted, so equal tensors give equal bytes. */
export function encodeSafetensors(
  tensors: Readonly<Record<string, HostValue>>,
  metadata: Readonly<Record<string, string>> = { format: "pt" },
): Uint8Array {
  const header: Record<string, unknown> = { __metadata__: metadata };
  const parts: Uint8Array[] = [];
  let offset = 0;
  for (const [name, { dtype, shape, data }] of Object.entries(tensors).sort(([a], [b]) => (a < b ? -1 : 1))) {
    const { name: stored, encode } = storage[dtype];
    const { buffer, byteOffset, byteLength } = encode(data);
    header[name] = { dtype: stored, shape, data_offsets: [offset, offset + byteLength] };
    parts.push(new Uint8Array(buffer, byteOffset, byteLength));
    offset += byteLength;
  }
  const json = new TextEncoder().encode(JSON.stringify(header));
  const padding = (8 - (json.length % 8)) % 8;
  const file = new Uint8Array(8 + json.length + padding + offset).fill(0x20, 8, 8 + json.length + padding);
  new DataView(file.buffer).setBigUint64(0, BigInt(json.length + padding), true);
  file.set(json, 8);
  let position = 8 + json.length + padding;
  for (const part of parts) {
    file.set(part, position);
    position += part.length;
  }
  return file;
}

/**
 * Read a `.safetensors` file; 16-bit floats become float32.
 * @throws ModelError when the file is missing, cut short, or not of this format
 */
export async function readSafetensors(path: string): Promise<Record<string, HostValue>> {
  const file = await readFile(path).catch((error: NodeJS.ErrnoException) => {
    throw new ModelError(
      error.code === "ENOENT" ? `There is no file ${path}.` : `Cannot read ${path}: ${error.message}`,
    );
  });
  return decodeSafetensors(file, path);
}

/** Tensors of a file's bytes; `name` is for messages. */
export function decodeSafetensors(file: Uint8Array, name: string): Record<string, HostValue> {
  const damaged = (why: string) => new ModelError(`${name} is no whole safetensors file: ${why}.`);
  if (file.length < 8) throw damaged(`it has ${file.length} bytes`);
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  const headerLength = Number(view.getBigUint64(0, true));
  if (headerLength > file.length - 8) throw damaged(`its header of ${headerLength} bytes is cut short`);
  let header: Record<string, Entry>;
  try {
    header = JSON.parse(new TextDecoder().decode(file.subarray(8, 8 + headerLength)));
  } catch {
    throw damaged("its header is no JSON");
  }
  const start = 8 + headerLength;
  const result: Record<string, HostValue> = {};
  for (const [key, entry] of Object.entries(header)) {
    if (key === "__metadata__") continue;
    const [from, to] = entry.data_offsets;
    const size = entry.shape.reduce((a, b) => a * b, 1) * bytesPerElement[entry.dtype];
    if (start + to > file.length) throw damaged(`it ends before ${key} does (${file.length} of ${start + to} bytes)`);
    if (to - from !== size) throw damaged(`${key} has ${to - from} bytes where its shape needs ${size}`);
    result[key] = { ...decode(entry.dtype, file.slice(start + from, start + to), key), shape: entry.shape };
  }
  return result;
}

function decode(dtype: Entry["dtype"], bytes: Uint8Array, key: string): { dtype: DType; data: TensorData } {
  const buffer = new ArrayBuffer(bytes.length);
  new Uint8Array(buffer).set(bytes);
  switch (dtype) {
    case "F32":
      return { dtype: "float32", data: new Float32Array(buffer) };
    case "I32":
      return { dtype: "int32", data: new Int32Array(buffer) };
    case "BOOL":
      return { dtype: "bool", data: new Uint8Array(buffer) };
    case "BF16": {
      const bits = Uint32Array.from(new Uint16Array(buffer), (half) => half << 16);
      return { dtype: "float32", data: new Float32Array(bits.buffer) };
    }
    case "F16":
      return { dtype: "float32", data: Float32Array.from(new Uint16Array(buffer), fromFloat16) };
    case "I64":
      return { dtype: "int64", data: Float64Array.from(new BigInt64Array(buffer), Number) };
    default:
      throw new ModelError(`${key} is stored as ${dtype}, which is not supported.`);
  }
}
