import { operator, ShapeError, showShape } from "./operator.ts";
import type { DType, Shape, Tensor, TensorData } from "./tensor.ts";

export interface LeafAttributes {
  /** A value known when the program is built. */
  constant: { readonly data: TensorData; readonly shape: Shape; readonly dtype: DType };
  /** A value handed in at each run. */
  input: { readonly name: string; readonly shape: Shape; readonly dtype: DType };
  /** A value that lives on the device between runs: a parameter, an optimizer moment, a cache. */
  variable: { readonly name: string; readonly shape: Shape; readonly dtype: DType };
}

const constantOperator = operator({ name: "constant", infer: (_, { shape, dtype }) => ({ shape, dtype }) });
const inputOperator = operator({ name: "input", infer: (_, { shape, dtype }) => ({ shape, dtype }) });
const variableOperator = operator({ name: "variable", infer: (_, { shape, dtype }) => ({ shape, dtype }) });

type Nested = number | boolean | readonly Nested[];

/**
 * A tensor of given values: a number, nested arrays, or a typed array with a shape. Whole typed arrays are not copied.
 * @throws ShapeError when nested arrays are ragged, or when the data does not fill the shape
 */
export function tensor(values: Nested | TensorData, shape?: Shape, dtype?: DType): Tensor {
  if (ArrayBuffer.isView(values)) {
    const kind = values instanceof Float32Array ? "float32" : values instanceof Int32Array ? "int32" : "bool";
    return constant(values, shape ?? [values.length], dtype ?? kind);
  }
  const found: number[] = [];
  const flat: number[] = [];
  let anyBoolean = false;
  const visit = (value: Nested, depth: number): void => {
    if (typeof value === "number" || typeof value === "boolean") {
      if (depth !== found.length) throw new ShapeError("tensor: nested arrays must all have the same lengths");
      anyBoolean ||= typeof value === "boolean";
      flat.push(Number(value));
      return;
    }
    if (found.length === depth && flat.length === 0) found.push(value.length);
    if (found[depth] !== value.length) {
      throw new ShapeError(`tensor: ragged array: expected ${found[depth] ?? 0} elements, got ${value.length}`);
    }
    for (const element of value) visit(element, depth + 1);
  };
  visit(values, 0);
  const kind = dtype ?? (anyBoolean ? "bool" : "float32");
  return constant(typedArray(kind, flat), shape ?? found, kind);
}

/** Typed array of the given dtype. */
export function typedArray(dtype: DType, values: ArrayLike<number> | number): TensorData {
  const Kind = dtype === "float32" ? Float32Array : dtype === "int32" ? Int32Array : Uint8Array;
  return typeof values === "number" ? new Kind(values) : new Kind(values);
}

function constant(data: TensorData, shape: Shape, dtype: DType): Tensor {
  const size = shape.reduce((a, b) => a * b, 1);
  if (size !== data.length) {
    throw new ShapeError(`tensor: shape ${showShape(shape)} holds ${size} elements, the data has ${data.length}`);
  }
  return constantOperator([], { data, shape, dtype });
}

/** A tensor of one repeated value. */
export function full(shape: Shape, value: number, dtype: DType = "float32"): Tensor {
  const scalar = constant(typedArray(dtype, [value]), [], dtype);
  return shape.length === 0 ? scalar : scalar.broadcastTo(shape);
}

/** All zeros. */
export function zeros(shape: Shape, dtype: DType = "float32"): Tensor {
  return full(shape, 0, dtype);
}

/** All ones. */
export function ones(shape: Shape, dtype: DType = "float32"): Tensor {
  return full(shape, 1, dtype);
}

/** `[0, 1, ..., n - 1]`. */
export function arange(n: number, dtype: DType = "int32"): Tensor {
  return constant(
    typedArray(
      dtype,
      Array.from({ length: n }, (_, i) => i),
    ),
    [n],
    dtype,
  );
}

/** A named value handed to the program at each run. */
export function input(name: string, shape: Shape, dtype: DType = "float32"): Tensor<"input"> {
  return inputOperator([], { name, shape, dtype });
}

/** A named value that stays on the device between runs. */
export function variable(name: string, shape: Shape, dtype: DType = "float32"): Tensor<"variable"> {
  return variableOperator([], { name, shape, dtype });
}
