import * as ort from "onnxruntime-node";
import { type DType, fromFloat16, type Shape, type TensorData, toFloat16, typedArray } from "../../tensor/index.ts";

/** What a value is handed in and out as. */
export const borderType = (dtype: DType): DType => (dtype === "float16" || dtype === "bfloat16" ? "float32" : dtype);

/** Memory for a value of the runtime's own form, on the host. */
export function emptyTensor(dtype: DType, shape: Shape): ort.Tensor {
  const size = shape.reduce((a, b) => a * b, 1);
  if (dtype === "float16") return new ort.Tensor(dtype, new Uint16Array(size), shape);
  if (dtype === "int64") return new ort.Tensor(dtype, new BigInt64Array(size), shape);
  return toRuntime(dtype, typedArray(dtype, size), shape);
}

/** A host value as the runtime takes it. */
export function toRuntime(dtype: DType, data: TensorData, shape: Shape): ort.Tensor {
  if (dtype === "bfloat16") {
    throw new Error("bfloat16 lives inside of programs only; keep variables in float32 or float16 and cast them.");
  }
  if (dtype === "float16") return new ort.Tensor(dtype, Uint16Array.from(data, toFloat16), shape);
  if (dtype === "int64") return new ort.Tensor(dtype, BigInt64Array.from(Array.from(data, BigInt)), shape);
  return new ort.Tensor(dtype as "float32", data as Float32Array, shape);
}

/** The runtime's value as the host has it. What the host has in the same form is not copied. */
export function fromRuntime(value: ort.Tensor): TensorData {
  const { data } = value;
  if (data instanceof BigInt64Array) return Float64Array.from(data, exactNumber);
  if (value.type === "float16") {
    const bits = data as Uint16Array;
    return Float32Array.from(new Uint16Array(bits.buffer, bits.byteOffset, bits.length), fromFloat16);
  }
  return data as TensorData;
}

function exactNumber(value: bigint): number {
  const number = Number(value);
  if (Number.isSafeInteger(number)) return number;
  throw new Error(`The int64 ${value} is too large for a number; cast it to float32, or keep it below 2^53.`);
}
