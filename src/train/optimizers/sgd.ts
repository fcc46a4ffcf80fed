import type { Shape, Tensor } from "../../tensor/index.ts";
import { checkRange, Optimizer, type OptimizerOptions, type Updated, type Updater } from "./optimizer.ts";

/** Options of {@link SGD}. */
export interface SGDOptions extends OptimizerOptions {
  /** Default 0: none. */
  momentum?: number;
  /** Look ahead along the momentum (Sutskever et al. 2013). Default false. */
  nesterov?: boolean;
}

/** Gradient descent with momentum, as PyTorch has it; weight decay is added to the gradient. */
export class SGD extends Optimizer {
  readonly name = "sgd";
  readonly momentum: number;
  readonly nesterov: boolean;

  /** Learning rate 1e-2 when left out. */
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
      const pulled =
        value.shape.length > 1 && this.weightDecay > 0 ? gradient.add(value.mul(this.weightDecay)) : gradient;
      if (this.momentum === 0) return { value: value.sub(pulled.mul(learningRate)), slots: {} };
      const momentum = slots.momentum.mul(this.momentum).add(pulled);
      const direction = this.nesterov ? pulled.add(momentum.mul(this.momentum)) : momentum;
      return { value: value.sub(direction.mul(learningRate)), slots: { momentum } };
    };
  }
}
