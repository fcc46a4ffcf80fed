import type { Shape, Tensor } from "../../tensor/index.ts";
import { checkRange, decayed, Optimizer, type OptimizerOptions, type Updater } from "./optimizer.ts";

/** Options of {@link Adam} and {@link AdamW}. */
export interface AdamOptions extends OptimizerOptions {
  /** Default 0.9. */
  beta1?: number;
  /** Default 0.999. */
  beta2?: number;
  /** Default 1e-8. */
  epsilon?: number;
}

/** Adam with decoupled weight decay (Loshchilov & Hutter 2019), in PyTorch's order of operations. */
export class AdamW extends Optimizer {
  readonly name: string = "adamw";
  readonly beta1: number;
  readonly beta2: number;
  readonly epsilon: number;

  /** The learning rate defaults to 1e-3, weight decay to 0.01. */
  constructor({ beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8, weightDecay = 0.01, ...options }: AdamOptions = {}) {
    super({ weightDecay, ...options }, 1e-3);
    checkRange("beta1", beta1, 0, 1);
    checkRange("beta2", beta2, 0, 1);
    checkRange("epsilon", epsilon, 0, 1);
    this.beta1 = beta1;
    this.beta2 = beta2;
    this.epsilon = epsilon;
  }

  slots(shape: Shape): Record<string, Shape> {
    return { m: shape, v: shape };
  }

  override scalars(step: number): Record<string, number> {
    return {
      correction1: 1 - this.beta1 ** (step + 1),
      correction2: Math.sqrt(1 - this.beta2 ** (step + 1)),
    };
  }

  get settings(): Record<string, number | string | boolean> {
    const { beta1, beta2, epsilon, weightDecay } = this;
    return { beta1, beta2, epsilon, weightDecay };
  }

  updater({ learningRate, correction1, correction2 }: Readonly<Record<string, Tensor>>): Updater {
    const stepSize = learningRate.div(correction1);
    const decay = learningRate.mul(-this.weightDecay).add(1);
    return (value, gradient, { m, v }) => {
      const newM = m.add(gradient.sub(m).mul(1 - this.beta1));
      const newV = v.mul(this.beta2).add(gradient.mul(gradient).mul(1 - this.beta2));
      const direction = newM.div(newV.sqrt().div(correction2).add(this.epsilon));
      const shrunk = decayed(value, decay, this.weightDecay);
      return { value: shrunk.sub(direction.mul(stepSize)), slots: { m: newM, v: newV } };
    };
  }
}

/** Adam (Kingma & Ba 2015). Weight decay (default 0) is added to the gradient. */
export class Adam extends AdamW {
  override readonly name: string = "adam";

  constructor({ weightDecay = 0, ...options }: AdamOptions = {}) {
    super({ weightDecay, ...options });
  }

  override updater(scalars: Readonly<Record<string, Tensor>>): Updater {
    const plain = new AdamW({ ...this.settings, weightDecay: 0 }).updater(scalars);
    return (value, gradient, slots, name) => {
      const decayedGradient =
        value.shape.length > 1 && this.weightDecay > 0 ? gradient.add(value.mul(this.weightDecay)) : gradient;
      return plain(value, decayedGradient, slots, name);
    };
  }
}
