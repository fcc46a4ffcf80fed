import { ModelError } from "./error.ts";

/**
 * Validates options of text generation.
 * @throws ModelError naming the invalid option
 */
export function checkGenerateOptions(options: { maxNewTokens?: number; temperature?: number; topP?: number }): void {
  const { maxNewTokens = 1, temperature = 0, topP = 1 } = options;
  if (!Number.isSafeInteger(maxNewTokens) || maxNewTokens < 1) {
    throw new ModelError(`maxNewTokens must be an integer of at least 1, not ${show(maxNewTokens)}.`);
  }
  if (!(Number.isFinite(temperature) && temperature >= 0)) {
    throw new ModelError(`temperature must be 0 or more, not ${show(temperature)}.`);
  }
  if (!(typeof topP === "number" && topP > 0 && topP <= 1)) {
    throw new ModelError(`topP must be above 0 and at most 1, not ${show(topP)}.`);
  }
}

const show = (value: unknown) => (typeof value === "number" ? String(value) : JSON.stringify(value));
