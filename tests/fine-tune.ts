/** notebooks/01-fine-tune.ipynb in tests: a short form of it, and assertions on its runs. */
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { expect } from "vitest";
import { root } from "./reference.ts";
import type { RunRecord, Server } from "./support.ts";

/** Whether tests run the notebook as it is, which takes minutes: in `npm run test:all`. */
export const whole = process.env.ANNEAL_TEST_ALL === "1";

/** The amounts of work in the notebook. */
export interface Amounts {
  /** Questions and answers. */
  rows: number;
  /** Training steps of the base model. */
  steps: number;
  warmup: number;
  /** Rows of a step of the base model. */
  batch: number;
  /** Questions that an evaluation answers, and the maximum number of tokens of an answer. */
  generate: number;
  tokens: number;
}

const full: Amounts = { rows: 2400, steps: 260, warmup: 20, batch: 8, generate: 48, tokens: 40 };

const passages = ({ rows, steps, warmup, batch, generate, tokens }: Amounts) => [
  `.take(${rows})`,
  `maxSteps: ${steps}`,
  `warmupSteps: ${warmup}`,
  `perDeviceTrainBatchSize: ${batch},\\n`,
  `generate: ${generate}, maxNewTokens: ${tokens}`,
];

/** Writes the notebook to a path, with fewer rows and steps unless {@link whole}. Returns the amounts in it. */
export function writeFineTuneNotebook(path: string, short: Amounts): Amounts {
  const amounts = whole ? full : short;
  let text = readFileSync(join(root, "notebooks/01-fine-tune.ipynb"), "utf8");
  const replacements = passages(amounts);
  for (const [i, passage] of passages(full).entries()) {
    expect(text).toContain(passage);
    text = text.replaceAll(passage, replacements[i]);
  }
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, text);
  return amounts;
}

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

/** The losses decreased, and the model is better on held-out questions: clearly better if it ran {@link whole}. */
export async function expectLearned(tracker: Server, base: RunRecord, tuned: RunRecord): Promise<void> {
  for (const run of [base, tuned]) {
    const losses = (await tracker.history(run.id, "train/loss")).map(({ value }) => value);
    const mean = (part: number[]) => part.reduce((sum, value) => sum + value, 0) / part.length;
    const part = Math.min(20, Math.floor(losses.length / 4));
    expect(mean(losses.slice(-part))).toBeLessThan((whole ? 0.9 : 1) * mean(losses.slice(0, part)));
  }
  const validation = await tracker.history(tuned.id, "eval/loss");
  expect(validation.at(-1)?.value).toBeLessThan(validation[0].value);
  const { metrics } = tuned;
  expect(metrics["after/test_loss"]).toBeLessThan((whole ? 0.85 : 1) * metrics["before/test_loss"]);
  if (!whole) return;
  expect(metrics["after/test_perplexity"]).toBeLessThan(0.5 * metrics["before/test_perplexity"]);
  expect(metrics["after/test_token_accuracy"]).toBeGreaterThan(1.2 * metrics["before/test_token_accuracy"]);
  expect(metrics["after/test_rougeL"]).toBeGreaterThan(1.2 * metrics["before/test_rougeL"]);
}
