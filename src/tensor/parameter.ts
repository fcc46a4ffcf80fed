import { typedArray, variableOperator } from "./leaf.ts";
import { ShapeError, showShape } from "./operator.ts";
import type { Random } from "./random.ts";
import { readCondition } from "./recording.ts";
import { type DType, type HostValue, type Shape, Tensor, type TensorData } from "./tensor.ts";

/** Returns the initial value of a parameter. */
export type Initializer = (shape: Shape, random: Random) => ArrayLike<number>;

let count = 0;

/** Options of {@link parameter}. */
export interface ParameterOptions {
  /** Default float32. 16-bit floats are stored as they are, for frozen weights; cast them to compute. */
  dtype?: DType;
  /** Whether optimizers update it. Default true; false for buffers. */
  requiresGrad?: boolean;
}

/**
 * A tensor whose value persists between runs and can be assigned: a weight, a running mean, an optimizer's state. It is
 * stored on the device; `await parameter.data()` reads it.
 */
export class Parameter extends Tensor<"variable"> {
  /** Returns the initial value. */
  initializer: Initializer;
  /** Its path in the model ("layers.0.weight"), once known. */
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

  /** Whether optimizers update it. Programs that depend on it are rebuilt when it changes. */
  get requiresGrad(): boolean {
    return readCondition(() => this.#requiresGrad);
  }

  set requiresGrad(value: boolean) {
    this.#requiresGrad = value;
  }

  /** Name for messages. */
  get title(): string {
    return this.path ?? this.attributes.name;
  }

  /** Number of times the value was set from the host. */
  get version(): number {
    return this.#version;
  }

  /** A value that was set from the host and is not on the device yet. */
  get pending(): HostValue | undefined {
    return this.#value;
  }

  /**
   * Sets the value, starting with the next run. The values are copied.
   * @throws ShapeError when the number of values is wrong
   */
  set(values: ArrayLike<number>): void {
    this.#check(values.length);
    this.give(typedArray(this.dtype, values));
  }

  /**
   * Sets the value without copying; the device may take over the array's memory.
   * @param data an array of the dtype's type; for 16-bit floats also a Uint16Array of their bits
   * @throws ShapeError when the number of values is wrong
   */
  give(data: TensorData): void {
    this.#check(data.length);
    this.#value = { dtype: this.dtype, shape: this.shape, data };
    this.#version++;
  }

  /** Clears the pending value, after it was copied to the device. */
  settled(): void {
    this.#value = undefined;
  }

  #check(length: number): void {
    if (length === this.size) return;
    throw new ShapeError(`${this.title} of shape ${showShape(this.shape)} needs ${this.size} values, got ${length}`);
  }
}

/**
 * Creates a parameter of a layer. `model.initialize(seed)` sets its initial value.
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
