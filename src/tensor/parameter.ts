import { typedArray, variableOperator } from "./leaf.ts";
import { ShapeError, showShape } from "./operator.ts";
import type { Random } from "./random.ts";
import { readCondition } from "./recording.ts";
import { type DType, type HostValue, type Shape, Tensor, type TensorData } from "./tensor.ts";

/** Draws the first value of a parameter. */
export type Initializer = (shape: Shape, random: Random) => ArrayLike<number>;

let count = 0;

/** Options of {@link parameter}. */
export interface ParameterOptions {
  /** Default float32. Halves are kept as they are stored, for weights that are not trained; cast them to compute. */
  dtype?: DType;
  /** Whether optimizers change it. Default true; false for what a layer only keeps. */
  requiresGrad?: boolean;
}

/**
 * A tensor that keeps its value between runs and can be given another: a weight, a running mean, an optimizer's moment.
 * It lives on the device; `await parameter.data()` reads it.
 */
export class Parameter extends Tensor<"variable"> {
  /** Draws the first value. */
  initializer: Initializer;
  /** Where it stands in its model ("layers.0.weight"), once that is known. */
  path: string | undefined;
  #requiresGrad: boolean;
  #value: HostValue | undefined;
  #version = 0;

  /** Use {@link parameter}. */
  constructor(
    shape: Shape,
    initializer: Initializer,
    { dtype = "float32", requiresGrad = true }: ParameterOptions = {},
  ) {
    const name = `parameter.${count++}`;
    super(variableOperator, [], { name, shape, dtype }, shape, dtype);
    this.#requiresGrad = requiresGrad;
    this.initializer = initializer;
  }

  /** Whether optimizers change it. A program that read this is built again when it changes. */
  get requiresGrad(): boolean {
    return readCondition(() => this.#requiresGrad);
  }

  set requiresGrad(value: boolean) {
    this.#requiresGrad = value;
  }

  /** What to call it in messages. */
  get title(): string {
    return this.path ?? this.attributes.name;
  }

  /** Counts the values that were set from outside; 0 when there was none. */
  get version(): number {
    return this.#version;
  }

  /** The value that was last set from outside and is on no device yet. */
  get pending(): HostValue | undefined {
    return this.#value;
  }

  /**
   * Replace its value, from the next run on. The values are copied.
   * @throws ShapeError when there are too many or too few numbers
   */
  set(values: ArrayLike<number>): void {
    this.#check(values.length);
    this.give(typedArray(this.dtype, values));
  }

  /**
   * Replace its value by an array that is given away: the device may take its memory.
   * @param data of the dtype's own array; for 16-bit floats also a Uint16Array of their bits
   * @throws ShapeError when there are too many or too few numbers
   */
  give(data: TensorData): void {
    this.#check(data.length);
    this.#value = { dtype: this.dtype, shape: this.shape, data };
    this.#version++;
  }

  /** Say that a device has the pending value: from now on it is only there. */
  settled(): void {
    this.#value = undefined;
  }

  #check(length: number): void {
    if (length === this.size) return;
    throw new ShapeError(`${this.title} of shape ${showShape(this.shape)} takes ${this.size} numbers, got ${length}`);
  }
}

/**
 * A new parameter of a layer. Its first value is drawn by `model.initialize(seed)`.
 *
 * @example
 * class Scale extends Module {
 *   weight = parameter([8], init.constant(1));
 *   forward(x: Tensor) { return x.mul(this.weight); }
 * }
 */
export function parameter(shape: Shape, initializer: Initializer, options?: ParameterOptions): Parameter {
  return new Parameter(shape, initializer, options);
}
