import { join } from "node:path";
import { epochOrder } from "../data/index.ts";
import { formatCount, notebook } from "../display/index.ts";
import { describeDevice, type Engine, readParameters, releaseParameters } from "../engine/index.ts";
import { type CausalLM, noteTraining } from "../models/index.ts";
import type { HostValue, Parameter } from "../tensor/index.ts";
import { activeRun, dataFolder, type Run, startRun } from "../track/index.ts";
import {
  checkpointFolder,
  checkpointFolders,
  loadCheckpoint,
  pruneCheckpoints,
  saveCheckpoint,
  stepOf,
  type TrainerState,
} from "./checkpoint.ts";
import { TrainingError } from "./error.ts";
import { logModel, logSetup } from "./log.ts";
import { TrainingMonitor } from "./monitor.ts";
import type { Collated } from "./objectives/objective.ts";
import { OffloadedUpdates } from "./offload.ts";
import { buildOptimizer, type Optimizer } from "./optimizers/index.ts";
import { type StepEvent, stepsOfEpoch, type TrainOptions } from "./options.ts";
import { type Plan, planTraining } from "./plan.ts";
import { scheduleMultiplier } from "./schedule.ts";
import { Stepper } from "./stepper.ts";

/** Result of {@link train}. */
export interface TrainResult {
  runId: string;
  steps: number;
  /** Training loss of the last step. */
  loss: number;
  /** Evaluation at the end, if there was an evalDataset. */
  evalLoss?: number;
  evalPerplexity?: number;
  /** Tokens with a loss that were trained on. */
  tokens: number;
  seconds: number;
  /** Tokens with a loss, per second. */
  tokensPerSecond: number;
  /** Folder of the newest checkpoint. */
  checkpoint: string;
  /** Folder of the best checkpoint, with loadBestModelAtEnd. */
  bestCheckpoint?: string;
}

/**
 * Trains a model in place. The run is logged, shown live and checkpointed, and can be interrupted and resumed. The loss of
 * a step is the mean over all its target tokens; each epoch visits every row once.
 *
 * An interrupt stops after the current step and writes a checkpoint; the model then holds the weights of that step. When
 * a loss is not finite, training stops too, and that step does not change the weights.
 *
 * @throws TrainingError when an option is invalid, the data is empty, the loss is not finite, or on interrupt
 * @example
 * await train(model, { trainDataset: rows, peftConfig: new LoraConfig({ r: 16 }), numTrainEpochs: 2 });
 */
export async function train(model: CausalLM, options: TrainOptions): Promise<TrainResult> {
  const plan = await planTraining(model, options);
  if (options.peftConfig && model.activeAdapter === undefined) {
    await model.addAdapter(options.peftConfig, { seed: plan.options.seed });
  }
  const training = await Training.begin(model, options, plan);
  return training.run();
}

class Training {
  readonly #model: CausalLM;
  readonly #trainOptions: TrainOptions;
  readonly #plan: Plan;
  readonly #run: Run;
  readonly #ownsRun: boolean;
  readonly #outputDir: string;
  readonly #monitor: TrainingMonitor;
  readonly #optimizer: Optimizer;
  readonly #initialRate: Optimizer["learningRate"];
  readonly #engine: Engine;
  readonly #trained: readonly Parameter[];
  #stepper: Stepper | undefined;
  #offloaded: OffloadedUpdates | undefined;
  #step = 0;
  #tokens = 0;
  #seconds = 0;
  #loss = Number.NaN;
  #best: TrainerState["best"] = null;
  #evaluation: { step: number; metrics: Record<string, number> } | undefined;
  /** Steps with a checkpoint of this training. */
  #saved: number[] = [];
  #writing: Promise<void> = Promise.resolve();

  private constructor(
    model: CausalLM,
    trainOptions: TrainOptions,
    plan: Plan,
    engine: Engine,
    run: { run: Run; owned: boolean },
  ) {
    this.#model = model;
    this.#trainOptions = trainOptions;
    this.#plan = plan;
    this.#engine = engine;
    this.#run = run.run;
    this.#ownsRun = run.owned;
    this.#outputDir = plan.outputDir ?? join(dataFolder(), "checkpoints", run.run.id);
    this.#monitor = new TrainingMonitor(run.run.name);
    this.#trained = model.parameters().filter(({ requiresGrad }) => requiresGrad);
    this.#optimizer = buildOptimizer(trainOptions.optimizer ?? "adamw", plan.options);
    this.#initialRate = this.#optimizer.learningRate;
  }

