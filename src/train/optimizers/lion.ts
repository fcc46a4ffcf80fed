import { type Shape, sign, type Tensor } from "../../tensor/index.ts";
import { checkRange, decayed, Optimizer, type OptimizerOptions, type Updater } from "./optimizer.ts";

/** Options of {@link Lion}. */
export interface LionOptions extends OptimizerOptions {
  /** Weight of the momentum in the update direction. Default 0.9. */
  beta1?: number;
  /** Decay of the momentum. Default 0.99. */
  beta2?: number;
}

/** Lion (Chen et al. 2023): steps along the sign of the momentum, with half of Adam's memory. */
export class Lion extends Optimizer {
  readonly name = "lion";
  readonly beta1: number;
  readonly beta2: number;

  /** The learning rate defaults to 1e-4; typical values are a third to a tenth of Adam's. */
  constructor({ beta1 = 0.9, beta2 = 0.99, ...options }: LionOptions = {}) {
    super(options, 1e-4);
    checkRange("beta1", beta1, 0, 1);
    checkRange("beta2", beta2, 0, 1);
    this.beta1 = beta1;
    this.beta2 = beta2;
  }

  slots(shape: Shape): Record<string, Shape> {
    return { momentum: shape };
  }

  get settings(): Record<string, number | string | boolean> {
    const { beta1, beta2, weightDecay } = this;
    return { beta1, beta2, weightDecay };
  }

  updater({ learningRate }: Readonly<Record<string, Tensor>>): Updater {
    const decay = learningRate.mul(-this.weightDecay).add(1);
    return (value, gradient, { momentum }) => {
      const direction = sign(momentum.mul(this.beta1).add(gradient.mul(1 - this.beta1)));
      return {
        value: decayed(value, decay, this.weightDecay).sub(direction.mul(learningRate)),
        slots: { momentum: momentum.mul(this.beta2).add(gradient.mul(1 - this.beta2)) },
      };
    };
  }
}
