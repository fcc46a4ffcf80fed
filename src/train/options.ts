import type { AdapterConfig } from "../adapters/index.ts";
import type { TrainingData } from "../data/index.ts";
import type { Precision } from "../nn/index.ts";
import { TrainingError } from "./error.ts";
import type { Objective } from "./objectives/objective.ts";
import type { OffloadTarget } from "./offload.ts";
import { describeOptimizer, type Optimizer, type OptimizerName, optimizerNames } from "./optimizers/index.ts";
import type { LearningRateSchedule } from "./schedule.ts";

/** Options of {@link train}. Names are those of transformers, TRL and PEFT. */
export interface TrainOptions {
  /** Training data: a data set, rows, or tokens. */
  trainDataset: TrainingData;
  /** Evaluated every `evalSteps` steps and at the end. */
  evalDataset?: TrainingData;
  /** What is optimized. Default `sft()`: cross entropy of the next token. */
  objective?: Objective<never>;
  /**
   * Configuration of a new adapter to train while the model's own weights are frozen. Without it, the active adapter is
   * trained further; without an active adapter, all weights are trained.
   */
  peftConfig?: AdapterConfig;
  /**
   * "int8" computes the projections' outputs and input gradients in int8, and weight gradients in full precision
   * (SwitchBack): for full training on the CPU (docs/devices.md). Default "float32".
   */
  precision?: Precision;
  /**
   * An optimizer's name, configured by the settings below, or an optimizer instance. Default "adamw".
   * @see Optimizer
   */
  optimizer?: OptimizerName | Optimizer;
  /** Peak learning rate. Default with AdamW or Adam: 2e-4 for an adapter, 2e-5 for full training; others have no default. */
  learningRate?: number;
  /** Passes over the data; may be fractional. Default 3. */
  numTrainEpochs?: number;
  /** Optimizer steps; overrides numTrainEpochs. */
  maxSteps?: number;
  /** Rows per forward pass. Default 8. */
  perDeviceTrainBatchSize?: number;
  /** Rows per forward pass in evaluation. Default: perDeviceTrainBatchSize. */
  perDeviceEvalBatchSize?: number;
  /** Batches accumulated per optimizer step. Default 1. */
  gradientAccumulationSteps?: number;
  /** Tokens per row; longer examples are truncated, shorter rows padded. Default: the longest example, at most 1024. */
  maxLength?: number;
  /** Recompute each layer's activations in the backward pass: less memory, a third more time. Default false. */
  gradientCheckpointing?: boolean;
  /**
   * Keep the optimizer's state off the device between updates: in host memory ("host") or on disk ("disk"). For full
   * training when the state does not fit on the device next to the model; slower. Default: on the device.
   */
  offloadOptimizer?: OffloadTarget;
  /** Pack several examples into one row, without attention between them: avoids padding. Default false. */
  packing?: boolean;
  /** Default "cosine". */
  lrSchedulerType?: LearningRateSchedule;
  /** Fraction of the steps during which the learning rate rises from 0, in [0, 1). Default 0.03. */
  warmupRatio?: number;
  /** Steps of warmup; overrides warmupRatio. */
  warmupSteps?: number;
  /** Default 0.01. */
  weightDecay?: number;
  /** Used by AdamW, Adam, and Muon for the parameters that it leaves to AdamW. Default 0.9. */
  adamBeta1?: number;
  /** Default 0.999. */
  adamBeta2?: number;
  /** Default 1e-8. */
  adamEpsilon?: number;
  /** Default 1. */
  maxGradNorm?: number;
  /** Seeds the order of the data, dropout, and the adapter's initialization. Default 42. */
  seed?: number;
  /** Steps between evaluations. Default: ten evaluations in total. */
  evalSteps?: number;
  /** Steps between checkpoints. Default: four checkpoints in total, and one at the end. */
  saveSteps?: number;
  /** Number of checkpoints to keep, not counting the best one; older ones are deleted. Default 2. */
  saveTotalLimit?: number;
  /** Folder for checkpoints. Default: a folder for the run in the data folder. */
  outputDir?: string;
  /**
   * Resume from the newest valid checkpoint in outputDir (true; starts from scratch if there is none), or from the
   * checkpoint in this folder. Default false.
   */
  resumeFromCheckpoint?: boolean | string;
  /** Load the weights of the best evaluation at the end. Needs evalDataset. Default false. */
  loadBestModelAtEnd?: boolean;
  /** The evaluation metric that decides which checkpoint is best. Default "eval_loss". */
  metricForBestModel?: string;
  /** Whether a higher value of that metric is better. Default: false for a loss or perplexity, true otherwise. */
  greaterIsBetter?: boolean;
  /** The run's name in the tracker. Default: the notebook's name and the objective. */
  runName?: string;
  /** Called after each optimizer step. */
  onStep?: (event: StepEvent) => void;
}

