import { type Operator, operator, ShapeError, showShape } from "./operator.ts";
import type { DType, Shape, Tensor, TensorData } from "./tensor.ts";

export interface LeafAttributes {
  /** A value that is fixed when the program is built. */
  constant: { readonly data: TensorData; readonly shape: Shape; readonly dtype: DType };
  /** A value that is passed at each run. */
  input: {
    readonly name: string;
    readonly shape: Shape;
    readonly dtype: DType;
    /** Returns the value for runs that do not pass one. */
    readonly source?: () => TensorData;
  };
  /** A value that stays on the device between runs: a parameter, an optimizer moment, a cache. */
  variable: { readonly name: string; readonly shape: Shape; readonly dtype: DType };
}

const constantOperator = operator({ name: "constant", infer: (_, { shape, dtype }) => ({ shape, dtype }) });
const inputOperator = operator({ name: "input", infer: (_, { shape, dtype }) => ({ shape, dtype }) });
/** The operator of every variable. */
export const variableOperator: Operator<"variable"> = {
  name: "variable",
  infer: (_, { shape, dtype }) => ({ shape, dtype }),
};
const applyVariable = operator(variableOperator);

type Nested = number | boolean | readonly Nested[];

/**
 * Creates a tensor from a number, nested arrays, or a typed array with a shape. Typed arrays are not copied.
 * @param shape default: the shape of the nested arrays; a typed array becomes a vector
 * @param dtype default: float32 for numbers, bool for booleans, and a typed array's own dtype
 * @throws ShapeError when nested arrays are ragged, or the data does not fill the shape
 */
export function tensor(values: Nested | TensorData | BigInt64Array, shape?: Shape, dtype?: DType): Tensor {
  if (ArrayBuffer.isView(values)) {
    if (values instanceof BigInt64Array) return tensor(Float64Array.from(values, Number), shape, dtype);
    const natural = naturalDtype(values);
    const kind = dtype ?? natural;
    const data = kind === natural || hostArray(kind) === hostArray(natural) ? values : typedArray(kind, values);
    return constant(data, shape ?? [values.length], kind);
  }
  const lengths: number[] = [];
  const flat: number[] = [];
  let anyBoolean = false;
  const visit = (value: Nested, depth: number): void => {
    if (typeof value === "number" || typeof value === "boolean") {
      if (depth !== lengths.length) throw new ShapeError("tensor: nested arrays must have equal lengths on each level");
      anyBoolean ||= typeof value === "boolean";
      flat.push(Number(value));
      return;
    }
    if (lengths.length === depth && flat.length === 0) lengths.push(value.length);
    if (lengths[depth] !== value.length) {
      throw new ShapeError(`tensor: ragged array: expected ${lengths[depth] ?? 0} elements, got ${value.length}`);
    }
    for (const element of value) visit(element, depth + 1);
  };
  visit(values, 0);
  const kind = dtype ?? (anyBoolean ? "bool" : "float32");
  return constant(typedArray(kind, flat), shape ?? lengths, kind);
}

function naturalDtype(values: TensorData): DType {
  if (values instanceof Float32Array) return "float32";
  if (values instanceof Int8Array) return "int8";
  if (values instanceof Int32Array) return "int32";
  return values instanceof Float64Array ? "int64" : "bool";
}

/** Returns the typed array class for a dtype's values on the host. */
export function hostArray(dtype: DType) {
  if (dtype === "int8") return Int8Array;
  if (dtype === "int32") return Int32Array;
  if (dtype === "int64") return Float64Array;
  return dtype === "bool" || dtype === "uint8" ? Uint8Array : Float32Array;
}

/** Creates a typed array for a dtype from values, or of zeros. */
export function typedArray(dtype: DType, values: ArrayLike<number> | number): TensorData {
  const Kind = hostArray(dtype);
  return typeof values === "number" ? new Kind(values) : new Kind(values);
}

function constant(data: TensorData, shape: Shape, dtype: DType): Tensor {
  const size = shape.reduce((a, b) => a * b, 1);
  if (size !== data.length) {
    throw new ShapeError(`tensor: shape ${showShape(shape)} needs ${size} elements, but the data has ${data.length}`);
  }
  return constantOperator([], { data, shape, dtype });
}

/** Creates a tensor filled with one value. */
export function full(shape: Shape, value: number, dtype: DType = "float32"): Tensor {
  const scalar = constant(typedArray(dtype, [value]), [], dtype);
  return shape.length === 0 ? scalar : scalar.broadcastTo(shape);
}

/** Creates a tensor of zeros. */
export function zeros(shape: Shape, dtype: DType = "float32"): Tensor {
  return full(shape, 0, dtype);
}

/** Creates a tensor of ones. */
export function ones(shape: Shape, dtype: DType = "float32"): Tensor {
  return full(shape, 1, dtype);
}

/**
 * Returns evenly spaced numbers: `arange(end)` from 0, `arange(start, end, step)` from start; `end` is exclusive. `step`
 * defaults to 1 and dtype to int32.
 * @example arange(4) // [0, 1, 2, 3], int32
 */
export function arange(end: number, dtype?: DType): Tensor;
export function arange(start: number, end: number, step?: number, dtype?: DType): Tensor;
export function arange(first: number, second?: number | DType, step = 1, third?: DType): Tensor {
  const [start, end] = typeof second === "number" ? [first, second] : [0, first];
  const dtype = (typeof second === "string" ? second : third) ?? "int32";
  const count = Math.ceil((end - start) / step);
  if (!(count >= 0) || !Number.isFinite(count)) {
    throw new ShapeError(`arange: steps of ${step} do not lead from ${start} to ${end}`);
  }
  const values = Array.from({ length: count }, (_, i) => start + i * step);
  return constant(typedArray(dtype, values), [count], dtype);
}

/** Returns `count` evenly spaced float32 numbers from `start` to `end`, inclusive. */
export function linspace(start: number, end: number, count: number): Tensor {
  const step = count > 1 ? (end - start) / (count - 1) : 0;
  const values = Array.from({ length: count }, (_, i) => (i === count - 1 && i > 0 ? end : start + i * step));
  return constant(typedArray("float32", values), [count], "float32");
}

/** Returns an n x m matrix with ones on the diagonal; m defaults to n. */
export function eye(n: number, m = n, dtype: DType = "float32"): Tensor {
  const data = typedArray(dtype, n * m);
  for (let i = 0; i < Math.min(n, m); i++) data[i * m + i] = 1;
  return constant(data, [n, m], dtype);
}

/**
 * Creates a named input of a program.
 * @param source returns the value for runs that do not pass one: a learning rate, a random key
 */
export function input(
  name: string,
  shape: Shape,
  dtype: DType = "float32",
  source?: () => TensorData,
): Tensor<"input"> {
  return inputOperator([], { name, shape, dtype, ...(source ? { source } : {}) });
}

/** Creates a named variable, whose value stays on the device between runs. */
export function variable(name: string, shape: Shape, dtype: DType = "float32"): Tensor<"variable"> {
  return applyVariable([], { name, shape, dtype });
}
