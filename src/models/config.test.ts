import { afterAll, expect, test } from "vitest";
import { referenceJson } from "../../tests/reference.ts";
import { Engine } from "../engine/index.ts";
import { Tokenizer } from "../text/index.ts";
import {
  CausalLM,
  ModelError,
  measureTokens,
  Phi3ForCausalLM,
  parsePhi3Config,
  perplexity,
  phi3Config,
  registerModel,
  toConfigFile,
} from "./index.ts";

const engine = await Engine.open({ device: "cpu", threads: 1 });
afterAll(() => engine.close());

const sizes = { hiddenSize: 8, intermediateSize: 16, numHiddenLayers: 1, numAttentionHeads: 2 };

test("settings get defaults and are validated", () => {
  const config = phi3Config({ ...sizes, vocabSize: 10 });
  expect(config).toMatchObject({ numKeyValueHeads: 2, ropeTheta: 10000, slidingWindow: undefined });
  expect(() => phi3Config({ ...sizes, vocabSize: 10, numAttentionHeads: 3 })).toThrow(ModelError);
});

test("a config.json round-trips", () => {
  const config = parsePhi3Config(referenceJson("phi3/config.json"));
  expect(config).toMatchObject({ hiddenSize: 64, numHiddenLayers: 2, numAttentionHeads: 4, vocabSize: 512 });
  const file = toConfigFile(config, "bfloat16");
  expect(file).toMatchObject({ model_type: "phi3", torch_dtype: "bfloat16" });
  expect(parsePhi3Config(JSON.parse(JSON.stringify(file)))).toEqual(config);
  expect(() => parsePhi3Config({ ...file, hidden_size: "large" })).toThrow(ModelError);
});

test("a model with uniform predictions has the vocabulary size as perplexity", async () => {
  const tokenizer = Tokenizer.train(["abc"], { vocabSize: 300 });
  const model = new Phi3ForCausalLM(sizes, tokenizer, { engine }).initialize(1).eval();
  expect(model).toBeInstanceOf(CausalLM);
  for (const [name, parameter] of model.namedParameters()) {
    if (name.endsWith("norm.weight")) parameter.set(new Float32Array(parameter.size));
  }
  const ids = tokenizer.encode("abcabc");
  const data = { name: "letters", digest: "", examples: [{ inputIds: ids, labels: ids }] };
  const { vocabSize } = model.config;
  const measured = await measureTokens(model, data, { batchSize: 1, length: 8 });
  expect(measured.perplexity).toBeCloseTo(vocabSize, 2);
  expect(measured.loss).toBeCloseTo(Math.log(vocabSize), 4);
  expect(perplexity([Math.log(2), Math.log(8)])).toBeCloseTo(4);
  await expect(measureTokens(model, { ...data, examples: [] }, { batchSize: 1, length: 8 })).rejects.toThrow(
    RangeError,
  );
  await expect(registerModel(model, "untrained")).rejects.toThrow("not trained in a tracked run");
  await model.release();
});