/** Passed to {@link TrainOptions.onStep} after each step. */
export interface StepEvent {
  /** Steps done, from 1. */
  step: number;
  totalSteps: number;
  loss: number;
  learningRate: number;
  gradNorm: number;
  /** Tokens with a loss, per second. */
  tokensPerSecond: number;
  /** Fraction of padding in the step's batches, in [0, 1). */
  paddingShare: number;
}

/** Options with all defaults filled in, as they are logged and stored in checkpoints. */
export interface ResolvedOptions {
  objective: string;
  /** "full", or the adapter's type in PEFT's naming. */
  method: string;
  quantization: string;
  precision: Precision;
  /** The optimizer's name; for an optimizer instance, also its settings. */
  optimizer: string;
  learningRate: number;
  numTrainEpochs: number;
  totalSteps: number;
  perDeviceTrainBatchSize: number;
  gradientAccumulationSteps: number;
  maxLength: number;
  packing: boolean;
  gradientCheckpointing: boolean;
  offloadOptimizer: OffloadTarget | "none";
  lrSchedulerType: LearningRateSchedule;
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

/** Options that cannot change on resuming: they determine the checkpoint's tensors or the order of the rows. */
const fixed: ReadonlySet<keyof ResolvedOptions> = new Set([
  "objective",
  "method",
  "quantization",
  "maxLength",
  "packing",
  "seed",
]);

/**
 * Compares the options of a resumed training run with those of its checkpoint.
 * @returns a description of each change
 * @throws TrainingError when an option differs that must not change
 */
export function changesSince(folder: string, before: ResolvedOptions, now: ResolvedOptions): string[] {
  const rows = (o: ResolvedOptions) => o.perDeviceTrainBatchSize * o.gradientAccumulationSteps;
  const refuse = (what: string, a: unknown, b: unknown) => {
    throw new TrainingError(
      `${folder} was trained with ${what} ${a}, now it is ${b}; change it back, or start a new run.`,
    );
  };
  if (rows(before) !== rows(now)) {
    refuse("perDeviceTrainBatchSize x gradientAccumulationSteps", rows(before), rows(now));
  }
  const kind = (o: ResolvedOptions) => o.optimizer.split(" ")[0];
  if (kind(before) !== kind(now)) refuse("optimizer", kind(before), kind(now));
  return (Object.keys(now) as (keyof ResolvedOptions)[]).flatMap((key) => {
    if (before[key] === undefined || before[key] === now[key]) return [];
    if (fixed.has(key)) refuse(key, before[key], now[key]);
    return [`${key} ${before[key]} -> ${now[key]}`];
  });
}

/** Inputs of the defaults. */
export interface OptionContext {
  method: string;
  quantization: string | undefined;
  objective: string;
  /** Tokens per row. */
  length: number;
  /** Rows in the training data: examples, or packed rows. */
  rows: number;
}

/**
 * Fills in the defaults and validates the options.
 * @throws TrainingError naming the invalid option
 */
export function resolveOptions(options: TrainOptions, context: OptionContext): ResolvedOptions {
  const { method } = context;
  const batch = options.perDeviceTrainBatchSize ?? 8;
  const accumulation = options.gradientAccumulationSteps ?? 1;
  const epochs = options.numTrainEpochs ?? 3;
  checkInteger("perDeviceTrainBatchSize", batch, 1);
  checkInteger("gradientAccumulationSteps", accumulation, 1);
  if (!(epochs > 0)) throw new TrainingError(`numTrainEpochs must be above 0, not ${epochs}.`);
  const stepsPerEpoch = stepsOfEpoch(context.rows, batch * accumulation);
  const totalSteps = options.maxSteps ?? Math.max(1, Math.ceil(epochs * stepsPerEpoch - 1e-9));
  checkInteger("maxSteps", totalSteps, 1);
  const optimizer = options.optimizer ?? "adamw";
  const resolved: ResolvedOptions = {
    objective: context.objective,
    method,
    quantization: context.quantization ?? "none",
    precision: options.precision ?? "float32",
    optimizer: typeof optimizer === "string" ? optimizer : describeOptimizer(optimizer),
    learningRate: options.learningRate ?? defaultRate(optimizer, method),
    numTrainEpochs: options.maxSteps === undefined ? epochs : totalSteps / stepsPerEpoch,
    totalSteps,
    perDeviceTrainBatchSize: batch,
    gradientAccumulationSteps: accumulation,
    maxLength: context.length,
    packing: options.packing ?? false,
    gradientCheckpointing: options.gradientCheckpointing ?? false,
    offloadOptimizer: options.offloadOptimizer ?? "none",
    lrSchedulerType: options.lrSchedulerType ?? "cosine",
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
  checkRange("learningRate", resolved.learningRate, 0, Number.POSITIVE_INFINITY);
  checkRange("weightDecay", resolved.weightDecay, 0, Number.POSITIVE_INFINITY);
  checkRange("warmupRatio", options.warmupRatio ?? 0, 0, 1);
  checkRange("adamBeta1", resolved.adamBeta1, 0, 1);
  checkRange("adamBeta2", resolved.adamBeta2, 0, 1);
  if (!(resolved.maxGradNorm > 0)) throw new TrainingError(`maxGradNorm must be above 0, not ${resolved.maxGradNorm}.`);
  checkOneOf("lrSchedulerType", resolved.lrSchedulerType, ["linear", "cosine", "constant"]);
  if (typeof optimizer === "string") checkOneOf("optimizer", optimizer, optimizerNames);
  checkOneOf("offloadOptimizer", resolved.offloadOptimizer, ["none", "host", "disk"]);
  checkOneOf("precision", resolved.precision, ["float32", "int8"]);
  if (resolved.precision === "int8" && method !== "full") {
    throw new TrainingError(
      'precision "int8" is for training every weight; for an adapter, load the model with quantization: "int8".',
    );
  }
  if (options.loadBestModelAtEnd && !options.evalDataset) {
    throw new TrainingError("loadBestModelAtEnd needs an evalDataset to determine which model is best.");
  }
  checkInteger("perDeviceEvalBatchSize", options.perDeviceEvalBatchSize ?? 1, 1);
  checkInteger("warmupSteps", resolved.warmupSteps, 0);
  checkInteger("evalSteps", resolved.evalSteps, 1);
  checkInteger("saveSteps", resolved.saveSteps, 1);
  checkInteger("saveTotalLimit", resolved.saveTotalLimit, 1);
  if (!Number.isSafeInteger(resolved.seed)) {
    throw new TrainingError(`seed must be an integer, not ${resolved.seed}.`);
  }
  return resolved;
}

/** Returns the number of steps per epoch; the last step may have fewer rows. */
export const stepsOfEpoch = (rows: number, rowsOfStep: number): number => Math.max(1, Math.ceil(rows / rowsOfStep));

function defaultRate(optimizer: OptimizerName | Optimizer, method: string): number {
  if (typeof optimizer !== "string") return optimizer.rateAt(0);
  if (optimizer === "adamw" || optimizer === "adam") return method === "full" ? 2e-5 : 2e-4;
  throw new TrainingError(`learningRate is required for the optimizer ${optimizer}: it has no default.`);
}

function checkInteger(name: string, value: number, minimum: number): void {
  if (!Number.isInteger(value) || value < minimum) {
    throw new TrainingError(`${name} must be an integer of at least ${minimum}, not ${value}.`);
  }
}

function checkRange(name: string, value: number, low: number, high: number): void {
  if (!(value >= low && value < high)) throw new TrainingError(`${name} must be in [${low}, ${high}), not ${value}.`);
}

function checkOneOf(name: string, value: string, allowed: readonly string[]): void {
  if (allowed.includes(value)) return;
  throw new TrainingError(
    `${name} must be ${allowed.slice(0, -1).join(", ")} or ${allowed.at(-1)}, not ${String(value)}.`,
  );
}
