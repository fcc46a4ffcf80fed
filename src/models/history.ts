import { createHash } from "node:crypto";
import type { Example } from "../data/index.ts";
import type { CausalLM } from "./causal-lm.ts";

/** Digests of the examples that a model was trained on in this process. */
const seen = new WeakMap<CausalLM, Set<string>>();

const digestOf = ({ inputIds }: Example): string =>
  createHash("sha256").update(Int32Array.from(inputIds)).digest("base64url").slice(0, 16);

/** Note what a model was trained on. */
export function noteTraining(model: CausalLM, { rows }: { rows: readonly unknown[] }): void {
  const known = seen.get(model) ?? new Set();
  for (const example of rows.flat() as Partial<Example>[]) {
    if (example?.inputIds) known.add(digestOf(example as Example));
  }
  seen.set(model, known);
}

/**
 * How many examples are, token by token, among those that the model was trained on in this process.
 * @returns undefined when it was not trained here: then nothing is known
 */
export function countTrainedOn(model: CausalLM, examples: readonly Example[]): number | undefined {
  const known = seen.get(model);
  if (!known) return undefined;
  return examples.filter((example) => known.has(digestOf(example))).length;
}
