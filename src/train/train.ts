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

/** What a training came to. */
export interface TrainResult {
  runId: string;
  steps: number;
  /** Training loss of the last step. */
  loss: number;
  /** Evaluation at the end, when there was an evalDataset. */
  evalLoss?: number;
  evalPerplexity?: number;
  /** Tokens trained on: those with a loss. */
  tokens: number;
  seconds: number;
  /** Tokens trained on in a second. */
  tokensPerSecond: number;
  /** Newest checkpoint. */
  checkpoint: string;
  /** The checkpoint that was best, when loadBestModelAtEnd was asked for. */
  bestCheckpoint?: string;
}

/**
 * Train a model in place: with no code for it, the run is logged, shown live, checkpointed, and can be interrupted and
 * resumed. The loss of a step is the mean over all its target tokens; every row of an epoch is seen once.
 *
 * Interrupting stops after the current step with a checkpoint written; the model then holds the weights of that step. So
 * it does when a loss is no number: that step changes nothing.
 *
 * @throws TrainingError when an option is wrong, the data is empty, the loss is no number any more, or on interrupt
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
  readonly #given: TrainOptions;
  readonly #plan: Plan;
  readonly #run: Run;
  readonly #ownsRun: boolean;
  readonly #outputDir: string;
  readonly #monitor: TrainingMonitor;
  readonly #optimizer: Optimizer;
  readonly #usualRate: Optimizer["learningRate"];
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
  /** Steps that this training saved. */
  #saved: number[] = [];
  #writing: Promise<void> = Promise.resolve();

  private constructor(
    model: CausalLM,
    given: TrainOptions,
    plan: Plan,
    engine: Engine,
    run: { run: Run; owned: boolean },
  ) {
    this.#model = model;
    this.#given = given;
    this.#plan = plan;
    this.#engine = engine;
    this.#run = run.run;
    this.#ownsRun = run.owned;
    this.#outputDir = plan.outputDir ?? join(dataFolder(), "checkpoints", run.run.id);
    this.#monitor = new TrainingMonitor(run.run.name);
    this.#trained = model.parameters().filter(({ requiresGrad }) => requiresGrad);
    this.#optimizer = buildOptimizer(given.optimizer ?? "adamw", plan.options);
    this.#usualRate = this.#optimizer.learningRate;
  }

  static async begin(model: CausalLM, given: TrainOptions, plan: Plan): Promise<Training> {
    const { checkpoint, options } = plan;
    const engine = await model.engine();
    // Before there is a run: a checkpoint that does not fit leaves none open.
    if (checkpoint) setValues(model, checkpoint.weights, checkpoint.folder);
    const current = activeRun();
    const run =
      current ??
      startRun({
        ...(given.runName ? { name: given.runName } : {}),
        ...(checkpoint ? { id: checkpoint.state.runId } : {}),
        ...(model.runId ? { tags: { "anneal.base_run_id": model.runId } } : {}),
      });
    const training = new Training(model, given, plan, engine, { run, owned: current === undefined });
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
        process.stderr.write(`Going on from step ${this.#step} with changes: ${changes.join(", ")}.\n`);
        this.#run.setTags({ "anneal.resumed_with": changes.join(", ") });
      }
      const { totalSteps } = options;
      const hadEnded = this.#step >= totalSteps;
      if (hadEnded) {
        process.stderr.write(
          `This training has already ended, at step ${this.#step} of ${totalSteps}: nothing is trained. More numTrainEpochs or maxSteps go on with it; another outputDir begins anew.\n`,
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
      this.#optimizer.learningRate = this.#usualRate;
      await this.#stepper?.release();
      await releaseParameters(this.#optimizer.reset());
    }
  }

  async #loop(signal: AbortSignal | undefined): Promise<void> {
    const { totalSteps, evalSteps, saveSteps } = this.#plan.options;
    while (this.#step < totalSteps) {
      const event = await this.#trainStep();
      this.#given.onStep?.(event);
      const last = this.#step === totalSteps;
      let due = last || this.#step % saveSteps === 0;
      if (this.#plan.evalData && (last || this.#step % evalSteps === 0)) {
        const better = await this.#evaluate();
        if (better && this.#given.loadBestModelAtEnd) due = true;
      }
      if (due || signal?.aborted) await this.#save();
      if (signal?.aborted && !last) {
        await this.#writing;
        throw new TrainingError(
          `Stopped after step ${this.#step} of ${totalSteps}. The model holds the weights of that step; to go on, train again with resumeFromCheckpoint: true and outputDir: ${JSON.stringify(this.#outputDir)}.`,
        );
      }
    }
    // A checkpoint of the last step leaves nothing to train; what is asked for at the end is still measured.
    if (this.#plan.evalData && this.#evaluation?.step !== this.#step) await this.#evaluate();
  }

  async #trainStep(): Promise<StepEvent> {
    const { options } = this.#plan;
    const { totalSteps, gradientAccumulationSteps, perDeviceTrainBatchSize } = options;
    const start = performance.now();
    const batches = Array.from({ length: gradientAccumulationSteps }, (_, k) => this.#batch(this.#step, k)).filter(
      // Of an epoch's last step some batches may be empty.
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

  /** The step changed nothing: keep a checkpoint of what was before it, and stop. */
  async #notFinite(loss: number, gradNorm: number): Promise<never> {
    if (this.#step > 0 && !this.#saved.includes(this.#step)) await this.#save();
    await this.#writing;
    throw new TrainingError(
      `The loss became ${loss} (gradient norm ${gradNorm}) at step ${this.#step + 1}; the model holds the weights from before it. Lower learningRate (now ${this.#plan.options.learningRate}) or raise warmupSteps, and go on with resumeFromCheckpoint: true and outputDir: ${JSON.stringify(this.#outputDir)}, or train anew.`,
    );
  }

  #learningRate(step: number): number {
    const { learningRate, lrSchedulerType, totalSteps, warmupSteps } = this.#plan.options;
    // An optimizer made by hand may bring a schedule of its own.
    if (this.#given.learningRate === undefined && typeof this.#usualRate === "function") return this.#usualRate(step);
    return learningRate * scheduleMultiplier(lrSchedulerType, step, totalSteps, warmupSteps);
  }

  /** The k-th batch of a step: each epoch goes through all rows once, in an order of its own. */
  #batch(step: number, k: number): Collated {
    const { data, objective, options } = this.#plan;
    const { perDeviceTrainBatchSize: size, gradientAccumulationSteps, seed } = options;
    const perEpoch = stepsOfEpoch(data.rows.length, size * gradientAccumulationSteps);
    const first = ((step % perEpoch) * gradientAccumulationSteps + k) * size;
    const order = this.#order(Math.floor(step / perEpoch), seed);
    const rows = Array.from(order.subarray(first, first + size), (i) => data.rows[i]);
    return objective.collate(rows, this.#model, { size, length: data.length });
  }

  /** Batches of the steps that are done: an epoch's last step may have fewer than the others. */
  #batchesDone(): number {
    const { perDeviceTrainBatchSize: size, gradientAccumulationSteps } = this.#plan.options;
    const rows = this.#plan.data.rows.length;
    const perEpoch = stepsOfEpoch(rows, size * gradientAccumulationSteps);
    const epochs = Math.floor(this.#step / perEpoch);
    return epochs * Math.ceil(rows / size) + (this.#step % perEpoch) * gradientAccumulationSteps;
  }

  #orders = new Map<number, Int32Array>();

  #order(epoch: number, seed: number): Int32Array {
    const known = this.#orders.get(epoch) ?? epochOrder(this.#plan.data.rows.length, seed, epoch);
    if (!this.#orders.has(epoch)) this.#orders = new Map([[epoch, known]]);
    return known;
  }

  /** Measure, and tell whether it is the best so far. */
  async #evaluate(): Promise<boolean> {
    const { evalData, objective, options } = this.#plan;
    if (!evalData) return false;
    this.#model.eval();
    const batchSize = this.#given.perDeviceEvalBatchSize ?? options.perDeviceTrainBatchSize;
    const metrics = await objective.evaluate(this.#model, evalData, { batchSize });
    this.#model.train();
    this.#evaluation = { step: this.#step, metrics };
    this.#run.logMetrics(
      Object.fromEntries(Object.entries(metrics).map(([key, value]) => [`eval/${key}`, value])),
      this.#step,
    );
    this.#monitor.evaluated(this.#step, metrics.loss);
    const name = (this.#given.metricForBestModel ?? "loss").replace(/^eval[_/]/, "");
    const value = metrics[name];
    if (value === undefined) {
      throw new TrainingError(
        `metricForBestModel ${name} is not measured; there are ${Object.keys(metrics).join(", ")}.`,
      );
    }
    const up = this.#given.greaterIsBetter ?? !/loss|perplexity/.test(name);
    const better = this.#best === null || (up ? value > this.#best.value : value < this.#best.value);
    if (better) this.#best = { step: this.#step, value };
    return better;
  }

  /** Copy what is trained, and write it while the next steps run. */
  async #save(): Promise<void> {
    // One copy at a time.
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
    // It is waited for later; until then its failure belongs to nobody.
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
        before === undefined ? "" : ` The newest whole checkpoint is ${checkpointFolder(this.#outputDir, before)}.`;
      throw new TrainingError(`The checkpoint of step ${step} was not written: ${error.message}${rest}`);
    });
    this.#run.logArtifact(folder, `checkpoints/step-${step}`);
    this.#run.setTags({
      "anneal.checkpoint": `checkpoints/step-${step}`,
      "anneal.checkpoint.loss": String(state.loss),
    });
    const own = [...this.#saved.filter((other) => other !== step), step];
    const best = this.#given.loadBestModelAtEnd ? state.best?.step : undefined;
    this.#saved = await pruneCheckpoints(this.#outputDir, own, this.#plan.options.saveTotalLimit, best);
  }

  async #values(): Promise<Record<string, HostValue>> {
    return readAll(new Map(this.#trained.map((parameter) => [parameter.title, parameter])));
  }

  /** @param how the training ended, for the last line that is shown */
  async #finish(how: string): Promise<TrainResult> {
    const best = this.#given.loadBestModelAtEnd ? this.#best : null;
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
        `The model is trained, and not kept with its run: ${error.message} Save it by model.save(folder).\n`,
      );
    });
    this.#monitor.finish(how);
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

/** Give the trained parameters the values of a checkpoint. */
function setValues(model: CausalLM, values: Readonly<Record<string, HostValue>>, folder: string): void {
  const parameters = model.parameters().filter(({ requiresGrad }) => requiresGrad);
  const wrong = parameters.find(({ title, size }) => values[title]?.data.length !== size);
  if (wrong)
    throw new TrainingError(`${folder} does not fit the model: it has no ${wrong.title} of shape [${wrong.shape}].`);
  for (const parameter of parameters) parameter.set(values[parameter.title].data);
}
