import { cp, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { referenceJson, referencePath } from "../../tests/reference.ts";
import type { Batch } from "../data/index.ts";
import { Engine } from "../engine/index.ts";
import { batchInputs, LanguageModel, readSafetensors } from "../models/index.ts";
import { Tokenizer } from "../text/index.ts";
import { AdamW } from "./optimizers/index.ts";
import { stepProgram } from "./programs.ts";
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

function toBatch({ input_ids, attention_mask, labels }: Rows): Batch {
  const targets = labels.flatMap((row) => [...row.slice(1), -100]);
  return {
    batch: input_ids.length,
    length: input_ids[0].length,
    inputIds: Int32Array.from(input_ids.flat()),
    positions: Int32Array.from(input_ids.flatMap((row) => row.map((_, i) => i))),
    segments: Int32Array.from(attention_mask.flat()),
    targets: Int32Array.from(targets),
    tokens: targets.filter((label) => label !== -100).length,
  };
}

/** Train through the given batches as the reference did, and compare every step. */
async function follow(
  model: LanguageModel,
  optimizer: Optimizer,
  steps: readonly Step[],
  gradientCheckpointing = false,
) {
  const adamw = new AdamW({
    beta1: optimizer.betas[0],
    beta2: optimizer.betas[1],
    epsilon: optimizer.eps,
    weightDecay: optimizer.wd,
    maxGradNorm: optimizer.clip,
  });
  const shapes = model.parameterShapes();
  const names = model.trainableNames();
  await model.state.write(adamw.initialState(new Map(names.map((name) => [name, shapes.get(name) ?? []]))));
  for (const [i, expected] of steps.entries()) {
    const batch = toBatch(batches[i]);
    const learningRate = optimizer.lr * scheduleMultiplier("cosine", i, steps.length, optimizer.warmup);
    expect(Math.abs(learningRate - expected.lr)).toBeLessThan(1e-8);
    const program = await model.program(`step ${batch.batch}x${batch.length}`, () =>
      stepProgram(model, batch.batch, batch.length, {
        optimizer: adamw,
        accumulated: false,
        gradientCheckpointing,
      }),
    );
    const lossScale = Float32Array.of(1 / batch.tokens);
    const inputs = { ...batchInputs(batch), ...adamw.inputsAt(i, learningRate), lossScale };
    const { loss, gradNorm } = await program.run(inputs, model.state);
    expect(Math.abs(loss[0] / expected.loss - 1), `loss of step ${i}`).toBeLessThan(1e-4);
    expect(Math.abs(gradNorm[0] / expected.grad_norm - 1), `gradient norm of step ${i}`).toBeLessThan(1e-4);
  }
}

async function logitsOf(model: LanguageModel, ids: number[][]): Promise<Float32Array> {
  const [batch, length] = [ids.length, ids[0].length];
  const { logits, targets } = model.buildLogits(batch, length);
  const program = await engine.compile({ outputs: { logits, targets } });
  const rows = { input_ids: ids, attention_mask: ids.map((row) => row.map(() => 1)), labels: ids };
  const found = await program.run(batchInputs(toBatch(rows)), model.state);
  return found.logits as Float32Array;
}

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
  const model = await LanguageModel.load(referencePath(trajectory.start), { engine, tokenizer });
  await follow(model, trajectory.optimizer, trajectory.steps, gradientCheckpointing);

  const weights = await model.weights();
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
  const model = await LanguageModel.load(referencePath(lora.start), { engine, tokenizer });
  await model.loadAdapter(referencePath(variant.initial_adapter));
  const probe = await readSafetensors(referencePath(`sft-lora/${name}/probe.safetensors`));
  const initial = await logitsOf(model, lora.probe_input_ids);
  expect(largestDifference(initial, probe.initial_logits.data)).toBeLessThan(1e-4);

  await follow(model, lora.optimizer, variant.steps);

  const expected = await readSafetensors(referencePath(`${variant.final_adapter}/adapter_model.safetensors`));
  const adapter = await model.weights(model.trainableNames());
  expect(Object.keys(adapter).sort()).toEqual(Object.keys(expected).sort());
  for (const [parameter, { data }] of Object.entries(adapter)) {
    expect(largestDifference(data, expected[parameter].data), parameter).toBeLessThan(5e-5);
  }
  await model.merge();
  expect(largestDifference(await logitsOf(model, lora.probe_input_ids), probe.merged_logits.data)).toBeLessThan(2e-4);

  // The adapter we write is one that PEFT's layout describes: it goes back on the base and says the same.
  const again = await LanguageModel.load(referencePath(lora.start), { engine, tokenizer });
  await cp(referencePath(variant.final_adapter), join(scratch, name), { recursive: true });
  await again.loadAdapter(join(scratch, name));
  const merged = await again.mergedWeights();
  const direct = await model.weights();
  for (const key of Object.keys(merged)) {
    expect(largestDifference(merged[key].data, direct[key].data), key).toBeLessThan(5e-4);
  }
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
