import { join, resolve } from "node:path";
import { type Batch, collate, type Example, epochOrder, pack, type TokenizedDataset } from "../data/index.ts";
import { formatCount, notebook } from "../display/index.ts";
import { type CompiledProgram, describeDevice } from "../engine/index.ts";
import { type AdapterOptions, batchInputs, type LanguageModel, measureTokens } from "../models/index.ts";
import type { LoraConfig } from "../nn/index.ts";
import { activeRun, dataFolder, type Run, startRun } from "../track/index.ts";
import { type Checkpoint, checkpointFolder, newestCheckpoint, saveCheckpoint } from "./checkpoint.ts";
import { logModel, logSetup } from "./log.ts";
import { TrainingMonitor } from "./monitor.ts";
import { buildOptimizer, type Optimizer } from "./optimizers/index.ts";
import {
  changeable,
  type ResolvedOptions,
  resolveOptions,
  type StepEvent,
  TrainingError,
  type TrainOptions,
} from "./options.ts";
import { accumulateProgram, accumulatorNames, initialAccumulators, stepProgram } from "./programs.ts";
import { scheduleMultiplier } from "./schedule.ts";

/** What a training came to. */
export interface TrainResult {
  runId: string;
  steps: number;
  /** Training loss of the last step. */
  loss: number;
  /** Validation loss and perplexity at the end, when there was validation data. */
  evalLoss?: number;
  evalPerplexity?: number;
  /** Target tokens trained on. */
  tokens: number;
  seconds: number;
  tokensPerSecond: number;
  /** Newest checkpoint. */
  checkpoint: string;
}

/**
 * Train a model in place: with no code for it, the run is logged, shown live, checkpointed, and can be interrupted and
 * resumed. The loss of a step is the mean over all its target tokens.
 *
 * Interrupting stops after the current step with a checkpoint written; the model then holds the weights of that step.
 *
 * @throws TrainingError when an option is wrong, the data is empty, the loss is no number any more, or on interrupt
 * @example
 * const result = await train(model, { trainData, evalData, method: "lora", numEpochs: 2 });
 */
export async function train(model: LanguageModel, options: TrainOptions): Promise<TrainResult> {
  const trainer = await Trainer.prepare(model, options);
  return trainer.run();
}

/** Longest row that is taken by default. */
const defaultLongest = 512;

class Trainer {
  readonly #model: LanguageModel;
  readonly #options: ResolvedOptions;
  readonly #given: TrainOptions;
  readonly #rows: readonly (readonly Example[])[];
  readonly #run: Run;
  readonly #ownsRun: boolean;
  readonly #outputDir: string;
  readonly #monitor: TrainingMonitor;
  readonly #optimizer: Optimizer;
  #program: CompiledProgram | undefined;
  #accumulate: CompiledProgram | undefined;
  #step = 0;
  #tokens = 0;
  #seconds = 0;
  #loss = Number.NaN;

  private constructor(
    model: LanguageModel,
    given: TrainOptions,
    options: ResolvedOptions,
    rows: readonly (readonly Example[])[],
    run: { run: Run; owned: boolean },
    outputDir: string,
  ) {
    this.#model = model;
    this.#given = given;
    this.#options = options;
    this.#rows = rows;
    this.#run = run.run;
    this.#ownsRun = run.owned;
    this.#outputDir = outputDir;
    this.#monitor = new TrainingMonitor(run.run.name);
    this.#optimizer = buildOptimizer(given.optimizer ?? "adamw", options);
  }

