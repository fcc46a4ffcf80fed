import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { collate } from "../data/index.ts";
import { Tokenizer } from "../text/index.ts";
import { LanguageModel } from "./index.ts";

const scratch = await mkdtemp(join(tmpdir(), "anneal-quantize-"));
afterAll(() => rm(scratch, { recursive: true, force: true }));

const tokenizer = Tokenizer.train(["a few words to make tokens of"], { vocabSize: 280 });
const config = {
  hiddenSize: 32,
  intermediateSize: 48,
  numHiddenLayers: 2,
  numAttentionHeads: 2,
  maxPositionEmbeddings: 64,
  initializerRange: 0.2,
};
const create = () => LanguageModel.create({ config, tokenizer, seed: 3, device: "cpu" });
const ids = Array.from({ length: 24 }, (_, i) => 5 + ((i * 37) % 250));
const batch = collate([[{ inputIds: ids, labels: ids }]], 24, 0);
const lossOf = async (model: LanguageModel) => {
  const { losses } = await model.tokenLosses(batch);
  return losses.reduce((a, b) => a + b, 0) / batch.tokens;
};

let full: LanguageModel;
let quantized: LanguageModel;
beforeAll(async () => {
  full = await create();
  quantized = await create();
  await quantized.quantize("int8");
});

test("weights are rounded to within half a step of each row's largest value", async () => {
  const [exact, rounded] = [await full.weights(), await quantized.weights()];
  expect(Object.keys(rounded)).toEqual(Object.keys(exact));
  for (const [name, { shape, data }] of Object.entries(rounded)) {
    const whole = exact[name].data;
    if (!name.endsWith("_proj.weight")) {
      expect(data, name).toEqual(whole);
      continue;
    }
    for (let row = 0; row < shape[0]; row++) {
      const span = [row * shape[1], (row + 1) * shape[1]] as const;
      const step = Math.max(...whole.slice(...span).map(Math.abs)) / 127;
      const error = Math.max(...data.slice(...span).map((v, i) => Math.abs(v - whole[span[0] + i])));
      expect(error).toBeLessThanOrEqual(step * 0.5001);
    }
  }
});

test("it says nearly what it said, keeps bytes instead of floats, and quantising again changes nothing", async () => {
  const loss = await lossOf(quantized);
  expect(Math.abs(loss - (await lossOf(full))) / loss).toBeLessThan(0.01);
  await quantized.quantize();
  expect(await lossOf(quantized)).toBe(loss);
  const held = await quantized.state.read();
  expect(Object.keys(held).filter((name) => name.endsWith("_proj.weight"))).toEqual([]);
  expect(Object.values(held).filter(({ dtype }) => dtype === "int8")).toHaveLength(2 * 4);
});

test("an adapter is merged into the rounded weights, and the model is an ordinary one again", async () => {
  const model = await create();
  await model.quantize();
  await model.addAdapter({ r: 2, loraAlpha: 4, useDora: true }, 1);
  const before = await lossOf(model);
  await model.merge();
  expect(model.quantization).toBeUndefined();
  expect(Object.values(await model.state.read()).every(({ dtype }) => dtype === "float32")).toBe(true);
  expect(Math.abs((await lossOf(model)) - before) / before).toBeLessThan(0.01);
});

test("it is written as any other model, and can be read in 8 bits", async () => {
  await quantized.save(join(scratch, "model"));
  const again = await LanguageModel.load(join(scratch, "model"), { device: "cpu", quantization: "int8" });
  expect(await lossOf(again)).toBeCloseTo(await lossOf(quantized), 4);
});

test("another number of bits is refused", async () => {
  await expect(full.quantize("int3" as "int8")).rejects.toThrow('quantization must be "int8", not "int3"');
});
