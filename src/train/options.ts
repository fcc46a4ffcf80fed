import type { AdapterConfig } from "../adapters/index.ts";
import type { TrainingData } from "../data/index.ts";
import type { Precision } from "../nn/index.ts";
import { TrainingError } from "./error.ts";
import type { Objective } from "./objectives/objective.ts";
import type { OffloadTarget } from "./offload.ts";
import { describeOptimizer, type Optimizer, type OptimizerName, optimizerNames } from "./optimizers/index.ts";
import type { LearningRateSchedule } from "./schedule.ts";

/** How to train. Names are transformers', TRL's and PEFT's; what is left out gets the default given. */
export interface TrainOptions {
  /** What to learn from: a data set, rows, or tokens. */
  trainDataset: TrainingData;
  /** Measured at every `evalSteps` and at the end. */
  evalDataset?: TrainingData;
  /** What is learned of a row. Default `sft()`: cross entropy of the next token. */
  objective?: Objective<never>;
  /**
   * A new adapter that is trained while the model's own weights stay as they are. Without one, the adapter in use is
   * trained further, or every weight where there is none.
   */
  peftConfig?: AdapterConfig;
  /**
   * "int8" computes the projections' products and what goes back through them in bytes, and the gradients of the weights
   * in full (SwitchBack): for training every weight on the CPU (docs/devices.md). Default "float32".
   */
  precision?: Precision;
  /**
   * What changes the weights: a name, with the settings below, or an optimizer with settings of its own. Default "adamw".
   * @see Optimizer
   */
  optimizer?: OptimizerName | Optimizer;
  /** Peak of the schedule. Default 2e-4 for an adapter, 2e-5 for every weight with AdamW or Adam; others have none. */
  learningRate?: number;
  /** Passes over the data, also a fraction. Default 3. */
  numTrainEpochs?: number;
  /** Optimizer steps; overrides numTrainEpochs. */
  maxSteps?: number;
  /** Rows in one run of the model. Default 8. */
  perDeviceTrainBatchSize?: number;
  /** The same for evaluation. Default: as for training. */
  perDeviceEvalBatchSize?: number;
  /** Batches whose gradients make one optimizer step. Default 1. */
  gradientAccumulationSteps?: number;
  /** Tokens in a row; longer examples are cut, shorter rows padded. Default: the longest example, at most 1024. */
  maxLength?: number;
  /** Compute each layer's inner values again in the backward pass: less memory, a third more time. Default false. */
  gradientCheckpointing?: boolean;
  /**
   * Keep the optimizer's state off the device between its updates: in the host's memory ("host") or on the disk ("disk"). For
   * training every weight where the state does not fit beside the model; slower. Default: on the device.
   */
  offloadOptimizer?: OffloadTarget;
  /** Put several examples into one row, unseen by each other: no time is spent on padding. Default false. */
  packing?: boolean;
  /** Default "cosine". */
  lrSchedulerType?: LearningRateSchedule;
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
  /** Order of the data, dropout, and the adapter's first values. Default 42. */
  seed?: number;
  /** Evaluate every so many steps. Default: ten times in all. */
  evalSteps?: number;
  /** Save every so many steps. Default: four times in all, and at the end. */
  saveSteps?: number;
  /** Checkpoints kept, the best one besides; older ones are deleted. Default 2. */
  saveTotalLimit?: number;
  /** Where checkpoints go. Default: a folder of the run's, in the data folder. */
  outputDir?: string;
  /**
   * Go on from the newest whole checkpoint in outputDir (true; with none there it starts anew), or from the checkpoint of
   * this folder. Default false.
   */
  resumeFromCheckpoint?: boolean | string;
  /** End with the weights of the evaluation that was best. Needs evalDataset. Default false. */
  loadBestModelAtEnd?: boolean;
  /** What is best: a metric of the evaluation, such as "eval_loss". Default "eval_loss". */
  metricForBestModel?: string;
  /** Whether more of it is better. Default: not of a loss or perplexity. */
  greaterIsBetter?: boolean;
  /** Shown in the tracker. Default: the notebook's name and the objective. */
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
  /** Tokens trained on in a second: those with a loss. */
  tokensPerSecond: number;
  /** Share of the places in the step's batches that held no token, in [0, 1). */
  paddingShare: number;
}

