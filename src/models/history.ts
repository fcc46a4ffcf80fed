import { createHash } from "node:crypto";
import type { Example } from "../data/index.ts";
import type { CausalLM } from "./causal-lm.ts";

/** Digests of the examples that a model was trained on in this process. */
const trainedOn = new WeakMap<CausalLM, Set<string>>();

const digestOf = ({ inputIds }: Example): string =>
  createHash("sha256").update(Int32Array.from(inputIds)).digest("base64url").slice(0, 16);

/** Records the examples that a model was trained on. */
export function noteTraining(model: CausalLM, { rows }: { rows: readonly unknown[] }): void {
  const digests = trainedOn.get(model) ?? new Set();
  for (const example of rows.flat() as Partial<Example>[]) {
    if (example?.inputIds) digests.add(digestOf(example as Example));
  }
  trainedOn.set(model, digests);
}

/**
 * Counts how many examples are, token by token, among those that the model was trained on in this process.
 * @returns undefined when the model was not trained in this process
 */
export function countTrainedOn(model: CausalLM, examples: readonly Example[]): number | undefined {
  const digests = trainedOn.get(model);
  if (!digests) return undefined;
  return examples.filter((example) => digests.has(digestOf(example))).length;
}
