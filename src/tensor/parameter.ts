import { typedArray, variableOperator } from "./leaf.ts";
import { ShapeError, showShape } from "./operator.ts";
import type { Random } from "./random.ts";
import { type DType, type HostValue, type Shape, Tensor } from "./tensor.ts";

/** Draws the first value of a parameter. */
export type Initializer = (shape: Shape, random: Random) => ArrayLike<number>;

let count = 0;

/** Options of {@link parameter}. */
export interface ParameterOptions {
  dtype?: DType;
  /** Whether optimizers change it. Default true; false for what a layer only keeps. */
  trainable?: boolean;
}

/**
 * A tensor that keeps its value between runs and can be given another: a weight, a running mean, an optimizer's moment.
 * It lives on the device; `await parameter.data()` reads it.
 */
export class Parameter extends Tensor<"variable"> {
  readonly trainable: boolean;
  readonly initializer: Initializer;
  /** Where it stands in its model ("layers.0.weight"), once that is known. */
  path: string | undefined;
  #value: HostValue | undefined;
  #version = 0;

  /** Use {@link parameter}. */
  constructor(shape: Shape, initializer: Initializer, { dtype = "float32", trainable = true }: ParameterOptions = {}) {
    const name = `parameter.${count++}`;
    super(variableOperator, [], { name, shape, dtype }, shape, dtype);
    this.trainable = trainable;
    this.initializer = initializer;
  }

  /** What to call it in messages. */
  get title(): string {
    return this.path ?? this.attributes.name;
  }

  /** Counts the values that were set from outside; 0 when there was none. */
  get version(): number {
    return this.#version;
  }

  /** The value that was last set from outside, for whoever puts it on a device. */
  get pending(): HostValue | undefined {
    return this.#value;
  }

  /**
   * Replace its value, from the next run on.
   * @throws ShapeError when there are too many or too few numbers
   */
  set(values: ArrayLike<number>): void {
    if (values.length !== this.size) {
      throw new ShapeError(
        `${this.title} of shape ${showShape(this.shape)} takes ${this.size} numbers, got ${values.length}`,
      );
    }
    this.#value = { dtype: this.dtype, shape: this.shape, data: typedArray(this.dtype, values) };
    this.#version++;
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
