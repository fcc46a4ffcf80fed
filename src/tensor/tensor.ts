import type { Attributes } from "./attributes.ts";
import * as elementwise from "./elementwise.ts";
import * as indexing from "./indexing.ts";
import * as logic from "./logic.ts";
import { matmul } from "./matmul.ts";
import { type Operator, type OperatorName, ShapeError, showShape } from "./operator.ts";
import * as reduce from "./reduce.ts";
import * as shaping from "./shaping.ts";
import * as unary from "./unary.ts";
import * as views from "./views.ts";

/** Sizes of a tensor's axes, outermost first. Always static. */
export type Shape = readonly number[];

/**
 * Element types. Indices are int32; comparisons return bool. Computing in bfloat16 depends on the device; int8 and uint8
 * store quantized weights.
 */
export type DType = "float32" | "float16" | "bfloat16" | "int8" | "uint8" | "int32" | "int64" | "bool";

/**
 * Values of a tensor on the host, in row-major order: a Float32Array for all floating dtypes (or a Uint16Array with the bits of
 * float16 or bfloat16, when setting a parameter), an Int32Array, a Float64Array for int64 (exact for integers up to
 * 2^53), an Int8Array or Uint8Array, and a Uint8Array of 0 and 1 for bool. Declares the methods that all of these share,
 * because TypeScript cannot call methods of a union of them.
 */
export interface TensorData extends ArrayLike<number>, Iterable<number> {
  readonly buffer: ArrayBuffer;
  readonly byteLength: number;
  readonly byteOffset: number;
  [index: number]: number;
  at(index: number): number | undefined;
  entries(): ArrayIterator<[number, number]>;
  every(predicate: (value: number, index: number) => unknown): boolean;
  filter(predicate: (value: number, index: number) => unknown): TensorData;
  find(predicate: (value: number, index: number) => boolean): number | undefined;
  findIndex(predicate: (value: number, index: number) => boolean): number;
  forEach(visit: (value: number, index: number) => void): void;
  includes(value: number, from?: number): boolean;
  indexOf(value: number, from?: number): number;
  join(separator?: string): string;
  map(fn: (value: number, index: number) => number): TensorData;
  reduce<T>(fn: (sofar: T, value: number, index: number) => T, start: T): T;
  reduce(fn: (sofar: number, value: number, index: number) => number, start?: number): number;
  slice(start?: number, end?: number): TensorData;
  some(predicate: (value: number, index: number) => unknown): boolean;
  subarray(start?: number, end?: number): TensorData;
}

/** Values of a tensor on the host, with dtype and shape. */
export interface HostValue {
  readonly dtype: DType;
  readonly shape: Shape;
  readonly data: TensorData;
}

/** An operand: a tensor, or a number as a scalar. */
export type TensorLike = Tensor | number;

/** Computes the values of tensors. Installed by the engine. */
export type Evaluator = (tensors: readonly Tensor[]) => Promise<TensorData[]>;

/** A number, or arrays nested as deep as the tensor has axes. */
export type NestedArray = number | NestedArray[];

function nest(values: readonly number[], [n, ...rest]: Shape): NestedArray {
  if (n === undefined) return values[0];
  const width = rest.reduce((a, b) => a * b, 1);
  return Array.from({ length: n }, (_, i) => nest(values.slice(i * width, (i + 1) * width), rest));
}

let evaluator: Evaluator | undefined;

/** Installs the evaluator of {@link Tensor.data}. */
export function setEvaluator(next: Evaluator): void {
  evaluator = next;
}

let nextId = 0;

/**
 * A node of a graph: an operator applied to other tensors. Creating one checks shapes but computes nothing; values are
 * computed when a program runs, or by {@link Tensor.data}.
 *
 * @example
 * const x = tensor([[1, 2], [3, 4]]);
 * await x.matmul(x).sum().data(); // Float32Array [54]
 */
export class Tensor<K extends OperatorName = OperatorName> {
  /** Increases in creation order: a tensor's inputs have smaller ids. */
  readonly id = nextId++;
  readonly operator: Operator<K>;
  readonly inputs: readonly Tensor[];
  readonly attributes: Attributes[K];
  readonly shape: Shape;
  readonly dtype: DType;

  constructor(operator: Operator<K>, inputs: readonly Tensor[], attributes: Attributes[K], shape: Shape, dtype: DType) {
    this.operator = operator;
    this.inputs = inputs;
    this.attributes = attributes;
    this.shape = shape;
    this.dtype = dtype;
  }

  /** Returns the id that the next tensor will get. */
  static nextId(): number {
    return nextId;
  }

  /** Number of elements. */
  get size(): number {
    return this.shape.reduce((product, n) => product * n, 1);
  }

  /** The description that `console.log` shows. */
  [Symbol.for("nodejs.util.inspect.custom")](): string {
    const { data } = this.attributes as Partial<Attributes["constant"]>;
    const preview = data
      ? ` ${data.length > 6 ? `${Array.from(data.slice(0, 6)).join(", ")}, …` : data.join(", ")}`
      : "";
    return `Tensor(${this.dtype} ${showShape(this.shape)}, ${this.operator.name}${preview})`;
  }

  /** Computes the values, in row-major order. */
  async data(): Promise<TensorData> {
    const [values] = await Tensor.data([this]);
    return values;
  }

  /** Computes the values of several tensors in one run. */
  static async data(tensors: readonly Tensor[]): Promise<TensorData[]> {
    if (!evaluator) throw new Error('There is no engine to compute with: import { Engine } from "anneal" first.');
    return tensors.length === 0 ? [] : evaluator(tensors);
  }

