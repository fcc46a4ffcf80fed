import { fromFloat16, type HostValue, type TensorData, toFloat16 } from "../../tensor/index.ts";
import { ModelError } from "../error.ts";

/** Dtypes of stored tensors. */
export type StoredDType = "float32" | "float16" | "bfloat16" | "int8" | "uint8" | "int32" | "int64" | "bool";

/** Data of a stored tensor: 16-bit floats as their bits, booleans as bytes. */
export type StoredData =
  | Float32Array<ArrayBuffer>
  | Uint16Array<ArrayBuffer>
  | Int8Array<ArrayBuffer>
  | Uint8Array<ArrayBuffer>
  | Int32Array<ArrayBuffer>
  | BigInt64Array<ArrayBuffer>;

/** A tensor in its stored dtype. */
export interface StoredTensor {
  dtype: StoredDType;
  shape: number[];
  /** Raw bits in a Uint16Array for float16 and bfloat16, a BigInt64Array for int64, one byte per value for bool. */
  data: StoredData;
}

/** A dtype's name in the format, bytes per value, and typed array. */
export const storage: Readonly<
  Record<StoredDType, { name: string; bytes: number; view: (buffer: ArrayBuffer) => StoredData }>
> = {
  float32: { name: "F32", bytes: 4, view: (buffer) => new Float32Array(buffer) },
  float16: { name: "F16", bytes: 2, view: (buffer) => new Uint16Array(buffer) },
  bfloat16: { name: "BF16", bytes: 2, view: (buffer) => new Uint16Array(buffer) },
  int8: { name: "I8", bytes: 1, view: (buffer) => new Int8Array(buffer) },
  uint8: { name: "U8", bytes: 1, view: (buffer) => new Uint8Array(buffer) },
  int32: { name: "I32", bytes: 4, view: (buffer) => new Int32Array(buffer) },
  int64: { name: "I64", bytes: 8, view: (buffer) => new BigInt64Array(buffer) },
  bool: { name: "BOOL", bytes: 1, view: (buffer) => new Uint8Array(buffer) },
};

/** Dtypes by their name in the format. */
export const dtypeOf: ReadonlyMap<string, StoredDType> = new Map(
  (Object.keys(storage) as StoredDType[]).map((dtype) => [storage[dtype].name, dtype]),
);

/** Whether a dtype is floating point. */
export const isFloat = (dtype: StoredDType) => dtype === "float32" || dtype === "float16" || dtype === "bfloat16";

let halves: Float32Array | undefined;

/** Returns the values of all 65 536 float16 numbers. */
function float16Table(): Float32Array {
  if (!halves) {
    halves = new Float32Array(65_536);
    for (let bits = 0; bits < halves.length; bits++) halves[bits] = fromFloat16(bits);
  }
  return halves;
}

/** Converts a stored tensor's data to float32. Data that is already float32 is returned, not copied. */
export function toFloat32({ dtype, data }: Pick<StoredTensor, "dtype" | "data">): Float32Array<ArrayBuffer> {
  if (data instanceof Float32Array) return data;
  const count = data.length;
  const result = new Float32Array(count);
  if (data instanceof BigInt64Array) {
    for (let i = 0; i < count; i++) result[i] = Number(data[i]);
  } else if (dtype === "bfloat16") {
    widenBfloat16(data as Uint16Array, new Int32Array(result.buffer));
  } else if (dtype === "float16") {
    const table = float16Table();
    for (let i = 0; i < count; i++) result[i] = table[data[i]];
  } else {
    result.set(data);
  }
  return result;
}

/** Converts bfloat16, the upper half of a float32. Reads two at once, which halves the time. */
function widenBfloat16(halves: Uint16Array, words: Int32Array): void {
  const pairs = halves.byteOffset % 4 === 0 ? halves.length >> 1 : 0;
  // Node's platforms are little-endian, like the file format.
  const read = new Int32Array(halves.buffer, pairs > 0 ? halves.byteOffset : 0, pairs);
  for (let i = 0, at = 0; i < pairs; i++, at += 2) {
    const pair = read[i];
    words[at] = pair << 16;
    words[at + 1] = pair & 0xffff0000;
  }
  for (let i = 2 * pairs; i < halves.length; i++) words[i] = halves[i] << 16;
}

/**
 * Converts data to a dtype's stored form, rounding to nearest, ties to even.
 * @param data float32 values, or data of that dtype, which is returned unchanged
 */
export function toStored(dtype: StoredDType, data: StoredData | TensorData): StoredData {
  switch (dtype) {
    case "bfloat16":
      return data instanceof Uint16Array ? data : roundToBfloat16(asFloat32(data));
    case "float16": {
      if (data instanceof Uint16Array) return data;
      const numbers = asFloat32(data);
      const result = new Uint16Array(numbers.length);
      for (let i = 0; i < numbers.length; i++) result[i] = toFloat16(numbers[i]);
      return result;
    }
    case "float32":
      return asFloat32(data);
    case "int64": {
      if (data instanceof BigInt64Array) return data as BigInt64Array<ArrayBuffer>;
      const result = new BigInt64Array(data.length);
      for (let i = 0; i < data.length; i++) result[i] = BigInt(data[i] as number);
      return result;
    }
    default: {
      const like = storage[dtype].view(new ArrayBuffer(0));
      if (data.constructor === like.constructor) return data as StoredData;
      throw new ModelError(
        `Data of dtype ${dtype} must be a ${like.constructor.name}, not a ${data.constructor.name}.`,
      );
    }
  }
}

function asFloat32(data: StoredData | TensorData): Float32Array<ArrayBuffer> {
  if (data instanceof Float32Array) return data as Float32Array<ArrayBuffer>;
  if (data instanceof BigInt64Array) return Float32Array.from(data, Number);
  return new Float32Array(data);
}

function roundToBfloat16(numbers: Float32Array): Uint16Array<ArrayBuffer> {
  const bits = new Uint32Array(numbers.buffer, numbers.byteOffset, numbers.length);
  const result = new Uint16Array(numbers.length);
  for (let i = 0; i < result.length; i++) {
    const word = bits[i];
    // The rounding addition could turn a NaN into an infinity.
    result[i] = (word & 0x7fffffff) > 0x7f800000 ? 0x7fc0 : (word + 0x7fff + ((word >>> 16) & 1)) >>> 16;
  }
  return result;
}

/** Converts a stored tensor to a host value: floats to float32, uint8 to int32, int64 to numbers. */
export function toHostValue(stored: StoredTensor): HostValue {
  const { dtype, shape, data } = stored;
  if (isFloat(dtype)) return { dtype: "float32", shape, data: toFloat32(stored) };
  if (data instanceof BigInt64Array) {
    const numbers = new Float64Array(data.length);
    for (let i = 0; i < numbers.length; i++) numbers[i] = Number(data[i]);
    return { dtype: "int64", shape, data: numbers };
  }
  if (dtype === "uint8") return { dtype: "int32", shape, data: new Int32Array(data) };
  return { dtype: dtype as "int8" | "int32" | "bool", shape, data: data as Int8Array<ArrayBuffer> };
}