  /** Check everything that can be checked before anything is changed. */
  static async prepare(model: LanguageModel, given: TrainOptions): Promise<Trainer> {
    const { examples } = given.trainData;
    if (examples.length === 0) throw new TrainingError(`The training data ${given.trainData.name} is empty.`);
    if (given.evalData?.examples.length === 0)
      throw new TrainingError(`The validation data ${given.evalData.name} is empty.`);
    const longest = Math.max(...examples.map(({ inputIds }) => inputIds.length));
    const length = given.maxSeqLength ?? Math.min(longest, defaultLongest, model.config.maxPositionEmbeddings);
    if (!Number.isInteger(length) || length < 2 || length > model.config.maxPositionEmbeddings) {
      throw new TrainingError(
        `maxSeqLength must be from 2 to the model's ${model.config.maxPositionEmbeddings} positions, not ${length}.`,
      );
    }
    const seed = given.seed ?? 42;
    const order = epochOrder(examples.length, seed, -1);
    const rows = given.packing
      ? pack(
          Array.from(order, (i) => examples[i]),
          length,
        )
      : examples.map((example) => [example]);
    const quantization = given.quantization ?? model.quantization;
    const options = resolveOptions({ ...given, ...(quantization ? { quantization } : {}) }, length, rows.length);
    if (given.resume && given.outputDir === undefined)
      throw new TrainingError("resume needs the outputDir that holds the checkpoints.");
    // A run that is done again to compare begins at the first step, and leaves alone what the recorded one saved.
    const again = process.env.ANNEAL_RERUN_OF !== undefined;
    const outputDir = given.outputDir === undefined || again ? undefined : resolve(given.outputDir);
    const checkpoint = given.resume && outputDir ? await newestCheckpoint(outputDir) : undefined;
    if (checkpoint) checkAgreement(checkpoint, options, given.trainData);

    if (options.method === "full" && model.adapter) {
      throw new TrainingError("The model carries an adapter; merge() it before training every weight.");
    }
    if (options.method === "full" && quantization) {
      throw new TrainingError(
        'Quantised weights cannot be trained: use method "lora", or load the model without quantization.',
      );
    }
    if (options.precision === "int8" && model.engine.device.name !== "cpu") {
      throw new TrainingError(`precision "int8" is for device "cpu"; this model is on ${model.engine.device.name}.`);
    }
    if (quantization) await model.quantize(quantization);
    if (options.method === "lora") {
      if (model.adapter) checkAdapter(model.adapter, given.lora);
      else await model.addAdapter(given.lora, options.seed);
    }
    // Before there is a run: a checkpoint that does not fit leaves none open.
    if (checkpoint) await restore(model, checkpoint);
    const current = activeRun();
    const run =
      current ??
      startRun({
        ...(given.runName ? { name: given.runName } : {}),
        ...(checkpoint ? { id: checkpoint.state.runId } : {}),
        ...(model.runId ? { tags: { "anneal.base_run_id": model.runId } } : {}),
      });
    const folder = outputDir ?? join(dataFolder(), "checkpoints", run.id);
    const trainer = new Trainer(model, given, options, rows, { run, owned: current === undefined }, folder);
    if (checkpoint) {
      const { step, tokens, seconds, loss } = checkpoint.state;
      trainer.#step = step;
      trainer.#tokens = tokens;
      trainer.#seconds = seconds;
      trainer.#loss = loss;
    }
    return trainer;
  }

