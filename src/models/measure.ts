import { collate, type TokenizedDataset } from "../data/index.ts";
import type { CausalLM } from "./causal-lm.ts";

/** How well a model predicts the tokens of a data set; every token weighs the same, in whatever example it stands. */
export interface TokenMeasures {
  /** Mean of -log p over all target tokens. */
  loss: number;
  /** e to the loss. */
  perplexity: number;
  /** Share of target tokens that the model finds most likely, in [0, 1]. */
  tokenAccuracy: number;
}

/** Options of {@link measureTokens}. */
export interface MeasureOptions {
  /** Rows in one run of the model. */
  batchSize: number;
  /** Tokens in a row; longer examples are cut. */
  length: number;
  /** Called with the examples done so far. */
  onProgress?: (done: number) => void;
}

/**
 * Predict every target token of a data set.
 * @throws RangeError when there is none
 */
export async function measureTokens(
  model: CausalLM,
  { name, examples }: TokenizedDataset,
  { batchSize, length, onProgress }: MeasureOptions,
): Promise<TokenMeasures> {
  const losses: number[] = [];
  let correct = 0;
  for (let i = 0; i < examples.length; i += batchSize) {
    const rows = Array.from({ length: batchSize }, (_, k) => examples.slice(i + k, i + k + 1));
    const batch = collate(rows, length, model.config.padTokenId ?? 0);
    const found = await model.tokenLosses(batch);
    batch.targets.forEach((target, at) => {
      if (target < 0) return;
      losses.push(found.losses[at]);
      correct += found.correct[at];
    });
    onProgress?.(Math.min(i + batchSize, examples.length));
  }
  if (losses.length === 0) throw new RangeError(`${name} has no token to predict within ${length} tokens.`);
  return { loss: mean(losses), perplexity: perplexity(losses), tokenAccuracy: correct / losses.length };
}

const mean = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;

/** e to the mean of the losses, each -log p of one token: every token weighs the same, in whatever document it stands. */
export const perplexity = (tokenLosses: readonly number[]): number => Math.exp(mean(tokenLosses));
