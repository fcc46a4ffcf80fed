import { div, maximum, minimum, rsqrt, type Shape, type Tensor } from "../../tensor/index.ts";
import { checkRange, decayed, Optimizer, type OptimizerOptions, type Updater } from "./optimizer.ts";

/** Options of {@link Adafactor}, named as in PyTorch. */
export interface AdafactorOptions extends OptimizerOptions {
  /** Exponent of the second moments' decay: new squares are weighted by step to this power. Default -0.8. */
  beta2Decay?: number;
  /** Lower bound on a parameter's root mean square. Default 1e-3. */
  epsilon2?: number;
  /** Updates are clipped to this root mean square. Default 1. */
  clippingThreshold?: number;
}

/** float32's machine epsilon; keeps second moments above zero. */
const epsilon1 = 2 ** -23;

/** Adafactor (Shazeer & Stern 2018), as in PyTorch: factors the second moments of matrices by row and column to save memory. */
export class Adafactor extends Optimizer {
  readonly name = "adafactor";
  readonly beta2Decay: number;
  readonly epsilon2: number;
  readonly clippingThreshold: number;

  /** The learning rate defaults to 1e-2; it is scaled by the root mean square of each parameter. */
  constructor({ beta2Decay = -0.8, epsilon2 = 1e-3, clippingThreshold = 1, ...options }: AdafactorOptions = {}) {
    super(options, 1e-2);
    checkRange("beta2Decay", beta2Decay, -1, 0);
    checkRange("clippingThreshold", clippingThreshold, Number.MIN_VALUE, Number.MAX_VALUE);
    this.beta2Decay = beta2Decay;
    this.epsilon2 = epsilon2;
    this.clippingThreshold = clippingThreshold;
  }

  slots(shape: Shape): Record<string, Shape> {
    if (shape.length < 2) return { variance: shape };
    return { row: [...shape.slice(0, -1), 1], column: [...shape.slice(0, -2), 1, ...shape.slice(-1)] };
  }

  override scalars(step: number): Record<string, number> {
    return { share: (step + 1) ** this.beta2Decay, relativeStep: 1 / Math.sqrt(step + 1) };
  }

  get settings(): Record<string, number | string | boolean> {
    const { beta2Decay, epsilon2, clippingThreshold, weightDecay } = this;
    return { beta2Decay, epsilon2, clippingThreshold, weightDecay };
  }

  updater({ learningRate, share, relativeStep }: Readonly<Record<string, Tensor>>): Updater {
    const stepSize = minimum(learningRate, relativeStep);
    const decay = learningRate.mul(-this.weightDecay).add(1);
    const mix = (old: Tensor, fresh: Tensor) => old.add(fresh.sub(old).mul(share));
    const rootMeanSquare = (x: Tensor) => x.square().mean().sqrt();
    return (value, gradient, old) => {
      const squares = gradient.square();
      const size = maximum(this.epsilon2, rootMeanSquare(value)).mul(stepSize);
      const slots: Record<string, Tensor> =
        value.shape.length < 2
          ? { variance: mix(old.variance, squares) }
          : { row: mix(old.row, squares.mean([-1], true)), column: mix(old.column, squares.mean([-2], true)) };
      const estimate = slots.variance ?? slots.row.mul(slots.column).div(maximum(slots.row.mean([-2], true), epsilon1));
      const update = rsqrt(maximum(estimate, epsilon1 ** 2)).mul(gradient);
      const clip = maximum(1, rootMeanSquare(update).mul(1 / this.clippingThreshold));
      return {
        value: decayed(value, decay, this.weightDecay).sub(update.mul(div(size, clip))),
        slots,
      };
    };
  }
}
