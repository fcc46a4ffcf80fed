import { div, matmul, maximum, type Shape, type Tensor } from "../../tensor/index.ts";
import { type AdamOptions, AdamW } from "./adamw.ts";
import { checkRange, decayed, Optimizer, type OptimizerOptions, type Updater } from "./optimizer.ts";

/** Options of {@link Muon}. */
export interface MuonOptions extends OptimizerOptions {
  /** Default 0.95. */
  momentum?: number;
  /** Look ahead along the momentum. Default true. */
  nesterov?: boolean;
  /** Rounds of the Newton-Schulz iteration. Default 5. */
  iterations?: number;
  /** Which matrices AdamW changes instead; embeddings and the output layer when left out. */
  exclude?: (name: string) => boolean;
  /** AdamW's settings for those and for what is no matrix. */
  adamw?: Pick<AdamOptions, "beta1" | "beta2" | "epsilon">;
}

/** The iteration's polynomial, whose slope at zero is as steep as it can be (Jordan et al. 2024). */
const [linear, cubic, quintic] = [3.4445, -4.775, 2.0315];

/**
 * Momentum made orthogonal, for the hidden matrices of a network (Jordan et al. 2024), with steps as long as AdamW's
 * (Liu et al. 2025) so that both take one learning rate. Everything else is changed by AdamW.
 */
export class Muon extends Optimizer {
  readonly name = "muon";
  readonly momentum: number;
  readonly nesterov: boolean;
  readonly iterations: number;
  readonly #exclude: (name: string) => boolean;
  readonly #rest: AdamW;

  /** Learning rate 1e-3 and weight decay 0.1 when left out. */
  constructor({
    momentum = 0.95,
    nesterov = true,
    iterations = 5,
    exclude = (name) => /embed|lm_head/.test(name),
    adamw = {},
    weightDecay = 0.1,
    ...options
  }: MuonOptions = {}) {
    super({ weightDecay, ...options }, 1e-3);
    checkRange("momentum", momentum, 0, 1);
    checkRange("iterations", iterations, 1, 20);
    this.momentum = momentum;
    this.nesterov = nesterov;
    this.iterations = iterations;
    this.#exclude = exclude;
    this.#rest = new AdamW({ ...adamw, weightDecay });
  }

  #isHidden(shape: Shape, name: string): boolean {
    return shape.length === 2 && !this.#exclude(name);
  }

  slots(shape: Shape, name: string): Record<string, Shape> {
    return this.#isHidden(shape, name) ? { momentum: shape } : this.#rest.slots(shape);
  }

  override scalars(step: number): Record<string, number> {
    return this.#rest.scalars(step);
  }

  get settings(): Record<string, number | string | boolean> {
    const { momentum, nesterov, iterations, weightDecay } = this;
    const { beta1, beta2, epsilon } = this.#rest;
    return { momentum, nesterov, iterations, weightDecay, beta1, beta2, epsilon };
  }

  updater(scalars: Readonly<Record<string, Tensor>>): Updater {
    const { learningRate } = scalars;
    const decay = learningRate.mul(-this.weightDecay).add(1);
    const rest = this.#rest.updater(scalars);
    return (value, gradient, slots, name) => {
      if (!this.#isHidden(value.shape, name)) return rest(value, gradient, slots, name);
      // A running mean, as PyTorch keeps it: orthogonalising takes the scale off again.
      const momentum = slots.momentum.add(gradient.sub(slots.momentum).mul(1 - this.momentum));
      const ahead = this.nesterov ? gradient.add(momentum.sub(gradient).mul(this.momentum)) : momentum;
      const size = learningRate.mul(0.2 * Math.sqrt(Math.max(...value.shape)));
      return {
        value: decayed(value, decay, this.weightDecay).sub(orthogonalize(ahead, this.iterations).mul(size)),
        slots: { momentum },
      };
    };
  }
}

/** The nearest matrix with singular values around 1: those of U S' V^T with S' between 0.7 and 1.2. */
export function orthogonalize(x: Tensor, iterations = 5): Tensor {
  const tall = x.shape[0] > x.shape[1];
  let y = tall ? x.transpose() : x;
  y = y.mul(div(1, maximum(y.square().sum().sqrt(), 1e-7)));
  for (let i = 0; i < iterations; i++) {
    const gram = matmul(y, y, { transposeB: true });
    y = y.mul(linear).add(gram.mul(cubic).add(gram.matmul(gram).mul(quintic)).matmul(y));
  }
  return tall ? y.transpose() : y;
}
