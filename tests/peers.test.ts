// Models that Anneal trained and saved give the same results in transformers and PEFT. Needs a Python with both; the PYTHON
// environment variable sets its path.
import { execFile, spawn } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { LoraConfig } from "../src/adapters/index.ts";
import { Phi3ForCausalLM } from "../src/models/index.ts";
import { newestCheckpoint, train } from "../src/train/index.ts";
import { toyModel, toyOptions } from "../src/train/toy.ts";
import { root } from "./reference.ts";

const run = promisify(execFile);
const python = process.env.PYTHON ?? "python3";
const found = await run(python, ["-c", "import torch, transformers, peft"], { timeout: 120_000 }).then(
  () => true,
  () => false,
);
if (!found) {
  process.stderr.write("No Python with torch, transformers and peft (PYTHON): saved models are not tried in them.\n");
}

const scratch = await mkdtemp(join(tmpdir(), "anneal-peers-"));
afterAll(() => rm(scratch, { recursive: true, force: true }));
beforeAll(() => {
  process.env.ANNEAL_DATA = join(scratch, "data");
});

const ids = [5, 17, 42, 99, 120, 7];

async function theirs(...args: string[]): Promise<{ logits: number[]; eos: number | number[] }> {
  const [model, ...adapter] = args;
  const script = join(root, "tests/peers/logits.py");
  const { stdout } = await run(python, [script, model, JSON.stringify(ids), ...adapter], {
    timeout: 240_000,
    maxBuffer: 2 ** 28,
  });
  return JSON.parse(stdout.trim().split("\n").at(-1) ?? "{}");
}

async function expectSame(model: Phi3ForCausalLM, found: { logits: number[] }): Promise<void> {
  const ours = await (await model.logits([ids])).data();
  expect(found.logits.length).toBe(ours.length);
  const worst = found.logits.reduce((most, value, i) => Math.max(most, Math.abs(value - ours[i])), 0);
  expect(worst).toBeLessThan(1e-4);
}

describe.skipIf(!found)("a model that was trained, killed, resumed and saved", () => {
  test("gives the same output in transformers", async () => {
    const outputDir = join(scratch, "killed");
    const child = spawn(process.execPath, [join(root, "dist/src/train/toy.js"), outputDir], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    await new Promise<void>((resolve) => {
      child.stdout.on("data", (chunk: Buffer) => {
        if (chunk.toString().includes("step 7\n")) child.kill("SIGKILL");
      });
      child.on("exit", () => resolve());
    });
    expect((await newestCheckpoint(outputDir))?.state.step).toBeLessThanOrEqual(6);
    const model = toyModel();
    await train(model, {
      ...toyOptions(),
      maxSteps: 12,
      saveSteps: 2,
      saveTotalLimit: 3,
      outputDir,
      resumeFromCheckpoint: true,
    });
    await model.save(join(scratch, "model"), { maxShardSize: 20_000 });
    await expectSame(
      await Phi3ForCausalLM.fromPretrained(join(scratch, "model")),
      await theirs(join(scratch, "model")),
    );
    await expectSame(model, await theirs(join(scratch, "model")));
  }, 600_000);

  test("as an adapter gives the same output in PEFT, separate and merged", async () => {
    const base = toyModel();
    await base.save(join(scratch, "base"));
    for (const [name, peftConfig] of Object.entries({
      lora: new LoraConfig({ r: 4, loraAlpha: 8 }),
      dora: new LoraConfig({ r: 4, useDora: true, useRslora: true, targetModules: ["qkv_proj", "down_proj"] }),
      patterned: new LoraConfig({ r: 4, rankPattern: { o_proj: 2 }, alphaPattern: { "mlp.down_proj": 3 } }),
      whole: new LoraConfig({ r: 4, targetModules: ["o_proj"], modulesToSave: ["lm_head"], loraBias: true }),
    })) {
      const model = await Phi3ForCausalLM.fromPretrained(join(scratch, "base"));
      await train(model, { ...toyOptions(), maxSteps: 5, learningRate: 2e-2, peftConfig });
      await model.saveAdapter(join(scratch, name));
      await expectSame(model, await theirs(join(scratch, "base"), join(scratch, name)));
      if (peftConfig.loraBias) continue;
      await model.save(join(scratch, `${name}-merged`));
      await expectSame(model, await theirs(join(scratch, `${name}-merged`)));
    }
  }, 600_000);
});
