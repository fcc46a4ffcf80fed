import { type Engine, type ProgramFunction, program } from "../engine/index.ts";
import type { CausalLM } from "../models/index.ts";
import { type Tensor, tensor } from "../tensor/index.ts";
import type { Collated, Objective } from "./objectives/objective.ts";
import type { OffloadedUpdates } from "./offload.ts";
import type { Optimizer } from "./optimizers/index.ts";

/** Result of an optimizer step. */
export interface StepResult {
  /** Mean over all terms of the step's batches. */
  loss: number;
  gradNorm: number;
  learningRate: number;
}

type BatchProgram = ProgramFunction<readonly Tensor[], { loss: Tensor }>;

/**
 * Runs optimizer steps of one or more batches. Forward, backward, clipping and update are one program; another program
 * accumulates the gradients of all batches but the last.
 */
export class Stepper {
  readonly #optimizer: Optimizer;
  readonly #add: BatchProgram;
  readonly #step: BatchProgram;
  readonly #offloaded: OffloadedUpdates | undefined;
  #last: Pick<StepResult, "gradNorm" | "learningRate"> = { gradNorm: Number.NaN, learningRate: Number.NaN };

  /** @param names names of the batch's tensors, in the order of the program's arguments */
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
      (...inputs: Tensor[]) => {
        const loss = scaledLoss(inputs);
        optimizer.accumulate(loss, model);
        return { loss };
      },
      { engine, name: `a micro-batch of training, ${title}` },
    );
    this.#step = program(
      (...inputs: Tensor[]) => {
        const loss = scaledLoss(inputs);
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

  /** Takes one step. The loss is the mean over all its batches: micro-batches are equivalent to one large batch. */
  async take(batches: readonly Collated[]): Promise<StepResult> {
    const scale = 1 / batches.reduce((sum, { weight }) => sum + weight, 0);
    let total = 0;
    for (const [k, { tensors }] of batches.entries()) {
      const inputs = Object.values(tensors).map(({ data, shape, dtype }) => tensor(data, shape, dtype));
      const run = k === batches.length - 1 && !this.#offloaded ? this.#step : this.#add;
      const { loss } = await run(scale, ...inputs);
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
