import type { TrainingData } from "../../data/index.ts";
import type { CausalLM } from "../../models/index.ts";
import type { HostValue, Tensor } from "../../tensor/index.ts";

/** The rows of a data set, prepared for an objective. */
export interface Prepared<R> {
  /** The data set's name. */
  name: string;
  /** SHA-256 of the source data. */
  digest: string;
  /** Elements of batches: examples, packed rows, pairs. */
  rows: readonly R[];
  /** Tokens per row; shorter rows are padded. */
  length: number;
  /** Number of dropped examples, by reason. */
  dropped: Readonly<Record<string, number>>;
  /** Other statistics to log. */
  profile: Readonly<Record<string, number | string>>;
}

/** Settings that determine the rows. */
export interface PrepareOptions {
  /** Maximum tokens per row; chosen from the data when omitted. */
  maxLength?: number;
  /** Pack several examples into one row. */
  packing: boolean;
  /** Seeds the order of packing. */
  seed: number;
}

/** One batch. */
export interface Collated {
  /** Inputs of the program, by name. Shapes do not depend on the rows. */
  tensors: Readonly<Record<string, HostValue>>;
  /** Divisor of the summed loss: the number of terms in it. */
  weight: number;
  /** Tokens with a loss. */
  tokens: number;
  /** Positions that hold padding. */
  padding: number;
}

/**
 * What is optimized: how rows become batches, and the loss of a batch. Supervised fine-tuning is one objective; preference
 * training, reward models and reinforcement learning are others. The training loop depends only on this interface.
 */
export interface Objective<R> {
  /** Name in logs: "sft". */
  readonly name: string;
  /**
   * Validates data and converts it to rows. Examples without anything to learn are dropped and counted.
   * @throws DataError when the data cannot be used
   */
  prepare(data: TrainingData, model: CausalLM, options: PrepareOptions): Prepared<R>;
  /**
   * Collates rows into tensors.
   * @param rows at most `size`; the batch is padded to `size`
   */
  collate(rows: readonly R[], model: CausalLM, shape: { size: number; length: number }): Collated;
  /**
   * Builds the graph of the loss, summed over the batch.
   * @param tensors the tensors of {@link Objective.collate}
   */
  loss(model: CausalLM, tensors: Readonly<Record<string, Tensor>>): { loss: Tensor };
  /** Evaluates a model on rows; returns at least `loss`. */
  evaluate(
    model: CausalLM,
    data: Prepared<R>,
    options: { batchSize: number; onProgress?: (done: number) => void },
  ): Promise<Record<string, number>>;
}
