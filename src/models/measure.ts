import { collate, type TokenizedDataset } from "../data/index.ts";
import type { CausalLM } from "./causal-lm.ts";

/** How well a model predicts the tokens of a data set; all tokens have the same weight. */
export interface TokenMeasures {
  /** Mean of -log p over all target tokens. */
  loss: number;
  /** exp(loss). */
  perplexity: number;
  /** Fraction of target tokens that the model predicts as most likely, in [0, 1]. */
  tokenAccuracy: number;
}

/** Options of {@link measureTokens}. */
export interface MeasureOptions {
  /** Rows per forward pass. */
  batchSize: number;
  /** Tokens per row; longer examples are truncated. */
  length: number;
  /** Called with the number of finished examples. */
  onProgress?: (done: number) => void;
}

/**
 * Measures a model's predictions of all target tokens of a data set.
 * @throws RangeError when there are no target tokens
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
    const result = await model.tokenLosses(batch);
    batch.targets.forEach((target, at) => {
      if (target < 0) return;
      losses.push(result.losses[at]);
      correct += result.correct[at];
    });
    onProgress?.(Math.min(i + batchSize, examples.length));
  }
  if (losses.length === 0) throw new RangeError(`${name} has no target token within ${length} tokens.`);
  return { loss: mean(losses), perplexity: perplexity(losses), tokenAccuracy: correct / losses.length };
}

const mean = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;

/** Returns exp of the mean loss. Each loss is -log p of one token; all tokens have the same weight. */
export const perplexity = (tokenLosses: readonly number[]): number => Math.exp(mean(tokenLosses));
