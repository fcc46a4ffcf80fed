import type { Initializer, Shape } from "../tensor/index.ts";

/** Returns the number of inputs and outputs of a weight [out, in, ...kernel]. */
function fans(shape: Shape): { fanIn: number; fanOut: number } {
  const kernel = shape.slice(2).reduce((a, b) => a * b, 1);
  return { fanIn: (shape[1] ?? shape[0] ?? 1) * kernel, fanOut: (shape[0] ?? 1) * kernel };
}

const sizeOf = (shape: Shape) => shape.reduce((a, b) => a * b, 1);

/** Initializers, named as in PyTorch. Weights are [out, in, ...kernel]. */
export const init = {
  /** Constant value. */
  constant:
    (value: number): Initializer =>
    (shape) =>
      new Float32Array(sizeOf(shape)).fill(value),

  /** Uniform in [low, high). */
  uniform:
    (low: number, high: number): Initializer =>
    (shape, random) =>
      Float32Array.from({ length: sizeOf(shape) }, () => low + (high - low) * random.uniform()),

  /** Normal with a standard deviation (default 1) and mean (default 0). */
  normal:
    (deviation = 1, mean = 0): Initializer =>
    (shape, random) =>
      mean === 0
        ? random.normal(sizeOf(shape), deviation)
        : random.normal(sizeOf(shape), deviation).map((x) => x + mean),

  /**
   * Uniform within gain * sqrt(3 / in) (He et al. 2015).
   * @param gain sqrt(2) for ReLU; the default 1 / sqrt(3) is that of PyTorch's layers
   */
  kaimingUniform:
    (gain = Math.sqrt(1 / 3)): Initializer =>
    (shape, random) => {
      const bound = gain * Math.sqrt(3 / fans(shape).fanIn);
      return init.uniform(-bound, bound)(shape, random);
    },

  /**
   * Normal with standard deviation gain / sqrt(in) (He et al. 2015).
   * @param gain default sqrt(2), for ReLU
   */
  kaimingNormal:
    (gain = Math.SQRT2): Initializer =>
    (shape, random) =>
      init.normal(gain / Math.sqrt(fans(shape).fanIn))(shape, random),

  /**
   * Uniform within gain * sqrt(6 / (in + out)) (Glorot & Bengio 2010).
   * @param gain default 1
   */
  xavierUniform:
    (gain = 1): Initializer =>
    (shape, random) => {
      const { fanIn, fanOut } = fans(shape);
      const bound = gain * Math.sqrt(6 / (fanIn + fanOut));
      return init.uniform(-bound, bound)(shape, random);
    },
} as const;
