import {
  after,
  customGradient,
  matmul,
  type Parameter,
  parameter,
  readCondition,
  switchback,
  type Tensor,
} from "../tensor/index.ts";
import { init } from "./init.ts";
import { Module } from "./module.ts";

/** Precision of a layer's matrix products: float32, or int8 except for weight gradients ({@link switchback}). */
export type Precision = "float32" | "int8";

/** A frozen, compressed weight matrix that replaces a layer's parameter: see `src/quantize`. */
export abstract class CompressedWeight extends Module {
  /** [out, in] */
  abstract readonly shape: readonly [number, number];
  /** How it is stored: "int8", "nf4". */
  abstract readonly kind: string;

  /**
   * Returns x W^T, differentiable in x.
   * @param x float32 [n, in]
   */
  abstract override forward(x: Tensor): Tensor;

  /** Returns W as float32 [out, in]. */
  abstract dequantize(): Tensor;
}

/** The weight of a linear layer: its parameter, or a compressed form of it. */
export type Weight = Parameter | CompressedWeight;

/** The part of an adapter on one linear layer: see `src/adapters`. */
export abstract class LayerAdapter extends Module {
  /**
   * Returns the layer's output with the adapter.
   * @param y float32 [n, out], the output so far, without the bias
   * @param x float32 [n, in], the layer's input
   */
  abstract override forward(y: Tensor, x: Tensor, layer: Linear<Weight>): Tensor;

  /**
   * Returns the weight with which the layer without the adapter gives the same output.
   * @param weight float32 [out, in]
   */
  abstract merge(weight: Tensor): Tensor;
}

/** Linear layer: x W^T + b over the last axis. */
export class Linear<W extends Weight = Parameter> extends Module {
  weight: W;
  bias?: Parameter;
  /** Adapters on this layer, by name. */
  readonly adapters = new Map<string, LayerAdapter>();
  #active: readonly string[] = [];
  #precision: Precision = "float32";

  /** @param options.bias default true */
  constructor(inFeatures: number, outFeatures: number, { bias = true }: { bias?: boolean } = {}) {
    super();
    this.weight = parameter([outFeatures, inFeatures], init.kaimingUniform()) as W;
    if (bias) this.bias = parameter([outFeatures], biasInit(inFeatures));
  }

  /** Names of the active adapters, in order. Programs that depend on it are rebuilt when it changes. */
  get activeAdapters(): readonly string[] {
    return readCondition(() => this.#active);
  }

  set activeAdapters(names: readonly string[]) {
    this.#active = names;
  }

  /** Precision of the matrix product while the weight is trained. Default float32. */
  get precision(): Precision {
    return readCondition(() => this.#precision);
  }

  set precision(precision: Precision) {
    this.#precision = precision;
  }

  forward(x: Tensor): Tensor {
    const [out, width] = this.weight.shape;
    const rows = x.shape.length === 2 ? x : x.reshape([-1, width]);
    let y = product(rows, this.weight, this.precision);
    for (const name of this.activeAdapters) y = this.adapters.get(name)?.forward(y, rows, this) ?? y;
    if (this.bias) y = y.add(this.bias);
    return x.shape.length === 2 ? y : y.reshape([...x.shape.slice(0, -1), out]);
  }
}

/** Returns PyTorch's initializer of biases: uniform within 1 / sqrt(fanIn). */
export const biasInit = (fanIn: number) => init.uniform(-1 / Math.sqrt(fanIn), 1 / Math.sqrt(fanIn));

function product(x: Tensor, weight: Weight, precision: Precision): Tensor {
  if (weight instanceof CompressedWeight) return weight.forward(x);
  return linear(x, weight, precision);
}

/**
 * Returns x W^T, a linear layer without bias.
 * @param x float32 [n, in]
 * @param weight [out, in], as in checkpoints; 16-bit floats are cast to float32
 */
export function linear(x: Tensor, weight: Tensor, precision: Precision = "float32"): Tensor {
  if (precision === "int8") return switchback(x, weight);
  return weight.dtype === x.dtype ? matmul(x, weight, { transposeB: true }) : halfProduct(x, weight);
}

/**
 * Computes x W^T with a frozen 16-bit W, which is cast to float32 separately in forward and backward pass, so that the float32
 * copy is not held in between. W gets no gradient.
 */
const halfProduct = customGradient({
  forward: (x, weight) => matmul(x, weight.cast("float32"), { transposeB: true }),
  backward: (g, _, __, weight) => [matmul(g, after(weight, g).cast("float32")), undefined],
});

/** Returns a layer's weight as float32 [out, in], however it is stored. */
export function fullWeight(weight: Weight): Tensor {
  if (weight instanceof CompressedWeight) return weight.dequantize();
  return weight.dtype === "float32" ? weight : weight.cast("float32");
}
