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
 * Element types. Indices are int32; comparisons give bool. bfloat16 exists only where a device computes with it; int8
 * and uint8 are what quantised weights are stored as.
 */
export type DType = "float32" | "float16" | "bfloat16" | "int8" | "uint8" | "int32" | "int64" | "bool";

/**
 * Values of a tensor on the host, in row-major order: a Float32Array for every floating dtype (or, where a state is
 * written, a Uint16Array of the bits of a float16 or bfloat16), an Int32Array, a Float64Array
 * for int64 (whole numbers up to 2^53, so that they stay numbers), an Int8Array or a Uint8Array, and a Uint8Array of 0 and 1 for bool. What
 * all of them can do stands here: TypeScript lets nobody call a method of a union of them.
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

/** A tensor's values on the host, with what they mean. */
export interface HostValue {
  readonly dtype: DType;
  readonly shape: Shape;
  readonly data: TensorData;
}

/** What an operand may be: a number stands for a float32 scalar. */
export type TensorLike = Tensor | number;

/** Runs a graph and gives the values of `tensors`. The engine installs one. */
export type Evaluator = (tensors: readonly Tensor[]) => Promise<TensorData[]>;

/** A number, or arrays of them as deep as a tensor has axes. */
export type NestedArray = number | NestedArray[];

function nest(values: readonly number[], [n, ...rest]: Shape): NestedArray {
  if (n === undefined) return values[0];
  const width = rest.reduce((a, b) => a * b, 1);
  return Array.from({ length: n }, (_, i) => nest(values.slice(i * width, (i + 1) * width), rest));
}

let evaluator: Evaluator | undefined;

/** Install what {@link Tensor.data} runs on. */
export function setEvaluator(next: Evaluator): void {
  evaluator = next;
}

let nextId = 0;

/**
 * A node of a tensor program: an operator applied to other tensors. Building one computes nothing; shapes are checked
 * at once, values exist when an engine runs the program, or when {@link Tensor.data} looks at one.
 *
 * @example
 * const x = tensor([[1, 2], [3, 4]]);
 * await x.matmul(x).sum().data(); // Float32Array [54]
 */
export class Tensor<K extends OperatorName = OperatorName> {
  /** Grows in the order of building, so that inputs always have smaller ids than what uses them. */
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

  /** The id that the next tensor will get. */
  static nextId(): number {
    return nextId;
  }

  /** Number of elements. */
  get size(): number {
    return this.shape.reduce((product, n) => product * n, 1);
  }

  /** What `console.log` shows: what it is, not the graph behind it. */
  [Symbol.for("nodejs.util.inspect.custom")](): string {
    const { data } = this.attributes as Partial<Attributes["constant"]>;
    const known = data ? ` ${data.length > 6 ? `${Array.from(data.slice(0, 6)).join(", ")}, …` : data.join(", ")}` : "";
    return `Tensor(${this.dtype} ${showShape(this.shape)}, ${this.operator.name}${known})`;
  }

  /** Compute the values, in row-major order. */
  async data(): Promise<TensorData> {
    const [values] = await Tensor.data([this]);
    return values;
  }

  /** Compute the values of several tensors at once. */
  static async data(tensors: readonly Tensor[]): Promise<TensorData[]> {
    if (!evaluator) throw new Error('No engine to compute with: import { Engine } from "anneal" first.');
    return tensors.length === 0 ? [] : evaluator(tensors);
  }

  /** Compute the values, as nested arrays; a scalar gives a number. */
  async array(): Promise<NestedArray> {
    return nest(Array.from(await this.data()), this.shape);
  }

  /**
   * The one value of a scalar that is known: a constant, or what a program gave back.
   * @throws ShapeError when there are more, or when it has yet to be computed
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
  /** Quotient; of integers it is cut towards zero. */
  div(other: TensorLike): Tensor {
    return elementwise.div(this, other);
  }
  /** This to the power `exponent`. */
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
  /** Convert to another dtype. Gradients flow between floating dtypes, not into or out of integers and bools. */
  cast(dtype: DType): Tensor {
    return elementwise.cast(this, dtype);
  }
  /** Sum over `axes` (all of them when left out). */
  sum(axes?: readonly number[], keepDims = false): Tensor {
    return reduce.sum(this, axes, keepDims);
  }
  /** Mean over `axes` (all of them when left out). */
  mean(axes?: readonly number[], keepDims = false): Tensor {
    return reduce.mean(this, axes, keepDims);
  }
  /** Largest value over `axes`; where several are equal the gradient is shared among them. */
  max(axes?: readonly number[], keepDims = false): Tensor {
    return reduce.max(this, axes, keepDims);
  }
  /** Smallest value over `axes`; where several are equal the gradient is shared among them. */
  min(axes?: readonly number[], keepDims = false): Tensor {
    return reduce.min(this, axes, keepDims);
  }
  /** Index (int32) of the first largest value along one axis, which is removed. */
  argmax(axis = -1): Tensor {
    return reduce.argmax(this, axis);
  }
  /** Same elements in the same order under another shape; one size may be -1. */
  reshape(shape: Shape): Tensor {
    return shaping.reshape(this, shape);
  }
  /** Reorder axes: axis i of the result is axis `permutation[i]` of this. Reverses all when left out. */
  transpose(permutation?: readonly number[]): Tensor {
    return shaping.transpose(this, permutation);
  }
  /** Repeat along axes of size 1 (and new leading axes) up to `shape`. */
  broadcastTo(shape: Shape): Tensor {
    return shaping.broadcastTo(this, shape);
  }
  /** The part from `start` (inclusive) to `end` (exclusive) of one axis, every `step`-th. */
  slice(axis: number, start: number, end: number, step = 1): Tensor {
    return shaping.slice(this, axis, start, end, step);
  }
  /**
   * Index axis after axis, as in NumPy: a whole number takes one and removes the axis (negative counts from the end),
   * `[start, end]` or `[start, end, step]` a range (undefined for open), `":"` all, `"..."` all axes that are not named,
   * `null` puts in a new axis of size 1, an int32 tensor gathers along the axis.
   *
   * @example
   * x.at(0);                // first row
   * x.at("...", -1);        // last column
   * x.at([1, undefined, 2]); // rows 1, 3, 5, ...
   */
  at(...indices: readonly views.Index[]): Tensor {
    return views.at(this, indices);
  }
  /** Without axes of size 1 (all of them, or those given). */
  squeeze(axes?: readonly number[]): Tensor {
    return views.squeeze(this, axes);
  }
  /** With a new axis of size 1 at `axis`. */
  unsqueeze(axis: number): Tensor {
    return views.unsqueeze(this, axis);
  }
  /** One axis in place of those from `start` to `end`, both included. */
  flatten(start = 0, end = -1): Tensor {
    return views.flatten(this, start, end);
  }
  /** Matrix product over the last two axes; leading axes broadcast. */
  matmul(other: Tensor): Tensor {
    return matmul(this, other);
  }
  /** Entries of `axis` at `indices` (int32), whose axes stand where `axis` stood. */
  gather(indices: Tensor, axis = 0): Tensor {
    return indexing.gather(this, indices, axis);
  }
}
