import type { TokenizedDataset } from "../data/index.ts";
import type { AdapterOptions, Quantization } from "../models/index.ts";
import type { Precision } from "../nn/index.ts";
import { describeOptimizer, type Optimizer, type OptimizerName, optimizerNames } from "./optimizers/index.ts";
import type { LearningRateSchedule } from "./schedule.ts";

/** A training that cannot start or go on. */
export class TrainingError extends Error {
  override name = "TrainingError";
}

/** How to train. Names are TRL's and transformers'; what is left out gets the default given. */
export interface TrainOptions {
  trainData: TokenizedDataset;
  /** Measured at every `evalSteps` and at the end. */
  evalData?: TokenizedDataset;
  /** "full" changes every weight; "lora" an adapter on frozen weights. Default "lora". */
  method?: "full" | "lora";
  /** The adapter of method "lora"; r 16, loraAlpha 32, all projections. */
  lora?: AdapterOptions;
  /**
   * "int8" keeps the frozen weights under an adapter in 8 bits: half of their memory, steps about 1.6 times as fast, and
   * losses within 1 % (docs/devices.md). On the CPU, for method "lora". Default: as the model is.
   */
  quantization?: Quantization;
  /**
   * "int8" computes the projections' products and what goes back through them in bytes, and the gradients of the weights
   * in full (SwitchBack): for method "full" on the CPU, about 1.25 times as fast (docs/devices.md). Default "float32".
   */
  precision?: Precision;
  /**
   * What changes the weights: a name, with the settings below, or an optimizer with settings of its own. Default "adamw".
   * @see Optimizer
   */
  optimizer?: OptimizerName | Optimizer;
  /** Peak of the schedule. Default 2e-4 for LoRA, 5e-4 for full training with AdamW or Adam; others have none. */
  learningRate?: number;
  /** Passes over the data, also a fraction. Default 3. */
  numEpochs?: number;
  /** Optimizer steps; overrides numEpochs. */
  maxSteps?: number;
  /** Rows in one run of the model. Default 8. */
  perDeviceBatchSize?: number;
  /** Batches whose gradients make one optimizer step. Default 1. */
  gradientAccumulationSteps?: number;
  /** Tokens in a row; longer examples are cut, shorter rows padded. Default: the longest example, at most 512. */
  maxSeqLength?: number;
  /** Compute each layer's inner values again in the backward pass instead of keeping them: less memory, a third more time. Default false. */
  gradientCheckpointing?: boolean;
  /** Put several examples into one row, unseen by each other: no time is spent on padding. Default false. */
  packing?: boolean;
  /** Default "cosine". */
  lrScheduler?: LearningRateSchedule;
  /** Share of the steps over which the learning rate rises from 0, in [0, 1). Default 0.03. */
  warmupRatio?: number;
  /** Steps of warmup; overrides warmupRatio. */
  warmupSteps?: number;
  /** Default 0.01. */
  weightDecay?: number;
  /** Of AdamW, Adam and what Muon leaves to them. Default 0.9. */
  adamBeta1?: number;
  /** Default 0.999. */
  adamBeta2?: number;
  /** Default 1e-8. */
  adamEpsilon?: number;
  /** Default 1. */
  maxGradNorm?: number;
  /** Order of the data, and the adapter's first values. Default 42. */
  seed?: number;
  /** Evaluate every so many steps. Default: ten times in all. */
  evalSteps?: number;
  /** Save every so many steps. Default: four times in all, and at the end. */
  saveSteps?: number;
  /** Checkpoints kept; older ones are deleted. Default 2. */
  saveTotalLimit?: number;
  /** Where checkpoints go. Default: a folder of the run's, in the data folder. */
  outputDir?: string;
  /** Go on from the newest whole checkpoint in outputDir; true with none there starts anew. Default false. */
  resume?: boolean;
  /** Shown in the tracker. Default: the notebook's name and the method. */
  runName?: string;
  /** Called after each optimizer step. */
  onStep?: (event: StepEvent) => void;
}

/** What is known after a step. */
export interface StepEvent {
  /** Steps done, from 1. */
  step: number;
  totalSteps: number;
  loss: number;
  learningRate: number;
  gradNorm: number;
  tokensPerSecond: number;
}

/** Options with every default filled in: what is logged, and what a checkpoint must agree with. */
export interface ResolvedOptions {
  method: "full" | "lora";
  quantization: Quantization | "none";
  precision: Precision;
  /** The optimizer's name, with its settings where it was made by hand. */
  optimizer: string;
  learningRate: number;
  numEpochs: number;
  totalSteps: number;
  perDeviceBatchSize: number;
  gradientAccumulationSteps: number;
  maxSeqLength: number;
  packing: boolean;
  gradientCheckpointing: boolean;
  lrScheduler: LearningRateSchedule;
  warmupSteps: number;
  weightDecay: number;
  adamBeta1: number;
  adamBeta2: number;
  adamEpsilon: number;
  maxGradNorm: number;
  seed: number;
  evalSteps: number;
  saveSteps: number;
  saveTotalLimit: number;
}

