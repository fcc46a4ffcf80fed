import type { ProgramDefinition } from "../engine/index.ts";
import type { LanguageModel } from "../models/index.ts";
import type { Precision } from "../nn/index.ts";
import { crossEntropy, grad, type HostValue, input, type Tensor, variable, where } from "../tensor/index.ts";
import type { Optimizer } from "./optimizers/index.ts";

/** What a training step is built with. */
export interface StepOptions {
  optimizer: Optimizer;
  /** Gradients of earlier micro-batches are added. */
  accumulated: boolean;
  /** Layers are computed again in the backward pass instead of kept. */
  gradientCheckpointing: boolean;
  /** What the projections' products are computed in. */
  precision?: Precision;
}

/** Names of the summed gradients of these parameters. */
export function accumulatorNames(parameters: readonly string[]): string[] {
  return parameters.map((name) => `gradient.${name}`);
}

/** Zero sums for parameters of these shapes. */
export function initialAccumulators(shapes: ReadonlyMap<string, readonly number[]>): Record<string, HostValue> {
  const values: Record<string, HostValue> = {};
  for (const [name, shape] of shapes) {
    const size = shape.reduce((a, b) => a * b, 1);
    values[accumulatorNames([name])[0]] = { dtype: "float32", shape, data: new Float32Array(size) };
  }
  return values;
}

function lossAndGradients(
  model: LanguageModel,
  batch: number,
  length: number,
  { gradientCheckpointing, precision = "float32" }: Pick<StepOptions, "gradientCheckpointing" | "precision">,
) {
  const weights = { ...model.networkWeights(), gradientCheckpointing, precision };
  const { logits, targets } = model.buildLogits(batch, length, weights);
  // Scaled by one over the targets of the whole step, so that micro-batches add up to the step's mean.
  const loss = crossEntropy(logits, targets).sum().mul(input("lossScale", []));
  const names = model.trainableNames();
  const values = names.map(weights.parameter);
  const gradients = grad(loss, values);
  return { loss, parameters: names.map((name, i) => ({ name, value: values[i], gradient: gradients[i] })) };
}

/** Forward, backward, clipping and optimizer as one program. */
export function stepProgram(
  model: LanguageModel,
  batch: number,
  length: number,
  options: StepOptions,
): ProgramDefinition {
  const { optimizer, accumulated } = options;
  const { loss, parameters } = lossAndGradients(model, batch, length, options);
  const complete = accumulated
    ? parameters.map((p) => ({ ...p, gradient: p.gradient.add(accumulator(p.name, p.value)) }))
    : parameters;
  const { updates, gradNorm } = optimizer.stepOf(complete);
  return { name: `the training step, ${batch} x ${length} tokens`, outputs: { loss, gradNorm }, updates };
}

/** Forward and backward of a micro-batch whose gradients wait for the step's last one. */
export function accumulateProgram(
  model: LanguageModel,
  batch: number,
  length: number,
  options: Pick<StepOptions, "gradientCheckpointing" | "precision">,
): ProgramDefinition {
  const { loss, parameters } = lossAndGradients(model, batch, length, options);
  const keep = input("keep", [], "bool");
  const updates: Record<string, Tensor> = {};
  for (const { name, value, gradient } of parameters) {
    updates[accumulatorNames([name])[0]] = where(keep, accumulator(name, value), 0).add(gradient);
  }
  return { name: `a micro-batch of training, ${batch} x ${length} tokens`, outputs: { loss }, updates };
}

const accumulator = (name: string, value: Tensor) => variable(accumulatorNames([name])[0], value.shape);
