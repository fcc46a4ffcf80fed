import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { inspect } from "node:util";
import { afterAll, describe, expect, test, vi } from "vitest";
import { LoraConfig } from "../adapters/index.ts";
import { collate } from "../data/index.ts";
import { Engine } from "../engine/index.ts";
import { CompressedWeight } from "../nn/index.ts";
import { Tokenizer } from "../text/index.ts";
import { Phi3ForCausalLM, readSafetensors } from "./index.ts";

const scratch = await mkdtemp(join(tmpdir(), "anneal-quantize-"));
afterAll(() => rm(scratch, { recursive: true, force: true }));

const tokenizer = Tokenizer.train(["a few words to make tokens of"], { vocabSize: 280 });
const config = {
  hiddenSize: 64,
  intermediateSize: 96,
  numHiddenLayers: 2,
  numAttentionHeads: 2,
  maxPositionEmbeddings: 64,
  initializerRange: 0.1,
};
const create = () => new Phi3ForCausalLM(config, tokenizer, { device: "cpu" }).initialize(3).eval();
const ids = Array.from({ length: 24 }, (_, i) => 5 + ((i * 37) % 250));
const batch = collate([[{ inputIds: ids, labels: ids }]], 24, 0);
const lossOf = async (model: Phi3ForCausalLM) => {
  const { losses } = await model.tokenLosses(batch);
  return losses.reduce((a, b) => a + b, 0) / batch.tokens;
};
const logitsOf = async (model: Phi3ForCausalLM) => (await model.logits([ids])).data();
const difference = (a: ArrayLike<number>, b: ArrayLike<number>) =>
  Array.from(a).reduce((most, value, i) => Math.max(most, Math.abs(value - b[i])), 0);

describe.each([
  ["int8", 0.01],
  ["nf4", 0.03],
] as const)("a base in %s", (kind, tolerance) => {
  test("has nearly the same outputs, stores quantized weights, and counts the same parameters", async () => {
    const [full, quantized] = [create(), create()];
    await quantized.quantize(kind);
    const loss = await lossOf(quantized);
    expect(loss).not.toBe(await lossOf(full));
    expect(Math.abs(loss - (await lossOf(full))) / loss).toBeLessThan(tolerance);
    expect(quantized.quantization).toBe(kind);
    expect(quantized.countParameters().total).toBe(full.countParameters().total);
    for (const { weight } of quantized.projections().values()) expect(weight).toBeInstanceOf(CompressedWeight);
    await quantized.quantize(kind);
    expect(await lossOf(quantized)).toBe(loss);
    expect(inspect(quantized)).toContain("Phi3ForCausalLM: 2 layers of width 64, 264 tokens · ");
    expect(inspect(quantized)).toMatch(new RegExp(`parameters, .* trained · ${kind}$`));
    await expect(quantized.quantize(kind === "nf4" ? "int8" : "nf4")).rejects.toThrow("already quantized");
  });

  test("loading from a file quantized gives the same as quantizing in memory", async () => {
    const model = create();
    await model.save(join(scratch, kind));
    await model.quantize(kind);
    const loaded = await Phi3ForCausalLM.fromPretrained(join(scratch, kind), { device: "cpu", quantization: kind });
    expect(await lossOf(loaded)).toBe(await lossOf(model));
    const names = [...loaded.namedParameters().keys()].filter((name) => name.includes("layers.0.mlp.down_proj"));
    expect(names.length).toBeGreaterThan(1);
  });

  test("merges an adapter into float weights and reports it; the logits agree", async () => {
    const model = create();
    await model.quantize(kind);
    await model.addAdapter(new LoraConfig({ r: 2, loraAlpha: 4, useDora: true }), { seed: 1 });
    for (const [name, parameter] of model.namedParameters()) {
      if (name.endsWith("lora_B")) parameter.set(Float32Array.from({ length: parameter.size }, (_, i) => (i % 7) / 70));
    }
    const before = await logitsOf(model);
    await model.save(join(scratch, `${kind}-merged`));
    const said = vi.spyOn(process.stderr, "write").mockReturnValue(true);
    await model.mergeAndUnload();
    const text = said.mock.calls.map(([line]) => String(line)).join("");
    said.mockRestore();
    expect(text).toContain(`The merged layers are now float32; they were ${kind}.`);
    expect(text.includes("also rounded the activations")).toBe(kind === "int8");
    expect(model.quantization).toBeUndefined();
    const after = await logitsOf(model);
    // NF4 rounds weights alone: merging changes nothing but the order of sums. int8 rounds activations too, to
    // 6 bits on processors without products of bytes.
    const bound = kind === "nf4" ? 1e-3 : 0.1;
    expect(difference(before, after)).toBeLessThan(bound * before.reduce((m, v) => Math.max(m, Math.abs(v)), 0));
    const saved = await Phi3ForCausalLM.fromPretrained(join(scratch, `${kind}-merged`), { device: "cpu" });
    expect(difference(await logitsOf(saved), after)).toBeLessThan(1e-4);
    const files = await readSafetensors(join(scratch, `${kind}-merged`, "model.safetensors"));
    expect(Object.keys(files).some((name) => /codes|values|adapters|lora/.test(name))).toBe(false);
  });
});

test("other numbers of bits are rejected", async () => {
  await expect(create().quantize("int3" as "int8")).rejects.toThrow('quantization must be "nf4" or "int8", not "int3"');
});

test("the double-precision interpreter agrees", async () => {
  const engine = await Engine.open({ device: "interpreter" });
  const exact = new Phi3ForCausalLM(config, tokenizer, { engine }).initialize(3).eval();
  expect(difference(await logitsOf(exact), await logitsOf(create()))).toBeLessThan(1e-4);
  await engine.close();
});