/** How often to look and save, and what to keep in memory: may be another when a training is resumed. */
export const changeable: ReadonlySet<keyof ResolvedOptions> = new Set([
  "evalSteps",
  "saveSteps",
  "saveTotalLimit",
  "gradientCheckpointing",
]);

/**
 * Fill in the defaults and check.
 * @param rows rows of the training data: examples, or packed rows
 * @throws TrainingError naming the option that is wrong
 */
export function resolveOptions(options: TrainOptions, maxSeqLength: number, rows: number): ResolvedOptions {
  const method = options.method ?? "lora";
  const batch = options.perDeviceBatchSize ?? 8;
  const accumulation = options.gradientAccumulationSteps ?? 1;
  const epochs = options.numEpochs ?? 3;
  whole("perDeviceBatchSize", batch, 1);
  whole("gradientAccumulationSteps", accumulation, 1);
  if (!(epochs > 0)) throw new TrainingError(`numEpochs must be above 0, not ${epochs}.`);
  const stepsPerEpoch = Math.max(1, Math.floor(rows / (batch * accumulation)));
  const totalSteps = options.maxSteps ?? Math.max(1, Math.round(epochs * stepsPerEpoch));
  whole("maxSteps", totalSteps, 1);
  const optimizer = options.optimizer ?? "adamw";
  const resolved: ResolvedOptions = {
    method,
    quantization: options.quantization ?? "none",
    precision: options.precision ?? "float32",
    optimizer: typeof optimizer === "string" ? optimizer : describeOptimizer(optimizer),
    learningRate: options.learningRate ?? defaultRate(optimizer, method),
    numEpochs: options.maxSteps === undefined ? epochs : totalSteps / stepsPerEpoch,
    totalSteps,
    perDeviceBatchSize: batch,
    gradientAccumulationSteps: accumulation,
    maxSeqLength,
    packing: options.packing ?? false,
    gradientCheckpointing: options.gradientCheckpointing ?? false,
    lrScheduler: options.lrScheduler ?? "cosine",
    warmupSteps: options.warmupSteps ?? Math.round((options.warmupRatio ?? 0.03) * totalSteps),
    weightDecay: options.weightDecay ?? 0.01,
    adamBeta1: options.adamBeta1 ?? 0.9,
    adamBeta2: options.adamBeta2 ?? 0.999,
    adamEpsilon: options.adamEpsilon ?? 1e-8,
    maxGradNorm: options.maxGradNorm ?? 1,
    seed: options.seed ?? 42,
    evalSteps: options.evalSteps ?? Math.max(1, Math.ceil(totalSteps / 10)),
    saveSteps: options.saveSteps ?? Math.max(1, Math.ceil(totalSteps / 4)),
    saveTotalLimit: options.saveTotalLimit ?? 2,
  };
  within("learningRate", resolved.learningRate, 0, Number.POSITIVE_INFINITY);
  within("weightDecay", resolved.weightDecay, 0, Number.POSITIVE_INFINITY);
  within("adamBeta1", resolved.adamBeta1, 0, 1);
  within("adamBeta2", resolved.adamBeta2, 0, 1);
  if (!(resolved.maxGradNorm > 0)) throw new TrainingError(`maxGradNorm must be above 0, not ${resolved.maxGradNorm}.`);
  if (!["linear", "cosine", "constant"].includes(resolved.lrScheduler)) {
    throw new TrainingError(`lrScheduler must be linear, cosine or constant, not ${resolved.lrScheduler}.`);
  }
  if (typeof optimizer === "string" && !optimizerNames.includes(optimizer)) {
    throw new TrainingError(`optimizer must be one of ${optimizerNames.join(", ")}, not ${String(optimizer)}.`);
  }
  const { precision } = resolved;
  if (precision !== "float32" && precision !== "int8")
    throw new TrainingError(`precision must be "float32" or "int8", not "${precision}".`);
  if (precision === "int8" && method !== "full")
    throw new TrainingError('precision "int8" is for method "full"; for an adapter use quantization: "int8".');
  if (method !== "full" && method !== "lora")
    throw new TrainingError(`method must be "full" or "lora", not "${method}".`);
  whole("warmupSteps", resolved.warmupSteps, 0);
  whole("evalSteps", resolved.evalSteps, 1);
  whole("saveSteps", resolved.saveSteps, 1);
  whole("saveTotalLimit", resolved.saveTotalLimit, 1);
  if (!Number.isSafeInteger(resolved.seed))
    throw new TrainingError(`seed must be a whole number, not ${resolved.seed}.`);
  return resolved;
}

function defaultRate(optimizer: OptimizerName | Optimizer, method: "full" | "lora"): number {
  if (typeof optimizer !== "string") return optimizer.rateAt(0);
  if (optimizer === "adamw" || optimizer === "adam") return method === "lora" ? 2e-4 : 5e-4;
  throw new TrainingError(`There is no usual learningRate for ${optimizer}; give one.`);
}

function whole(name: string, value: number, least: number): void {
  if (!Number.isInteger(value) || value < least) {
    throw new TrainingError(`${name} must be a whole number of ${least} or more, not ${value}.`);
  }
}

function within(name: string, value: number, low: number, high: number): void {
  if (!(value >= low && value < high)) throw new TrainingError(`${name} must be in [${low}, ${high}), not ${value}.`);
}
