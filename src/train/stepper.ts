import { type Engine, type ProgramFunction, program } from "../engine/index.ts";
import type { CausalLM } from "../models/index.ts";
import { type Tensor, tensor } from "../tensor/index.ts";
import type { Collated, Objective } from "./objectives/objective.ts";
import type { OffloadedUpdates } from "./offload.ts";
import type { Optimizer } from "./optimizers/index.ts";

/** What came of an optimizer step. */
export interface StepResult {
  /** Mean over everything that the step's batches sum over. */
  loss: number;
  gradNorm: number;
  learningRate: number;
}

type BatchProgram = ProgramFunction<readonly Tensor[], { loss: Tensor }>;

/**
 * An optimizer step over one or more batches, as programs: forward, backward, clipping and optimizer are one graph, and
 * the batches before the last add their gradients up.
 */
export class Stepper {
  readonly #optimizer: Optimizer;
  readonly #add: BatchProgram;
  readonly #step: BatchProgram;
  readonly #offloaded: OffloadedUpdates | undefined;
  #last: Pick<StepResult, "gradNorm" | "learningRate"> = { gradNorm: Number.NaN, learningRate: Number.NaN };

  /** @param names the batch's tensors, in the order in which they are handed in */
  constructor(
    model: CausalLM,
    objective: Objective<never>,
    optimizer: Optimizer,
    names: readonly string[],
    options: { engine: Engine; title: string; offloaded?: OffloadedUpdates | undefined },
  ) {
    this.#optimizer = optimizer;
    this.#offloaded = options.offloaded;
    const scaledLoss = ([scale, ...tensors]: readonly Tensor[]) => {
      const batch = Object.fromEntries(names.map((name, i) => [name, tensors[i]]));
      return objective.loss(model, batch).loss.mul(scale);
    };
    const { engine, title } = options;
    this.#add = program(
      (...given: Tensor[]) => {
        const loss = scaledLoss(given);
        optimizer.accumulate(loss, model);
        return { loss };
      },
      { engine, name: `a micro-batch of training, ${title}` },
    );
    this.#step = program(
      (...given: Tensor[]) => {
        const loss = scaledLoss(given);
        optimizer.minimize(loss, model);
        return { loss };
      },
      { engine, name: `the training step, ${title}` },
    );
    optimizer.listener = {
      before: () => undefined,
      after: ({ learningRate, run }) => {
        this.#last = { gradNorm: run.observed.gradNorm.data[0], learningRate };
      },
    };
  }

  /** Take one step. The loss of a step is the mean over all its batches: micro-batches add up to one large batch. */
  async take(batches: readonly Collated[]): Promise<StepResult> {
    const scale = 1 / batches.reduce((sum, { weight }) => sum + weight, 0);
    let total = 0;
    for (const [k, { tensors }] of batches.entries()) {
      const given = Object.values(tensors).map(({ data, shape, dtype }) => tensor(data, shape, dtype));
      const run = k === batches.length - 1 && !this.#offloaded ? this.#step : this.#add;
      const { loss } = await run(scale, ...given);
      total += loss.item();
    }
    if (this.#offloaded) {
      const learningRate = this.#optimizer.rateAt(this.#optimizer.steps);
      this.#last = { gradNorm: await this.#offloaded.step(), learningRate };
    }
    return { loss: total, ...this.#last };
  }

  async release(): Promise<void> {
    this.#optimizer.listener = undefined;
    await this.#add.release();
    await this.#step.release();
    await this.#offloaded?.release();
  }
}