  static async begin(model: CausalLM, trainOptions: TrainOptions, plan: Plan): Promise<Training> {
    const { checkpoint, options } = plan;
    const engine = await model.engine();
    // Before a run is started, so that a checkpoint that does not fit leaves no open run.
    if (checkpoint) setValues(model, checkpoint.weights, checkpoint.folder);
    const current = activeRun();
    const run =
      current ??
      startRun({
        ...(trainOptions.runName ? { name: trainOptions.runName } : {}),
        ...(checkpoint ? { id: checkpoint.state.runId } : {}),
        ...(model.runId ? { tags: { "anneal.base_run_id": model.runId } } : {}),
      });
    const training = new Training(model, trainOptions, plan, engine, { run, owned: current === undefined });
    await releaseParameters(training.#optimizer.reset());
    if (checkpoint) await training.#restore(checkpoint);
    model.seedNoise(options.seed, training.#batchesDone());
    return training;
  }

  async #restore({ state, moments }: NonNullable<Plan["checkpoint"]>): Promise<void> {
    const { step, tokens, seconds, loss, best } = state;
    this.#step = step;
    this.#tokens = tokens;
    this.#seconds = seconds;
    this.#loss = loss;
    this.#best = best;
    this.#optimizer.loadState(this.#trained, moments, step);
    const folders = await checkpointFolders(this.#outputDir);
    this.#saved = folders.map(stepOf).filter((saved) => saved <= step);
  }

  async run(): Promise<TrainResult> {
    const { options, changes } = this.#plan;
    const signal = notebook()?.interruptSignal();
    const projections = [...this.#model.projections().values()];
    try {
      this.#model.train();
      this.#model.gradientCheckpointing = options.gradientCheckpointing;
      for (const layer of projections) layer.precision = options.precision;
      logSetup(this.#run, this.#model, this.#plan, { resumed: this.#step > 0, device: this.#engine.device });
      if (changes.length > 0) {
        process.stderr.write(`Resuming from step ${this.#step} with changes: ${changes.join(", ")}.\n`);
        this.#run.setTags({ "anneal.resumed_with": changes.join(", ") });
      }
      const { totalSteps } = options;
      const hadEnded = this.#step >= totalSteps;
      if (hadEnded) {
        process.stderr.write(
          `This training already ended at step ${this.#step} of ${totalSteps}, so nothing is trained. To continue it, increase numTrainEpochs or maxSteps; to start again, use another outputDir.\n`,
        );
      } else {
        this.#monitor.announce(`${this.#describeTrained()} · compiling for ${describeDevice(this.#engine.device)}…`);
      }
      await this.#loop(signal);
      await this.#writing;
      const result = await this.#finish(hadEnded ? "has already ended" : `done in ${this.#seconds.toFixed(1)} s`);
      if (this.#ownsRun) await this.#run.end("FINISHED");
      return result;
    } catch (error) {
      await this.#writing.catch(() => undefined);
      const interrupted = error instanceof TrainingError && signal?.aborted;
      this.#monitor.finish(interrupted ? "interrupted" : "failed");
      if (this.#ownsRun) await this.#run.end(interrupted ? "KILLED" : "FAILED");
      throw error;
    } finally {
      this.#model.eval();
      this.#model.gradientCheckpointing = false;
      for (const layer of projections) layer.precision = "float32";
      this.#optimizer.learningRate = this.#initialRate;
      await this.#stepper?.release();
      await releaseParameters(this.#optimizer.reset());
    }
  }

  async #loop(signal: AbortSignal | undefined): Promise<void> {
    const { totalSteps, evalSteps, saveSteps } = this.#plan.options;
    while (this.#step < totalSteps) {
      const event = await this.#trainStep();
      this.#trainOptions.onStep?.(event);
      const last = this.#step === totalSteps;
      let due = last || this.#step % saveSteps === 0;
      if (this.#plan.evalData && (last || this.#step % evalSteps === 0)) {
        const better = await this.#evaluate();
        if (better && this.#trainOptions.loadBestModelAtEnd) due = true;
      }
      if (due || signal?.aborted) await this.#save();
      if (signal?.aborted && !last) {
        await this.#writing;
        throw new TrainingError(
          `Stopped after step ${this.#step} of ${totalSteps}. The model holds the weights of that step; to resume, train again with resumeFromCheckpoint: true and outputDir: ${JSON.stringify(this.#outputDir)}.`,
        );
      }
    }
    // When resumed from a checkpoint of the last step, only the evaluation is left to do.
    if (this.#plan.evalData && this.#evaluation?.step !== this.#step) await this.#evaluate();
  }

  async #trainStep(): Promise<StepEvent> {
    const { options } = this.#plan;
    const { totalSteps, gradientAccumulationSteps, perDeviceTrainBatchSize } = options;
    const start = performance.now();
    const batches = Array.from({ length: gradientAccumulationSteps }, (_, k) => this.#batch(this.#step, k)).filter(
      // Batches of an epoch's last step may be empty.
      ({ weight }) => weight > 0,
    );
    const tokens = batches.reduce((sum, batch) => sum + batch.tokens, 0);
    const padding = batches.reduce((sum, batch) => sum + batch.padding, 0);
    this.#stepper ??= this.#openStepper(Object.keys(batches[0].tensors));
    this.#optimizer.learningRate = this.#learningRate(this.#step);
    const { loss, gradNorm, learningRate } = await this.#stepper.take(batches);
    const seconds = (performance.now() - start) / 1000;
    if (!Number.isFinite(loss) || !Number.isFinite(gradNorm)) await this.#notFinite(loss, gradNorm);
    this.#step++;
    this.#loss = loss;
    this.#seconds += seconds;
    this.#tokens += tokens;
    const tokensPerSecond = tokens / seconds;
    const paddingShare = padding / (batches.length * perDeviceTrainBatchSize * this.#plan.data.length);
    this.#run.logMetrics(
      {
        "train/loss": loss,
        "train/learning_rate": learningRate,
        "train/grad_norm": gradNorm,
        "system/tokens_per_second": tokensPerSecond,
        "system/padding_share": paddingShare,
      },
      this.#step,
    );
    const event = { step: this.#step, totalSteps, loss, learningRate, gradNorm, tokensPerSecond, paddingShare };
    this.#monitor.step({ ...event, rate: `${formatCount(tokensPerSecond)} tokens/s` });
    return event;
  }

  #describeTrained(): string {
    const { total, trainable } = this.#model.countParameters();
    const share = ((100 * trainable) / total).toPrecision(3);
    return `training ${formatCount(trainable)} of ${formatCount(total)} parameters (${share} %)`;
  }

  #openStepper(names: readonly string[]): Stepper {
    const { offloadOptimizer, perDeviceTrainBatchSize } = this.#plan.options;
    const engine = this.#engine;
    if (offloadOptimizer !== "none") {
      const folder = offloadOptimizer === "disk" ? join(this.#outputDir, ".optimizer") : undefined;
      this.#offloaded = new OffloadedUpdates(this.#optimizer, this.#trained, engine, folder);
    }
    return new Stepper(this.#model, this.#plan.objective as never, this.#optimizer, names, {
      engine,
      title: `${perDeviceTrainBatchSize} x ${this.#plan.data.length} tokens`,
      offloaded: this.#offloaded,
    });
  }

  /** Saves a checkpoint of the last finite step, and throws. */
  async #notFinite(loss: number, gradNorm: number): Promise<never> {
    if (this.#step > 0 && !this.#saved.includes(this.#step)) await this.#save();
    await this.#writing;
    throw new TrainingError(
      `The loss became ${loss} (gradient norm ${gradNorm}) at step ${this.#step + 1}; the model holds the weights before it. Lower learningRate (now ${this.#plan.options.learningRate}) or raise warmupSteps, and resume with resumeFromCheckpoint: true and outputDir: ${JSON.stringify(this.#outputDir)}, or start a new run.`,
    );
  }

  #learningRate(step: number): number {
    const { learningRate, lrSchedulerType, totalSteps, warmupSteps } = this.#plan.options;
    // An optimizer instance may have its own schedule.
    if (this.#trainOptions.learningRate === undefined && typeof this.#initialRate === "function")
      return this.#initialRate(step);
    return learningRate * scheduleMultiplier(lrSchedulerType, step, totalSteps, warmupSteps);
  }

  /** Returns the k-th batch of a step: each epoch visits all rows once, in its own order. */
  #batch(step: number, k: number): Collated {
    const { data, objective, options } = this.#plan;
    const { perDeviceTrainBatchSize: size, gradientAccumulationSteps, seed } = options;
    const perEpoch = stepsOfEpoch(data.rows.length, size * gradientAccumulationSteps);
    const first = ((step % perEpoch) * gradientAccumulationSteps + k) * size;
    const order = this.#order(Math.floor(step / perEpoch), seed);
    const rows = Array.from(order.subarray(first, first + size), (i) => data.rows[i]);
    return objective.collate(rows, this.#model, { size, length: data.length });
  }

  /** Returns the number of batches in the finished steps: an epoch's last step may have fewer than the others. */
  #batchesDone(): number {
    const { perDeviceTrainBatchSize: size, gradientAccumulationSteps } = this.#plan.options;
    const rows = this.#plan.data.rows.length;
    const perEpoch = stepsOfEpoch(rows, size * gradientAccumulationSteps);
    const epochs = Math.floor(this.#step / perEpoch);
    return epochs * Math.ceil(rows / size) + (this.#step % perEpoch) * gradientAccumulationSteps;
  }

  #orders = new Map<number, Int32Array>();

  #order(epoch: number, seed: number): Int32Array {
    const rowOrder = this.#orders.get(epoch) ?? epochOrder(this.#plan.data.rows.length, seed, epoch);
    if (!this.#orders.has(epoch)) this.#orders = new Map([[epoch, rowOrder]]);
    return rowOrder;
  }

  /** Evaluates the model, and returns whether it is the best so far. */
  async #evaluate(): Promise<boolean> {
    const { evalData, objective, options } = this.#plan;
    if (!evalData) return false;
    this.#model.eval();
    const batchSize = this.#trainOptions.perDeviceEvalBatchSize ?? options.perDeviceTrainBatchSize;
    const metrics = await objective.evaluate(this.#model, evalData, { batchSize });
    this.#model.train();
    this.#evaluation = { step: this.#step, metrics };
    this.#run.logMetrics(
      Object.fromEntries(Object.entries(metrics).map(([key, value]) => [`eval/${key}`, value])),
      this.#step,
    );
    this.#monitor.evaluated(this.#step, metrics.loss);
    const name = (this.#trainOptions.metricForBestModel ?? "loss").replace(/^eval[_/]/, "");
    const value = metrics[name];
    if (value === undefined) {
      throw new TrainingError(
        `metricForBestModel ${name} is not a metric of the evaluation; available: ${Object.keys(metrics).join(", ")}.`,
      );
    }
    const up = this.#trainOptions.greaterIsBetter ?? !/loss|perplexity/.test(name);
    const better = this.#best === null || (up ? value > this.#best.value : value < this.#best.value);
    if (better) this.#best = { step: this.#step, value };
    return better;
  }

  /** Copies the trained state, and writes it while the next steps run. */
  async #save(): Promise<void> {
    // Only one copy at a time.
    await this.#writing;
    const weights = await this.#values();
    const moments = await (this.#offloaded?.state() ?? readAll(this.#optimizer.stateParameters()));
    const adapter = this.#model.activeAdapter;
    const state: TrainerState = {
      step: this.#step,
      options: this.#plan.options,
      dataDigest: this.#plan.data.digest,
      runId: this.#run.id,
      tokens: this.#tokens,
      seconds: this.#seconds,
      loss: this.#loss,
      metrics: this.#evaluation?.step === this.#step ? this.#evaluation.metrics : null,
      best: this.#best,
      adapter: adapter === undefined ? null : (this.#model.adapters.get(adapter)?.config.toFile("") ?? null),
    };
    this.#writing = this.#write(state, weights, moments);
    // The promise is awaited later; this prevents an unhandled rejection until then.
    this.#writing.catch(() => undefined);
  }

  async #write(
    state: TrainerState,
    weights: Record<string, HostValue>,
    moments: Record<string, HostValue>,
  ): Promise<void> {
    const { step } = state;
    const folder = await saveCheckpoint(this.#outputDir, state, weights, moments).catch((error: Error) => {
      const before = this.#saved.at(-1);
      const rest =
        before === undefined ? "" : ` The newest valid checkpoint is ${checkpointFolder(this.#outputDir, before)}.`;
      throw new TrainingError(`The checkpoint of step ${step} was not written: ${error.message}${rest}`);
    });
    this.#run.logArtifact(folder, `checkpoints/step-${step}`);
    this.#run.setTags({
      "anneal.checkpoint": `checkpoints/step-${step}`,
      "anneal.checkpoint.loss": String(state.loss),
    });
    const savedSteps = [...this.#saved.filter((other) => other !== step), step];
    const best = this.#trainOptions.loadBestModelAtEnd ? state.best?.step : undefined;
    this.#saved = await pruneCheckpoints(this.#outputDir, savedSteps, this.#plan.options.saveTotalLimit, best);
  }

  async #values(): Promise<Record<string, HostValue>> {
    return readAll(new Map(this.#trained.map((parameter) => [parameter.title, parameter])));
  }

  /** @param status how the training ended, for the last progress line */
  async #finish(status: string): Promise<TrainResult> {
    const best = this.#trainOptions.loadBestModelAtEnd ? this.#best : null;
    if (best && best.step !== this.#step) {
      const { weights, folder, state } = await loadCheckpoint(checkpointFolder(this.#outputDir, best.step));
      setValues(this.#model, weights, folder);
      if (state.metrics) this.#evaluation = { step: best.step, metrics: state.metrics };
    }
    this.#model.runId = this.#run.id;
    noteTraining(this.#model, this.#plan.data);
    this.#run.logMetrics({ "system/train_seconds": this.#seconds }, this.#step);
    this.#run.setTags({
      "anneal.total_tokens": String(this.#tokens),
      ...(best ? { "anneal.best_step": String(best.step) } : {}),
    });
    this.#model.eval();
    await logModel(this.#run, this.#model).catch((error: Error) => {
      process.stderr.write(
        `The model is trained, but could not be logged to its run: ${error.message} Save it with model.save(folder).\n`,
      );
    });
    this.#monitor.finish(status);
    const evalLoss = this.#evaluation?.metrics.loss;
    return {
      runId: this.#run.id,
      steps: this.#step,
      loss: this.#loss,
      ...(evalLoss === undefined ? {} : { evalLoss, evalPerplexity: Math.exp(evalLoss) }),
      tokens: this.#tokens,
      seconds: this.#seconds,
      tokensPerSecond: this.#tokens / this.#seconds,
      checkpoint: checkpointFolder(this.#outputDir, this.#step),
      ...(best ? { bestCheckpoint: checkpointFolder(this.#outputDir, best.step) } : {}),
    };
  }
}

async function readAll(parameters: ReadonlyMap<string, Parameter>): Promise<Record<string, HostValue>> {
  const values = await readParameters([...parameters.values()]);
  return Object.fromEntries([...parameters.keys()].map((name, i) => [name, values[i]]));
}

/** Sets the trained parameters to the values of a checkpoint. */
function setValues(model: CausalLM, values: Readonly<Record<string, HostValue>>, folder: string): void {
  const parameters = model.parameters().filter(({ requiresGrad }) => requiresGrad);
  const wrong = parameters.find(({ title, size }) => values[title]?.data.length !== size);
  if (wrong)
    throw new TrainingError(`${folder} does not fit the model: it has no ${wrong.title} of shape [${wrong.shape}].`);
  for (const parameter of parameters) parameter.set(values[parameter.title].data);
}
