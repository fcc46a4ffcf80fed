import { div, matmul, maximum, type Shape, type Tensor } from "../../tensor/index.ts";
import { type AdamOptions, AdamW } from "./adamw.ts";
import { checkRange, decayed, Optimizer, type OptimizerOptions, type Updater } from "./optimizer.ts";

/** Options of {@link Muon}. */
export interface MuonOptions extends OptimizerOptions {
  /** Default 0.95. */
  momentum?: number;
  /** Use Nesterov momentum. Default true. */
  nesterov?: boolean;
  /** Newton-Schulz iterations. Default 5. */
  iterations?: number;
  /** Selects matrices that AdamW updates instead. Default: embeddings and the output layer. */
  exclude?: (name: string) => boolean;
  /** AdamW's settings for those and for all parameters that are not matrices. */
  adamw?: Pick<AdamOptions, "beta1" | "beta2" | "epsilon">;
}

/** Coefficients of the iteration's polynomial, chosen for the steepest slope at zero (Jordan et al. 2024). */
const [linear, cubic, quintic] = [3.4445, -4.775, 2.0315];

/**
 * Muon: orthogonalized momentum for the hidden matrices of a network (Jordan et al. 2024). Its updates are scaled to the
 * size of AdamW's (Liu et al. 2025), so that one learning rate fits both. AdamW updates all other parameters.
 */
export class Muon extends Optimizer {
  readonly name = "muon";
  readonly momentum: number;
  readonly nesterov: boolean;
  readonly iterations: number;
  readonly #exclude: (name: string) => boolean;
  readonly #rest: AdamW;

  /** The learning rate defaults to 1e-3, weight decay to 0.1. */
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
      // A running mean, as in PyTorch: orthogonalization removes the scale.
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

/** Returns U S' V^T, where S' is between 0.7 and 1.2: an approximation of the nearest orthogonal matrix. */
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