/** Options with every default filled in: what is logged, and what a checkpoint must agree with. */
export interface ResolvedOptions {
  objective: string;
  /** "full", or the adapter's kind as PEFT names it. */
  method: string;
  quantization: string;
  precision: Precision;
  /** The optimizer's name, with its settings where it was made by hand. */
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

/** What decides which numbers a checkpoint holds and which rows come next: another value is another training. */
const fixed: ReadonlySet<keyof ResolvedOptions> = new Set([
  "objective",
  "method",
  "quantization",
  "maxLength",
  "packing",
  "seed",
]);

/**
 * How a resumed training differs from the one that made the checkpoint.
 * @throws TrainingError naming what may not change
 */
export function changesSince(folder: string, before: ResolvedOptions, now: ResolvedOptions): string[] {
  const rows = (o: ResolvedOptions) => o.perDeviceTrainBatchSize * o.gradientAccumulationSteps;
  const refuse = (what: string, a: unknown, b: unknown) => {
    throw new TrainingError(`${folder} was trained with ${what} ${a}, now it is ${b}; change it back, or train anew.`);
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

/** What the defaults depend on. */
export interface OptionContext {
  method: string;
  quantization: string | undefined;
  objective: string;
  /** Tokens of a row. */
  length: number;
  /** Rows of the training data: examples, or packed rows. */
  rows: number;
}

/**
 * Fill in the defaults and check.
 * @throws TrainingError naming the option that is wrong
 */
export function resolveOptions(options: TrainOptions, context: OptionContext): ResolvedOptions {
  const { method } = context;
  const batch = options.perDeviceTrainBatchSize ?? 8;
  const accumulation = options.gradientAccumulationSteps ?? 1;
  const epochs = options.numTrainEpochs ?? 3;
  whole("perDeviceTrainBatchSize", batch, 1);
  whole("gradientAccumulationSteps", accumulation, 1);
  if (!(epochs > 0)) throw new TrainingError(`numTrainEpochs must be above 0, not ${epochs}.`);
  const stepsPerEpoch = stepsOfEpoch(context.rows, batch * accumulation);
  const totalSteps = options.maxSteps ?? Math.max(1, Math.ceil(epochs * stepsPerEpoch - 1e-9));
  whole("maxSteps", totalSteps, 1);
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
  within("learningRate", resolved.learningRate, 0, Number.POSITIVE_INFINITY);
  within("weightDecay", resolved.weightDecay, 0, Number.POSITIVE_INFINITY);
  within("warmupRatio", options.warmupRatio ?? 0, 0, 1);
  within("adamBeta1", resolved.adamBeta1, 0, 1);
  within("adamBeta2", resolved.adamBeta2, 0, 1);
  if (!(resolved.maxGradNorm > 0)) throw new TrainingError(`maxGradNorm must be above 0, not ${resolved.maxGradNorm}.`);
  oneOf("lrSchedulerType", resolved.lrSchedulerType, ["linear", "cosine", "constant"]);
  if (typeof optimizer === "string") oneOf("optimizer", optimizer, optimizerNames);
  oneOf("offloadOptimizer", resolved.offloadOptimizer, ["none", "host", "disk"]);
  oneOf("precision", resolved.precision, ["float32", "int8"]);
  if (resolved.precision === "int8" && method !== "full") {
    throw new TrainingError(
      'precision "int8" is for training every weight; for an adapter, load the model with quantization: "int8".',
    );
  }
  if (options.loadBestModelAtEnd && !options.evalDataset) {
    throw new TrainingError("loadBestModelAtEnd needs an evalDataset to tell which model is best.");
  }
  whole("perDeviceEvalBatchSize", options.perDeviceEvalBatchSize ?? 1, 1);
  whole("warmupSteps", resolved.warmupSteps, 0);
  whole("evalSteps", resolved.evalSteps, 1);
  whole("saveSteps", resolved.saveSteps, 1);
  whole("saveTotalLimit", resolved.saveTotalLimit, 1);
  if (!Number.isSafeInteger(resolved.seed)) {
    throw new TrainingError(`seed must be a whole number, not ${resolved.seed}.`);
  }
  return resolved;
}

/** Steps in which every row of an epoch is seen once; the last one may have fewer rows. */
export const stepsOfEpoch = (rows: number, rowsOfStep: number): number => Math.max(1, Math.ceil(rows / rowsOfStep));

function defaultRate(optimizer: OptimizerName | Optimizer, method: string): number {
  if (typeof optimizer !== "string") return optimizer.rateAt(0);
  if (optimizer === "adamw" || optimizer === "adam") return method === "full" ? 2e-5 : 2e-4;
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

function oneOf(name: string, value: string, allowed: readonly string[]): void {
  if (allowed.includes(value)) return;
  throw new TrainingError(
    `${name} must be ${allowed.slice(0, -1).join(", ")} or ${allowed.at(-1)}, not ${String(value)}.`,
  );
}
