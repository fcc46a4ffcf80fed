import { describe, expect, test } from "vitest";
import { Engine } from "../engine/index.ts";
import { Tokenizer } from "../text/index.ts";
import { checkGenerateOptions } from "./generation-options.ts";
import { Phi3ForCausalLM } from "./index.ts";

describe("options of generation", () => {
  test.each([
    [{ temperature: -1 }, "temperature must be 0 or more, not -1."],
    [{ temperature: Number.NaN }, "temperature must be 0 or more, not NaN."],
    [{ temperature: Number.POSITIVE_INFINITY }, "temperature must be 0 or more, not Infinity."],
    [{ topP: 0 }, "topP must be above 0 and at most 1, not 0."],
    [{ topP: 2 }, "topP must be above 0 and at most 1, not 2."],
    [{ topP: Number.NaN }, "topP must be above 0 and at most 1, not NaN."],
    [{ maxNewTokens: 0 }, "maxNewTokens must be an integer of at least 1, not 0."],
    [{ maxNewTokens: 1.5 }, "maxNewTokens must be an integer of at least 1, not 1.5."],
    [{ maxNewTokens: Number.POSITIVE_INFINITY }, "maxNewTokens must be an integer of at least 1, not Infinity."],
    [{ temperature: "1" as unknown as number }, 'temperature must be 0 or more, not "1".'],
  ])("%j is refused by name", (options, message) => {
    expect(() => checkGenerateOptions(options)).toThrow(message);
  });

  test("valid options are accepted, and a model validates them", async () => {
    for (const options of [{}, { temperature: 0.7, topP: 1, maxNewTokens: 1 }, { topP: 1e-9 }])
      checkGenerateOptions(options);
    const engine = await Engine.open();
    const tokenizer = Tokenizer.train(["a b"], { vocabSize: 261 });
    const config = { hiddenSize: 8, intermediateSize: 8, numHiddenLayers: 1, numAttentionHeads: 2 };
    const model = new Phi3ForCausalLM(config, tokenizer, { engine }).initialize(1);
    await expect(model.generate(["a"], { topP: 2 })).rejects.toThrow("topP must be above 0");
    await model.release();
    await engine.close();
  });
});
