import { cp, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test, vi } from "vitest";
import { faultPath } from "../../tests/faults.ts";
import { decodeSafetensors, encodeSafetensors, Phi3ForCausalLM, readSafetensors } from "./index.ts";

const scratch = await mkdtemp(join(tmpdir(), "anneal-model-faults-"));
afterAll(() => rm(scratch, { recursive: true, force: true }));

const ids = JSON.parse(await readFile(faultPath("ids.json"), "utf8")) as number[] | { ids: number[] };
const probe = Array.isArray(ids) ? ids : ids.ids;
const logitsOf = async (model: Phi3ForCausalLM) => (await model.logits([probe])).data();
const load = (name: string, options: { adapter?: string } = {}) =>
  Phi3ForCausalLM.fromPretrained(faultPath(name), { device: "cpu", ...options });

function largestDifference(found: ArrayLike<number>, expected: ArrayLike<number>): number {
  expect(found.length).toBe(expected.length);
  let worst = 0;
  for (let i = 0; i < found.length; i++) worst = Math.max(worst, Math.abs(found[i] - expected[i]));
  return worst;
}

const largest = (values: ArrayLike<number>) => Array.from(values).reduce((m, v) => Math.max(m, Math.abs(v)), 0);

async function peftLogits(adapter: string): Promise<Float32Array> {
  const bytes = await readFile(join(faultPath(adapter), "peft-logits.f32"));
  return new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength));
}

describe("models saved by other libraries", () => {
  test("bfloat16 shards agree with the float32 file, within bfloat16's precision", async () => {
    const [whole, sharded] = [await load("tiny-base"), await load("tiny-sharded-bf16")];
    const [a, b] = [await logitsOf(whole), await logitsOf(sharded)];
    expect(largestDifference(b, a)).toBeLessThan(0.05 * largest(a));
    expect(sharded.model.layers[0].mlp.down_proj.weight).toMatchObject({ dtype: "bfloat16" });
    const full = await Phi3ForCausalLM.fromPretrained(faultPath("tiny-sharded-bf16"), { dtype: "float32" });
    expect(full.parameters().every(({ dtype }) => dtype === "float32")).toBe(true);
    expect(largestDifference(await logitsOf(full), b)).toBeLessThan(1e-4);
  });

  test("bfloat16 weights are saved bit by bit in shards that can be loaded", async () => {
    const model = await load("tiny-sharded-bf16");
    await model.save(join(scratch, "again"), { maxShardSize: 50_000 });
    const again = await Phi3ForCausalLM.fromPretrained(join(scratch, "again"));
    expect(await logitsOf(again)).toEqual(await logitsOf(model));
    const index = JSON.parse(await readFile(join(scratch, "again", "model.safetensors.index.json"), "utf8"));
    expect(new Set(Object.values(index.weight_map)).size).toBeGreaterThan(2);
    expect(JSON.parse(await readFile(join(scratch, "again", "config.json"), "utf8")).torch_dtype).toBe("bfloat16");
  });

  test("the chat template of transformers 5 is used, and lists of end tokens are kept", async () => {
    const model = await load("tiny-saved-by-transformers5");
    expect(model.tokenizer.renderChat([{ role: "user", content: "hi" }]).length).toBeGreaterThan(2);
    model.generationConfig = { eos_token_id: [3, 5], temperature: 0.5 };
    expect(model.stopTokenIds).toEqual(expect.arrayContaining([3, 5]));
    await model.save(join(scratch, "ends"));
    const saved = JSON.parse(await readFile(join(scratch, "ends", "generation_config.json"), "utf8"));
    expect(saved).toMatchObject({ eos_token_id: [3, 5], temperature: 0.5 });
    const again = await Phi3ForCausalLM.fromPretrained(join(scratch, "ends"));
    expect(again.stopTokenIds).toEqual(model.stopTokenIds);
  });

  test.each([
    ["tiny-longrope-3-factors-of-8", /config\.json: short_factor has 3 factors; this head width needs 8\./],
    ["tiny-safetensors-header-null", /is not a valid safetensors file: /],
    ["tiny-safetensors-overlapping", /is not a valid safetensors file: /],
  ])("%s is refused in one line", async (name, message) => {
    const error = await load(name).catch((reason: Error) => reason);
    expect(error).toBeInstanceOf(Error);
    expect((error as Error).message).toMatch(message);
    expect((error as Error).message).not.toContain("\n");
  });

  test.each([
    [{ num_hidden_layers: 1 }, /contains model\.layers\.1\..*config\.json has only 1 layers/],
    [{ attention_bias: true }, "attention_bias is true; projections with a bias are not supported"],
    [{ head_dim: 8 }, "head_dim is 8; only heads of hidden_size / num_attention_heads"],
    [{ attention_dropout: 0.1 }, "attention_dropout is 0.1"],
    [{ hidden_act: "gelu" }, 'only "silu" is supported'],
    [{ rope_scaling: { type: "yarn" } }, 'rotary scaling "yarn" is not supported'],
  ])("settings that are not supported are refused by name: %j", async (change, message) => {
    const folder = join(scratch, `settings-${Object.keys(change)[0]}`);
    await cp(faultPath("tiny-base"), folder, { recursive: true });
    const config = JSON.parse(await readFile(join(folder, "config.json"), "utf8"));
    await writeFile(join(folder, "config.json"), JSON.stringify({ ...config, ...change }));
    await expect(Phi3ForCausalLM.fromPretrained(folder)).rejects.toThrow(message);
  });

  test("unused tensors are listed in a warning, missing ones in an error", async () => {
    const folder = join(scratch, "extra");
    await cp(faultPath("tiny-base"), folder, { recursive: true });
    const path = join(folder, "model.safetensors");
    const tensors = await readSafetensors(path);
    const extra = { dtype: "float32" as const, shape: [1], data: Float32Array.of(1) };
    await writeFile(path, encodeSafetensors({ ...tensors, "score.weight": extra }));
    const said = vi.spyOn(process.stderr, "write").mockReturnValue(true);
    await Phi3ForCausalLM.fromPretrained(folder);
    expect(said.mock.calls.map(([text]) => String(text)).join("")).toContain("1 tensors are unused: score.weight");
    said.mockRestore();
    const { "model.norm.weight": _, ...less } = decodeSafetensors(await readFile(path), "x");
    await writeFile(path, encodeSafetensors(less));
    await expect(Phi3ForCausalLM.fromPretrained(folder)).rejects.toThrow("lacks the tensor model.norm.weight");
  });
});

