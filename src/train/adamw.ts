import { div, type HostValue, input, minimum, type Tensor, variable } from "../tensor/index.ts";

/** Settings of AdamW that stay the same over training. */
export interface AdamWConfig {
  beta1: number;
  beta2: number;
  epsilon: number;
  weightDecay: number;
  /** Gradients are scaled down to this norm; Infinity never does. */
  maxGradNorm: number;
}

const momentNames = (name: string) => ({ m: `adamw.m.${name}`, v: `adamw.v.${name}` });

/** Names of the moments of these parameters. */
export function momentsOf(parameters: Iterable<string>): string[] {
  return [...parameters].flatMap((name) => Object.values(momentNames(name)));
}

/** Zero moments for parameters of these shapes. */
export function initialMoments(shapes: ReadonlyMap<string, readonly number[]>): Record<string, HostValue> {
  const values: Record<string, HostValue> = {};
  for (const [name, shape] of shapes) {
    const size = shape.reduce((a, b) => a * b, 1);
    for (const moment of momentsOf([name])) values[moment] = { dtype: "float32", shape, data: new Float32Array(size) };
  }
  return values;
}

/** The scalars that a step of {@link adamW} is fed. */
export function adamWInputs({ beta1, beta2 }: AdamWConfig, learningRate: number, step: number) {
  return {
    learningRate: Float32Array.of(learningRate),
    correction1: Float32Array.of(1 - beta1 ** (step + 1)),
    correction2: Float32Array.of(Math.sqrt(1 - beta2 ** (step + 1))),
  };
}

/**
 * One step of AdamW (Loshchilov & Hutter 2019; PyTorch's order of operations) with clipping by the global norm.
 * Matrices decay, vectors (norms) do not. Every update depends on the norm, hence on every gradient: so all readers
 * of a parameter have finished before it changes, and it may change where it lies.
 * @returns new values by variable name, and the gradient norm before clipping
 */
export function adamW(
  config: AdamWConfig,
  parameters: readonly { name: string; value: Tensor; gradient: Tensor }[],
): { updates: Record<string, Tensor>; gradNorm: Tensor } {
  const learningRate = input("learningRate", []);
  const correction1 = input("correction1", []);
  const correction2 = input("correction2", []);
  const squares = parameters.map(({ gradient }) => gradient.mul(gradient).sum());
  const gradNorm = squares.reduce((total, square) => total.add(square)).sqrt();
  const max = Number.isFinite(config.maxGradNorm) ? config.maxGradNorm : 1e30;
  const clip = minimum(1, div(max, gradNorm.add(1e-6)));
  const stepSize = learningRate.div(correction1);
  const decay = learningRate.mul(-config.weightDecay).add(1);
  const updates: Record<string, Tensor> = {};
  for (const { name, value, gradient } of parameters) {
    const names = momentNames(name);
    const clipped = gradient.mul(clip);
    const m = variable(names.m, value.shape);
    const v = variable(names.v, value.shape);
    const newM = m.add(clipped.sub(m).mul(1 - config.beta1));
    const newV = v.mul(config.beta2).add(clipped.mul(clipped).mul(1 - config.beta2));
    const direction = newM.div(newV.sqrt().div(correction2).add(config.epsilon));
    const decayed = value.shape.length > 1 && config.weightDecay > 0 ? value.mul(decay) : value;
    updates[names.m] = newM;
    updates[names.v] = newV;
    updates[name] = decayed.sub(direction.mul(stepSize));
  }
  return { updates, gradNorm };
}
