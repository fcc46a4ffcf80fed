import type { Shape, Tensor } from "../../tensor/index.ts";
import { checkRange, Optimizer, type OptimizerOptions, type Updated, type Updater } from "./optimizer.ts";

/** Options of {@link SGD}. */
export interface SGDOptions extends OptimizerOptions {
  /** Default 0: no momentum. */
  momentum?: number;
  /** Use Nesterov momentum (Sutskever et al. 2013). Default false. */
  nesterov?: boolean;
}

/** Stochastic gradient descent with momentum, as in PyTorch. Weight decay is added to the gradient. */
export class SGD extends Optimizer {
  readonly name = "sgd";
  readonly momentum: number;
  readonly nesterov: boolean;

  /** The learning rate defaults to 1e-2. */
  constructor({ momentum = 0, nesterov = false, ...options }: SGDOptions = {}) {
    super(options, 1e-2);
    checkRange("momentum", momentum, 0, 1);
    if (nesterov && momentum === 0) throw new RangeError("nesterov needs a momentum above 0");
    this.momentum = momentum;
    this.nesterov = nesterov;
  }

  slots(shape: Shape): Record<string, Shape> {
    return this.momentum > 0 ? { momentum: shape } : {};
  }

  get settings(): Record<string, number | string | boolean> {
    const { momentum, nesterov, weightDecay } = this;
    return { momentum, nesterov, weightDecay };
  }

  updater({ learningRate }: Readonly<Record<string, Tensor>>): Updater {
    return (value, gradient, slots): Updated => {
      const decayedGradient =
        value.shape.length > 1 && this.weightDecay > 0 ? gradient.add(value.mul(this.weightDecay)) : gradient;
      if (this.momentum === 0) return { value: value.sub(decayedGradient.mul(learningRate)), slots: {} };
      const momentum = slots.momentum.mul(this.momentum).add(decayedGradient);
      const direction = this.nesterov ? decayedGradient.add(momentum.mul(this.momentum)) : momentum;
      return { value: value.sub(direction.mul(learningRate)), slots: { momentum } };
    };
  }
}