  /** Computes the values as nested arrays; a number for a scalar. */
  async array(): Promise<NestedArray> {
    return nest(Array.from(await this.data()), this.shape);
  }

  /**
   * Returns the value of a scalar that is already computed: a constant, or a result of a program.
   * @throws ShapeError when the tensor has several values, or is not computed yet
   */
  item(): number {
    const { data } = this.attributes as Partial<Attributes["constant"]>;
    if (!data) throw new ShapeError(`item: this ${this.operator.name} is not computed yet; use await x.data()`);
    if (data.length !== 1)
      throw new ShapeError(`item: a tensor of shape ${showShape(this.shape)} has ${data.length} values`);
    return data[0];
  }

  add(other: TensorLike): Tensor {
    return elementwise.add(this, other);
  }
  sub(other: TensorLike): Tensor {
    return elementwise.sub(this, other);
  }
  mul(other: TensorLike): Tensor {
    return elementwise.mul(this, other);
  }
  /** Quotient; integers are truncated towards zero. */
  div(other: TensorLike): Tensor {
    return elementwise.div(this, other);
  }
  /** Power. */
  pow(exponent: TensorLike): Tensor {
    return elementwise.pow(this, exponent);
  }
  neg(): Tensor {
    return unary.neg(this);
  }
  abs(): Tensor {
    return unary.abs(this);
  }
  exp(): Tensor {
    return unary.exp(this);
  }
  log(): Tensor {
    return unary.log(this);
  }
  sqrt(): Tensor {
    return unary.sqrt(this);
  }
  square(): Tensor {
    return unary.square(this);
  }
  sigmoid(): Tensor {
    return unary.sigmoid(this);
  }
  tanh(): Tensor {
    return unary.tanh(this);
  }
  relu(): Tensor {
    return unary.relu(this);
  }
  equal(other: TensorLike): Tensor {
    return logic.equal(this, other);
  }
  notEqual(other: TensorLike): Tensor {
    return logic.notEqual(this, other);
  }
  less(other: TensorLike): Tensor {
    return logic.less(this, other);
  }
  lessEqual(other: TensorLike): Tensor {
    return logic.lessEqual(this, other);
  }
  greater(other: TensorLike): Tensor {
    return logic.greater(this, other);
  }
  greaterEqual(other: TensorLike): Tensor {
    return logic.greaterEqual(this, other);
  }
  /** Casts to another dtype. Gradients flow only between floating dtypes. */
  cast(dtype: DType): Tensor {
    return elementwise.cast(this, dtype);
  }
  /** Sum over `axes` (default: all). */
  sum(axes?: readonly number[], keepDims = false): Tensor {
    return reduce.sum(this, axes, keepDims);
  }
  /** Mean over `axes` (default: all). */
  mean(axes?: readonly number[], keepDims = false): Tensor {
    return reduce.mean(this, axes, keepDims);
  }
  /** Maximum over `axes`; the gradient is divided among equal maxima. */
  max(axes?: readonly number[], keepDims = false): Tensor {
    return reduce.max(this, axes, keepDims);
  }
  /** Minimum over `axes`; the gradient is divided among equal minima. */
  min(axes?: readonly number[], keepDims = false): Tensor {
    return reduce.min(this, axes, keepDims);
  }
  /** Index (int32) of the first maximum along an axis, which is removed. */
  argmax(axis = -1): Tensor {
    return reduce.argmax(this, axis);
  }
  /** Changes the shape; one size may be -1. */
  reshape(shape: Shape): Tensor {
    return shaping.reshape(this, shape);
  }
  /** Permutes axes: axis i of the result is axis `permutation[i]` of this. Reverses the axes by default. */
  transpose(permutation?: readonly number[]): Tensor {
    return shaping.transpose(this, permutation);
  }
  /** Repeats along axes of size 1, and new leading axes, up to `shape`. */
  broadcastTo(shape: Shape): Tensor {
    return shaping.broadcastTo(this, shape);
  }
  /** Elements from `start` (inclusive) to `end` (exclusive) along an axis, in steps of `step`. */
  slice(axis: number, start: number, end: number, step = 1): Tensor {
    return shaping.slice(this, axis, start, end, step);
  }
  /**
   * Indexes as in NumPy, one argument per axis: an integer selects one element and removes the axis (negative counts from
   * the end), `[start, end]` or `[start, end, step]` is a range (undefined for open), `":"` keeps the axis, `"..."` stands for
   * all remaining axes, `null` inserts an axis of size 1, and an int32 tensor gathers along the axis.
   *
   * @example
   * x.at(0);                // first row
   * x.at("...", -1);        // last column
   * x.at([1, undefined, 2]); // rows 1, 3, 5, ...
   */
  at(...indices: readonly views.Index[]): Tensor {
    return views.at(this, indices);
  }
  /** Removes axes of size 1 (all of them, or those given). */
  squeeze(axes?: readonly number[]): Tensor {
    return views.squeeze(this, axes);
  }
  /** Inserts an axis of size 1 at `axis`. */
  unsqueeze(axis: number): Tensor {
    return views.unsqueeze(this, axis);
  }
  /** Merges the axes from `start` to `end`, inclusive, into one. */
  flatten(start = 0, end = -1): Tensor {
    return views.flatten(this, start, end);
  }
  /** Matrix product over the last two axes; leading axes are broadcast. */
  matmul(other: Tensor): Tensor {
    return matmul(this, other);
  }
  /** Elements of `axis` at `indices` (int32); the axes of `indices` replace `axis`. */
  gather(indices: Tensor, axis = 0): Tensor {
    return indexing.gather(this, indices, axis);
  }
}
