import type { Initializer, Shape } from "../tensor/index.ts";

/** Inputs and outputs that one element of a weight [out, in, ...kernel] connects. */
function fans(shape: Shape): { fanIn: number; fanOut: number } {
  const kernel = shape.slice(2).reduce((a, b) => a * b, 1);
  return { fanIn: (shape[1] ?? shape[0] ?? 1) * kernel, fanOut: (shape[0] ?? 1) * kernel };
}

const sizeOf = (shape: Shape) => shape.reduce((a, b) => a * b, 1);

/** First values of parameters, by PyTorch's names. Weights are [out, in, ...kernel]. */
export const init = {
  /** The same value everywhere. */
  constant:
    (value: number): Initializer =>
    (shape) =>
      new Float32Array(sizeOf(shape)).fill(value),

  /** Uniform in [low, high). */
  uniform:
    (low: number, high: number): Initializer =>
    (shape, random) =>
      Float32Array.from({ length: sizeOf(shape) }, () => low + (high - low) * random.uniform()),

  /** Normal with a standard deviation (default 1) and a mean (default 0). */
  normal:
    (deviation = 1, mean = 0): Initializer =>
    (shape, random) =>
      mean === 0
        ? random.normal(sizeOf(shape), deviation)
        : random.normal(sizeOf(shape), deviation).map((x) => x + mean),

  /**
   * Uniform within gain * sqrt(3 / in) (He et al. 2015).
   * @param gain sqrt(2) for ReLU; 1 / sqrt(3), the default, is what PyTorch's layers start with
   */
  kaimingUniform:
    (gain = Math.sqrt(1 / 3)): Initializer =>
    (shape, random) => {
      const bound = gain * Math.sqrt(3 / fans(shape).fanIn);
      return init.uniform(-bound, bound)(shape, random);
    },

  /**
   * Normal with deviation gain / sqrt(in) (He et al. 2015).
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
