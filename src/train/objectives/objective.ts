import type { TrainingData } from "../../data/index.ts";
import type { CausalLM } from "../../models/index.ts";
import type { HostValue, Tensor } from "../../tensor/index.ts";

/** What the rows of a data set became. */
export interface Prepared<R> {
  /** The data set's name. */
  name: string;
  /** SHA-256 of what the rows were made from. */
  digest: string;
  /** What a batch is made of: examples, packed rows, pairs. */
  rows: readonly R[];
  /** Tokens of a row; shorter ones are padded. */
  length: number;
  /** Examples that were left out, by reason. */
  dropped: Readonly<Record<string, number>>;
  /** Other facts for the run's record. */
  profile: Readonly<Record<string, number | string>>;
}

/** Settings that shape the rows. */
export interface PrepareOptions {
  /** Most tokens of a row; decided by the data when left out. */
  maxLength?: number;
  /** Put several examples into one row. */
  packing: boolean;
  /** Of the order of what is packed. */
  seed: number;
}

/** One batch. */
export interface Collated {
  /** What the program is given, by name. Shapes do not depend on the rows. */
  tensors: Readonly<Record<string, HostValue>>;
  /** What the summed loss is divided by: the number of things it sums over. */
  weight: number;
  /** Tokens trained on: those with a loss. */
  tokens: number;
  /** Places in the batch that hold no token. */
  padding: number;
}

/**
 * What is learned: how rows become batches, and what the loss of a batch is. Supervised fine-tuning is one; preference
 * training, reward models and reinforcement learning are others. The training loop knows no more of them than this.
 */
export interface Objective<R> {
  /** As it is logged: "sft". */
  readonly name: string;
  /**
   * Check data and bring it into rows. What cannot teach is left out and counted.
   * @throws DataError when the data cannot be used
   */
  prepare(data: TrainingData, model: CausalLM, options: PrepareOptions): Prepared<R>;
  /**
   * Put rows into tensors.
   * @param rows at most `size`; empty places are padded
   */
  collate(rows: readonly R[], model: CausalLM, shape: { size: number; length: number }): Collated;
  /**
   * Build the graph of the loss, summed over the batch.
   * @param tensors those of {@link Objective.collate}
   */
  loss(model: CausalLM, tensors: Readonly<Record<string, Tensor>>): { loss: Tensor };
  /** Measure a model on rows without training; at least `loss`. */
  evaluate(
    model: CausalLM,
    data: Prepared<R>,
    options: { batchSize: number; onProgress?: (done: number) => void },
  ): Promise<Record<string, number>>;
}
