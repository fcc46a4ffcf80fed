import { cp, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { referenceJson, referencePath } from "../../tests/reference.ts";
import { Engine, program } from "../engine/index.ts";
import { Phi3ForCausalLM, readSafetensors } from "../models/index.ts";
import { crossEntropy, type Tensor, tensor } from "../tensor/index.ts";
import { Tokenizer } from "../text/index.ts";
import { AdamW } from "./optimizers/index.ts";
import { scheduleMultiplier } from "./schedule.ts";

interface Step {
  lr: number;
  loss: number;
  grad_norm: number;
}
interface Optimizer {
  betas: [number, number];
  eps: number;
  lr: number;
  warmup: number;
  wd: number;
  clip: number;
}
interface Statistics {
  sum: number;
  abs_sum: number;
  l2: number;
  first: number[];
}
interface Rows {
  input_ids: number[][];
  attention_mask: number[][];
  labels: number[][];
}

const engine = await Engine.open();
const tokenizer = await Tokenizer.load(referencePath("tokenizer"));
const { steps: batches } = referenceJson<{ steps: Rows[] }>("sft-full/batches.json");
const scratch = await mkdtemp(join(tmpdir(), "anneal-train-"));
afterAll(() => rm(scratch, { recursive: true }));

const matrix = (rows: number[][]) => tensor(Int32Array.from(rows.flat()), [rows.length, rows[0].length]);

/** Train through the given batches as the reference did, and compare every step. */
async function follow(model: Phi3ForCausalLM, settings: Optimizer, steps: readonly Step[]) {
  let learningRate = 0;
  const optimizer = new AdamW({
    learningRate: () => learningRate,
    beta1: settings.betas[0],
    beta2: settings.betas[1],
    epsilon: settings.eps,
    weightDecay: settings.wd,
    maxGradNorm: settings.clip,
  });
  let gradNorm = Number.NaN;
  optimizer.listener = {
    before: () => undefined,
    after: ({ run }) => {
      gradNorm = run.observed.gradNorm.data[0];
    },
  };
  const step = program(
    (inputIds: Tensor, attentionMask: Tensor, targets: Tensor, tokens: Tensor) => {
      const logits = model.forward(inputIds, { attentionMask });
      const losses = crossEntropy(logits.reshape([targets.size, -1]), targets.reshape([targets.size]));
      const loss = losses.sum().div(tokens);
      optimizer.minimize(loss, model);
      return { loss };
    },
    { engine },
  );
  for (const [i, expected] of steps.entries()) {
    const { input_ids, attention_mask, labels } = batches[i];
    learningRate = settings.lr * scheduleMultiplier("cosine", i, steps.length, settings.warmup);
    expect(Math.abs(learningRate - expected.lr)).toBeLessThan(1e-8);
    const targets = labels.map((row) => [...row.slice(1), -100]);
    const tokens = targets.flat().filter((label) => label !== -100).length;
    const { loss } = await step(matrix(input_ids), matrix(attention_mask), matrix(targets), tokens);
    expect(Math.abs(loss.item() / expected.loss - 1), `loss of step ${i}`).toBeLessThan(1e-4);
    expect(Math.abs(gradNorm / expected.grad_norm - 1), `gradient norm of step ${i}`).toBeLessThan(1e-4);
  }
}

const logitsOf = async (model: Phi3ForCausalLM, ids: number[][]) => (await model.logits(ids)).data();

function largestDifference(found: ArrayLike<number>, expected: ArrayLike<number>): number {
  expect(found.length).toBe(expected.length);
  return Array.from(found).reduce((m, v, i) => Math.max(m, Math.abs(v - expected[i])), 0);
}

test.each([
  ["", false],
  [" with gradient checkpointing", true],
])("reference: full training%s follows PyTorch's trajectory", async (_, gradientCheckpointing) => {
  const trajectory = referenceJson<{
    start: string;
    optimizer: Optimizer;
    steps: Step[];
    final_parameters: Record<string, Statistics>;
    probe_input_ids: number[][];
  }>("sft-full/trajectory.json");
  const model = await Phi3ForCausalLM.fromPretrained(referencePath(trajectory.start), { engine, tokenizer });
  model.gradientCheckpointing = gradientCheckpointing;
  await follow(model, trajectory.optimizer, trajectory.steps);

  const weights = await model.stateDict();
  for (const [name, expected] of Object.entries(trajectory.final_parameters)) {
    const values = Array.from(weights[name].data);
    const total = (map: (v: number) => number) => values.reduce((sum, v) => sum + map(v), 0);
    const close = (found: number, wanted: number) =>
      expect(Math.abs(found - wanted), name).toBeLessThan(1e-5 * Math.abs(wanted) + 1e-3);
    close(
      total((v) => v),
      expected.sum,
    );
    close(total(Math.abs), expected.abs_sum);
    close(Math.sqrt(total((v) => v * v)), expected.l2);
    expect(largestDifference(values.slice(0, expected.first.length), expected.first), name).toBeLessThan(5e-5);
  }
  const probe = await readSafetensors(referencePath("sft-full/probe.safetensors"));
  const logits = await logitsOf(model, trajectory.probe_input_ids);
  expect(largestDifference(logits, probe.logits.data)).toBeLessThan(2e-4);
});

const lora = referenceJson<{
  start: string;
  optimizer: Optimizer;
  probe_input_ids: number[][];
  variants: Record<string, { steps: Step[]; initial_adapter: string; final_adapter: string }>;
}>("sft-lora/trajectory.json");

test.each(Object.entries(lora.variants))("reference: %s training follows PEFT's trajectory", async (name, variant) => {
  const model = await Phi3ForCausalLM.fromPretrained(referencePath(lora.start), { engine, tokenizer });
  await model.loadAdapter(referencePath(variant.initial_adapter));
  const probe = await readSafetensors(referencePath(`sft-lora/${name}/probe.safetensors`));
  const initial = await logitsOf(model, lora.probe_input_ids);
  expect(largestDifference(initial, probe.initial_logits.data)).toBeLessThan(1e-4);

  await follow(model, lora.optimizer, variant.steps);

  const expected = await readSafetensors(referencePath(`${variant.final_adapter}/adapter_model.safetensors`));
  await model.saveAdapter(join(scratch, `${name}-ours`));
  const adapter = await readSafetensors(join(scratch, `${name}-ours`, "adapter_model.safetensors"));
  expect(Object.keys(adapter).sort()).toEqual(Object.keys(expected).sort());
  for (const [parameter, { data }] of Object.entries(adapter)) {
    expect(largestDifference(data, expected[parameter].data), parameter).toBeLessThan(5e-5);
  }
  await model.mergeAndUnload();
  expect(largestDifference(await logitsOf(model, lora.probe_input_ids), probe.merged_logits.data)).toBeLessThan(2e-4);

  // The adapter that we write goes back on the base and says the same as the one that PEFT wrote.
  const again = await Phi3ForCausalLM.fromPretrained(referencePath(lora.start), { engine, tokenizer });
  await again.loadAdapter(join(scratch, `${name}-ours`), { name: "ours" });
  const ours = await logitsOf(again, lora.probe_input_ids);
  await cp(referencePath(variant.final_adapter), join(scratch, name), { recursive: true });
  await again.loadAdapter(join(scratch, name), { name: "theirs" });
  const theirs = await logitsOf(again, lora.probe_input_ids);
  expect(largestDifference(ours, theirs)).toBeLessThan(5e-4);
  again.setAdapter("ours");
  expect(await logitsOf(again, lora.probe_input_ids)).toEqual(ours);
  again.setAdapter(undefined);
  const base = await Phi3ForCausalLM.fromPretrained(referencePath(lora.start), { engine, tokenizer });
  expect(await logitsOf(again, lora.probe_input_ids)).toEqual(await logitsOf(base, lora.probe_input_ids));
});

describe("reference: learning rate schedules", () => {
  const schedules = referenceJson<{ total_steps: number; warmup_steps: number; multipliers: Record<string, number[]> }>(
    "schedules.json",
  );
  test.each(Object.entries(schedules.multipliers))("%s", (name, multipliers) => {
    const cycles = name === "cosine_num_cycles_1_5" ? 1.5 : 0.5;
    const kind = name.startsWith("cosine") ? "cosine" : (name as "linear" | "constant");
    multipliers.forEach((expected, step) => {
      const found = scheduleMultiplier(kind, step, schedules.total_steps, schedules.warmup_steps, cycles);
      expect(Math.abs(found - expected)).toBeLessThan(1e-8);
    });
  });
});
