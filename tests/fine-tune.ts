/** Assertions on the runs of notebooks/01-fine-tune.ipynb. */
import { expect } from "vitest";
import type { RunRecord, Server } from "./support.ts";

/** The metrics before and after training exist and are consistent. */
export function expectMeasured(base: RunRecord, tuned: RunRecord): void {
  const { metrics } = tuned;
  for (const measure of ["loss", "perplexity", "token_accuracy", "rougeL"]) {
    expect(metrics[`before/test_${measure}`]).toBeGreaterThanOrEqual(0);
    expect(metrics[`after/test_${measure}`]).toBeGreaterThanOrEqual(0);
  }
  expect(metrics["test/perplexity"]).toBe(metrics["after/test_perplexity"]);
  expect(base.metrics["test/loss"]).toBe(metrics["before/test_loss"]);
  expect(metrics["after/test_perplexity"]).toBeCloseTo(Math.exp(metrics["after/test_loss"]), 9);
}

/** The losses decreased, and the model is clearly better on held-out questions. */
export async function expectLearned(tracker: Server, base: RunRecord, tuned: RunRecord): Promise<void> {
  for (const run of [base, tuned]) {
    const losses = (await tracker.history(run.id, "train/loss")).map(({ value }) => value);
    const mean = (part: number[]) => part.reduce((sum, value) => sum + value, 0) / part.length;
    expect(mean(losses.slice(-20))).toBeLessThan(0.9 * mean(losses.slice(0, 20)));
  }
  const validation = await tracker.history(tuned.id, "eval/loss");
  expect(validation.at(-1)?.value).toBeLessThan(validation[0].value);
  const { metrics } = tuned;
  expect(metrics["after/test_loss"]).toBeLessThan(0.85 * metrics["before/test_loss"]);
  expect(metrics["after/test_perplexity"]).toBeLessThan(0.5 * metrics["before/test_perplexity"]);
  expect(metrics["after/test_token_accuracy"]).toBeGreaterThan(1.2 * metrics["before/test_token_accuracy"]);
  expect(metrics["after/test_rougeL"]).toBeGreaterThan(1.2 * metrics["before/test_rougeL"]);
}