describe("adapters saved by PEFT", () => {
  test.each([
    "adapter-plain-control",
    "adapter-all-linear",
    "adapter-target-self_attn.qkv_proj",
    "adapter-modules_to_save-lm_head",
    "adapter-lora_bias",
  ])("%s gives PEFT's logits", async (name) => {
    const model = await load("tiny-base", { adapter: faultPath(name) });
    expect(largestDifference(await logitsOf(model), await peftLogits(name))).toBeLessThan(1e-4);
  });

  test("an adapter of a bfloat16 base stays separate, and is merged on request", async () => {
    const model = await load("tiny-sharded-bf16", { adapter: faultPath("adapter-plain-control") });
    const before = await logitsOf(model);
    await model.mergeAndUnload();
    expect(model.adapters.size).toBe(0);
    // The merged weights are rounded to the 16 bits that the base is kept in.
    expect(largestDifference(await logitsOf(model), before)).toBeLessThan(0.03 * largest(before));
  });

  const change = async (edit: (config: Record<string, unknown>) => Record<string, unknown>, name: string) => {
    const folder = join(scratch, name);
    await cp(faultPath("adapter-plain-control"), folder, { recursive: true });
    const config = JSON.parse(await readFile(join(folder, "adapter_config.json"), "utf8"));
    await writeFile(join(folder, "adapter_config.json"), JSON.stringify(edit(config)));
    return load("tiny-base", { adapter: folder });
  };

  test.each([
    [{ target_modules: ["embed_tokens"] }, "model.embed_tokens cannot have an adapter: it is an embedding"],
    [
      { target_modules: ["q_proj", "v_proj"] },
      "The model has no module q_proj or v_proj; its linear layers are qkv_proj",
    ],
    [{ fan_in_fan_out: true }, "fan_in_fan_out is true, which is not supported"],
    [{ init_lora_weights: "pissa" }, 'init_lora_weights is "pissa", which is not supported'],
    [{ trainable_token_indices: [1] }, "trainable_token_indices is [1], which is not supported"],
    [{ peft_type: "IA3" }, '/peft_type is "IA3"; only "LORA" is supported'],
    [{ rank_pattern: { qkv_proj: 2 } }, /has shape \[.*\], but the configuration requires/],
    [{ target_modules: ["lm_head"] }, /missing base_model\.model\.lm_head.*unused/],
    [{ exclude_modules: ["o_proj", "qkv_proj", "down_proj", "gate_up_proj"] }, /matches no layer|unused/],
    [{ layers_to_transform: [0] }, /unused/],
  ])("what does not fit is refused by name: %j", async (edit, message) => {
    const name = `edit-${Object.keys(edit)[0]}-${JSON.stringify(Object.values(edit)[0]).length}`;
    await expect(change((config) => ({ ...config, ...edit }), name)).rejects.toThrow(message);
  });

  test("regular expressions, alpha patterns and wrong targets work as in PEFT, or are rejected", async () => {
    const plain = JSON.parse(
      await readFile(join(faultPath("adapter-plain-control"), "adapter_config.json"), "utf8"),
    ) as { target_modules: string[]; lora_alpha: number };
    const expression = `.*\\.(${plain.target_modules.map((t) => t.replaceAll(".", "\\.")).join("|")})`;
    const model = await change((config) => ({ ...config, target_modules: expression }), "expression");
    expect(largestDifference(await logitsOf(model), await peftLogits("adapter-plain-control"))).toBeLessThan(1e-4);
    const everywhere = Object.fromEntries(plain.target_modules.map((t) => [t, plain.lora_alpha]));
    const patterned = await change(
      (config) => ({ ...config, lora_alpha: 1, alpha_pattern: everywhere }),
      "alpha-pattern",
    );
    expect(largestDifference(await logitsOf(patterned), await peftLogits("adapter-plain-control"))).toBeLessThan(1e-4);
  });
});