  async run(): Promise<TrainResult> {
    const signal = notebook()?.interruptSignal();
    try {
      logSetup(this.#run, this.#model, this.#given, this.#options, this.#rows.length, this.#step > 0);
      this.#monitor.announce(`compiling for ${describeDevice(this.#model.engine.device)}…`);
      await this.#compile();
      const evaluation = await this.#loop(signal);
      const result = await this.#finish(evaluation);
      if (this.#ownsRun) await this.#run.end("FINISHED");
      return result;
    } catch (error) {
      const interrupted = error instanceof TrainingError && signal?.aborted;
      this.#monitor.finish(interrupted ? "interrupted" : "failed");
      if (this.#ownsRun) await this.#run.end(interrupted ? "KILLED" : "FAILED");
      throw error;
    } finally {
      await this.#release();
    }
  }

  async #loop(signal: AbortSignal | undefined): Promise<number | undefined> {
    const { totalSteps, evalSteps, saveSteps } = this.#options;
    let evaluation: number | undefined;
    while (this.#step < totalSteps) {
      const event = await this.#trainStep();
      this.#given.onStep?.(event);
      const last = this.#step === totalSteps;
      if (this.#given.evalData && (last || this.#step % evalSteps === 0)) evaluation = await this.#evaluate();
      const due = last || this.#step % saveSteps === 0;
      if (due) await this.#save();
      if (signal?.aborted && !last) {
        if (!due) await this.#save();
        throw new TrainingError(
          `Stopped after step ${this.#step} of ${totalSteps}. The model holds the weights of that step; to go on, train again with resume: true and outputDir: ${JSON.stringify(this.#outputDir)}.`,
        );
      }
    }
    // A checkpoint of the last step leaves nothing to train; what is asked for at the end is still measured.
    return this.#given.evalData ? (evaluation ?? this.#evaluate()) : undefined;
  }

  async #trainStep(): Promise<StepEvent> {
    const { gradientAccumulationSteps, totalSteps } = this.#options;
    const start = performance.now();
    const batches = Array.from({ length: gradientAccumulationSteps }, (_, k) => this.#batch(this.#step, k));
    const tokens = batches.reduce((sum, batch) => sum + batch.tokens, 0);
    if (tokens === 0) {
      throw new TrainingError(
        `Step ${this.#step + 1} has no token to learn from: every label is -100, or cut off by maxSeqLength ${this.#options.maxSeqLength}.`,
      );
    }
    const learningRate = this.#learningRate(this.#step);
    const lossScale = Float32Array.of(1 / tokens);
    const step = { ...this.#optimizer.inputsAt(this.#step, learningRate), lossScale };
    const { state } = this.#model;
    let loss = 0;
    for (const [k, batch] of batches.slice(0, -1).entries()) {
      const inputs = { ...batchInputs(batch), lossScale, keep: Uint8Array.of(k === 0 ? 0 : 1) };
      loss += (await this.#accumulate?.run(inputs, state))?.loss[0] ?? 0;
    }
    const last = batches[batches.length - 1];
    const outputs = await (this.#program as CompiledProgram).run({ ...batchInputs(last), ...step }, state);
    loss += outputs.loss[0];
    const gradNorm = outputs.gradNorm[0];
    this.#step++;
    this.#loss = loss;
    const seconds = (performance.now() - start) / 1000;
    this.#seconds += seconds;
    this.#tokens += tokens;
    const tokensPerSecond = (gradientAccumulationSteps * last.batch * last.length) / seconds;
    this.#run.logMetrics(
      {
        "train/loss": loss,
        "train/learning_rate": learningRate,
        "train/grad_norm": gradNorm,
        "system/tokens_per_second": tokensPerSecond,
      },
      this.#step,
    );
    const event = { step: this.#step, totalSteps, loss, learningRate, gradNorm, tokensPerSecond };
    this.#monitor.step({ ...event, rate: `${formatCount(tokensPerSecond)} tokens/s` });
    if (!Number.isFinite(loss) || !Number.isFinite(gradNorm)) {
      throw new TrainingError(
        `The loss became ${loss} (gradient norm ${gradNorm}) at step ${this.#step}. Lower learningRate (now ${this.#options.learningRate}) or raise warmupSteps; earlier checkpoints are in ${this.#outputDir}.`,
      );
    }
    return event;
  }

  #learningRate(step: number): number {
    const { learningRate, lrScheduler, totalSteps, warmupSteps } = this.#options;
    return learningRate * scheduleMultiplier(lrScheduler, step, totalSteps, warmupSteps);
  }

  /** The k-th batch of a step: the stream of rows runs through epoch after epoch, each in an order of its own. */
  #batch(step: number, k: number): Batch {
    const { perDeviceBatchSize: size, gradientAccumulationSteps, maxSeqLength, seed } = this.#options;
    const first = (step * gradientAccumulationSteps + k) * size;
    const rows = Array.from({ length: size }, (_, i) => {
      const at = first + i;
      const epoch = Math.floor(at / this.#rows.length);
      return this.#rows[this.#order(epoch, seed)[at % this.#rows.length]];
    });
    return collate(rows, maxSeqLength, this.#model.config.padTokenId ?? 0);
  }

  #orders = new Map<number, Int32Array>();

  #order(epoch: number, seed: number): Int32Array {
    const known = this.#orders.get(epoch);
    if (known) return known;
    const order = epochOrder(this.#rows.length, seed, epoch);
    this.#orders.delete(epoch - 2);
    this.#orders.set(epoch, order);
    return order;
  }

  async #evaluate(): Promise<number> {
    const { perDeviceBatchSize: batchSize, maxSeqLength } = this.#options;
    const data = this.#given.evalData as TokenizedDataset;
    // Rows are as long as the longest example, not as a packed row: nothing is spent on padding.
    const longest = Math.max(...data.examples.map(({ inputIds }) => inputIds.length));
    const length = Math.min(maxSeqLength, Math.ceil(longest / 16) * 16);
    const { loss, perplexity } = await measureTokens(this.#model, data, { batchSize, length });
    this.#run.logMetrics({ "eval/loss": loss, "eval/perplexity": perplexity }, this.#step);
    this.#monitor.evaluated(this.#step, loss);
    return loss;
  }

  async #compile(): Promise<void> {
    const {
      perDeviceBatchSize: batch,
      maxSeqLength: length,
      gradientAccumulationSteps,
      gradientCheckpointing,
      precision,
    } = this.#options;
    const names = this.#model.trainableNames();
    const shapes = this.#model.parameterShapes();
    const trained = new Map(names.map((name) => [name, shapes.get(name) ?? []]));
    if (this.#step === 0) await this.#model.state.write(this.#optimizer.initialState(trained), { transfer: true });
    const accumulated = gradientAccumulationSteps > 1;
    if (accumulated) {
      await this.#model.state.write(initialAccumulators(trained), { transfer: true });
      this.#accumulate = await this.#model.engine.compile(
        accumulateProgram(this.#model, batch, length, { gradientCheckpointing, precision }),
      );
    }
    this.#program = await this.#model.engine.compile(
      stepProgram(this.#model, batch, length, {
        optimizer: this.#optimizer,
        accumulated,
        gradientCheckpointing,
        precision,
      }),
    );
  }

  async #save(): Promise<string> {
    const names = this.#model.trainableNames();
    const state = {
      step: this.#step,
      options: this.#options,
      dataDigest: this.#given.trainData.digest,
      runId: this.#run.id,
      tokens: this.#tokens,
      seconds: this.#seconds,
      loss: this.#loss,
      adapter: this.#model.adapter ?? null,
    };
    const [weights, moments] = [await this.#model.weights(names), await this.#model.state.read(this.#kept())];
    const folder = await saveCheckpoint(this.#outputDir, state, weights, moments, this.#options.saveTotalLimit);
    this.#run.logArtifact(folder, `checkpoints/step-${this.#step}`);
    this.#run.setTags({
      "anneal.checkpoint": `checkpoints/step-${this.#step}`,
      "anneal.checkpoint.loss": String(this.#loss),
    });
    return folder;
  }

  async #finish(evalLoss: number | undefined): Promise<TrainResult> {
    this.#model.runId = this.#run.id;
    const tokensPerSecond = this.#tokens / this.#seconds;
    this.#run.logMetrics({ "system/train_seconds": this.#seconds }, this.#step);
    this.#run.setTags({ "anneal.total_tokens": String(this.#tokens) });
    await logModel(this.#run, this.#model);
    this.#monitor.finish(`done in ${this.#seconds.toFixed(1)} s`);
    return {
      runId: this.#run.id,
      steps: this.#step,
      loss: this.#loss,
      ...(evalLoss === undefined ? {} : { evalLoss, evalPerplexity: Math.exp(evalLoss) }),
      tokens: this.#tokens,
      seconds: this.#seconds,
      tokensPerSecond,
      checkpoint: checkpointFolder(this.#outputDir, this.#step),
    };
  }

  /** Names of what the optimizer keeps. */
  #kept(): string[] {
    const shapes = this.#model.parameterShapes();
    return this.#model
      .trainableNames()
      .flatMap((name) => Object.values(this.#optimizer.slotNames(name, shapes.get(name) ?? [])));
  }

  /** Give back what only training needs; the model keeps its weights. */
  async #release(): Promise<void> {
    const names = this.#model.trainableNames();
    await this.#program?.release();
    await this.#accumulate?.release();
    await this.#model.state.remove([...this.#kept(), ...accumulatorNames(names)]);
  }
}

/** Settings given for an adapter that is there already would have no effect: better to say so. */
function checkAdapter(adapter: LoraConfig, given: AdapterOptions = {}): void {
  for (const [key, value] of Object.entries(given)) {
    const carried = adapter[key as keyof LoraConfig];
    if (value === undefined || JSON.stringify(carried ?? false) === JSON.stringify(value)) continue;
    throw new TrainingError(
      `The model carries an adapter with ${key} ${carried}, not ${value}. Train that one further without lora, merge() it, or load the model anew.`,
    );
  }
}

/** Put a model where a checkpoint left it. */
async function restore(model: LanguageModel, { folder, state, weights, moments }: Checkpoint): Promise<void> {
  const [before, now] = [state.adapter, model.adapter ?? null].map((adapter) => JSON.stringify(adapter));
  if (state.adapter !== undefined && before !== now) {
    throw new TrainingError(
      `${folder} was trained with the adapter ${before}, now it is ${now}; change it back, or train anew.`,
    );
  }
  await model.setWeights(weights, model.trainableNames());
  await model.state.write(moments);
}

/** A checkpoint goes on only with what it was made with. */
function checkAgreement({ folder, state }: Checkpoint, options: ResolvedOptions, data: TokenizedDataset): void {
  for (const [key, value] of Object.entries(options)) {
    const before = state.options[key as keyof ResolvedOptions];
    // A checkpoint of an older version does not know every option.
    if (before === undefined) continue;
    if (!changeable.has(key as keyof ResolvedOptions) && before !== value) {
      throw new TrainingError(
        `${folder} was trained with ${key} ${before}, now it is ${value}; change it back, or train anew.`,
      );
    }
  }
  if (state.dataDigest !== data.digest) {
    throw new TrainingError(
      `${folder} was trained on other data (digest ${state.dataDigest.slice(0, 12)}, now ${data.digest.slice(0, 12)}).`,
    );
  }
}
