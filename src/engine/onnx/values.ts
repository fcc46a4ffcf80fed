import * as ort from "onnxruntime-node";
import {
  bfloat16ToFloat32,
  type DType,
  float16ToFloat32,
  float32ToBfloat16,
  float32ToFloat16,
  type Shape,
  type TensorData,
  typedArray,
} from "../../tensor/index.ts";

/** Dtype in which a program's inputs and outputs are passed. Variables are not converted. */
export const borderType = (dtype: DType): DType => (dtype === "float16" || dtype === "bfloat16" ? "float32" : dtype);

/** Dtype in which a variable is stored. */
export const storedType = (dtype: DType): DType | "uint16" => (dtype === "bfloat16" ? "uint16" : dtype);

/** Allocates a tensor of the runtime on the host. */
export function emptyTensor(dtype: DType, shape: Shape): ort.Tensor {
  const size = shape.reduce((a, b) => a * b, 1);
  if (isHalf(dtype)) return halfTensor(dtype, new Uint16Array(size), shape);
  if (dtype === "int64") return new ort.Tensor(dtype, new BigInt64Array(size), shape);
  return toRuntime(dtype, typedArray(dtype, size), shape);
}

const isHalf = (dtype: DType) => dtype === "float16" || dtype === "bfloat16";

/** The runtime's binding has no bfloat16: its bits are passed as uint16, and programs cast them. */
function halfTensor(dtype: DType, bits: Uint16Array, shape: Shape): ort.Tensor {
  return new ort.Tensor(dtype === "float16" ? dtype : "uint16", bits, shape);
}

/** Returns the bits of 16-bit floats: data may already be bits, or floats, which are rounded. */
function halfBits(dtype: DType, data: TensorData): Uint16Array {
  if (data instanceof Uint16Array) return data;
  const floats = data instanceof Float32Array ? data : Float32Array.from(data);
  return dtype === "float16" ? float32ToFloat16(floats) : float32ToBfloat16(floats);
}

/** Converts a host value to the runtime's. */
export function toRuntime(dtype: DType, data: TensorData, shape: Shape): ort.Tensor {
  if (isHalf(dtype)) return halfTensor(dtype, halfBits(dtype, data), shape);
  if (dtype === "int64") return new ort.Tensor(dtype, BigInt64Array.from(Array.from(data, BigInt)), shape);
  return new ort.Tensor(dtype as "float32", data as Float32Array, shape);
}

/** Returns the dtype of a runtime's value. */
export const dtypeOf = ({ type }: ort.Tensor): DType => (type === "uint16" ? "bfloat16" : (type as DType));

/**
 * Converts the runtime's value to the host's. Data that has the same form on both sides is not copied.
 * @param raw return 16-bit floats as their bits instead of float32
 */
export function fromRuntime(value: ort.Tensor, raw = false): TensorData {
  const { data } = value;
  if (data instanceof BigInt64Array) return Float64Array.from(data, exactNumber);
  const dtype = dtypeOf(value);
  if (isHalf(dtype)) {
    const { buffer, byteOffset, length } = data as Uint16Array<ArrayBuffer>;
    const bits = new Uint16Array(buffer, byteOffset, length);
    if (raw) return bits;
    return dtype === "float16" ? float16ToFloat32(bits) : bfloat16ToFloat32(bits);
  }
  return data as TensorData;
}

function exactNumber(value: bigint): number {
  const number = Number(value);
  if (Number.isSafeInteger(number)) return number;
  throw new Error(`The int64 value ${value} is too large for a number; cast it to float32, or keep it below 2^53.`);
}
