import type { Attributes } from "./attributes.ts";
import * as elementwise from "./elementwise.ts";
import * as indexing from "./indexing.ts";
import { matmul } from "./matmul.ts";
import type { Operator, OperatorName } from "./operator.ts";
import * as reduce from "./reduce.ts";
import * as shaping from "./shaping.ts";

/** Sizes of a tensor's axes, outermost first. Always static. */
export type Shape = readonly number[];

/** Element types. Indices are int32; comparisons give bool. */
export type DType = "float32" | "int32" | "bool";

/** Values of a tensor in row-major order; bool is one byte each. */
export type TensorData = Float32Array<ArrayBuffer> | Int32Array<ArrayBuffer> | Uint8Array<ArrayBuffer>;

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

  /** Number of elements. */
  get size(): number {
    return this.shape.reduce((product, n) => product * n, 1);
  }

  /** Compute the values, in row-major order. */
  async data(): Promise<TensorData> {
    if (!evaluator) throw new Error('No engine to compute with: import { Engine } from "anneal" first.');
    const [values] = await evaluator([this]);
    return values as TensorData;
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
  div(other: TensorLike): Tensor {
    return elementwise.div(this, other);
  }
  neg(): Tensor {
    return elementwise.neg(this);
  }
  exp(): Tensor {
    return elementwise.exp(this);
  }
  log(): Tensor {
    return elementwise.log(this);
  }
  sqrt(): Tensor {
    return elementwise.sqrt(this);
  }
  sigmoid(): Tensor {
    return elementwise.sigmoid(this);
  }
  tanh(): Tensor {
    return elementwise.tanh(this);
  }
  relu(): Tensor {
    return elementwise.relu(this);
  }
  /** Convert to another dtype. No gradient flows into or out of integers and bools. */
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
  /** The part from `start` (inclusive) to `end` (exclusive) of one axis. */
  slice(axis: number, start: number, end: number): Tensor {
    return shaping.slice(this, axis, start, end);
  }
  /** Matrix product over the last two axes; leading axes broadcast. */
  matmul(other: Tensor): Tensor {
    return matmul(this, other);
  }
  /** Rows of axis 0 at `indices` (int32): the result has shape `[...indices.shape, ...this.shape[1:]]`. */
  gather(indices: Tensor): Tensor {
    return indexing.gather(this, indices);
  }
}
