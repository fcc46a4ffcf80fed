import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { mkdtemp, readdir, rm, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeEach, describe, expect, test, vi } from "vitest";
import { LoraConfig } from "../adapters/index.ts";
import { collate } from "../data/index.ts";
import { newestCheckpoint, type TrainOptions, train } from "./index.ts";
import { toyData, toyModel, toyOptions } from "./toy.ts";

const scratch = await mkdtemp(join(tmpdir(), "anneal-train-"));
afterAll(() => rm(scratch, { recursive: true, force: true }));
beforeEach(() => {
  process.env.ANNEAL_DATA = join(scratch, "data");
});

const folder = (name: string) => join(scratch, name);

function digest(weights: Record<string, { data: ArrayBufferView }>): string {
  const hash = createHash("sha256");
  for (const name of Object.keys(weights).sort()) {
    const { buffer, byteOffset, byteLength } = weights[name].data;
    hash.update(new Uint8Array(buffer, byteOffset, byteLength));
  }
  return hash.digest("hex");
}

describe("training", () => {
  test("reduces the loss, and the same seed gives bit-identical weights", async () => {
    const results = [];
    for (const name of ["a", "b"]) {
      const model = toyModel();
      const losses: number[] = [];
      await train(model, { ...toyOptions(), outputDir: folder(name), onStep: ({ loss }) => losses.push(loss) });
      results.push({ losses, weights: digest(await model.stateDict()) });
    }
    expect(results[0]).toEqual(results[1]);
    expect(results[0].losses.at(-1)).toBeLessThan(results[0].losses[0] * 0.7);
  });

  test.each([
    ["adam", 5e-3],
    ["sgd", 5e-2],
    ["lion", 1e-3],
    ["adafactor", 5e-2],
    ["muon", 5e-3],
  ] as const)(
    "with %s reduces the loss, and resuming from a checkpoint gives the same result as no interruption",
    async (optimizer, learningRate) => {
      const run = async (name: string, changes: Partial<TrainOptions>) => {
        const model = toyModel();
        const losses: number[] = [];
        await train(model, {
          ...toyOptions(),
          optimizer,
          learningRate,
          outputDir: folder(name),
          saveSteps: 20,
          onStep: ({ loss }) => losses.push(loss),
          ...changes,
        });
        return { losses, weights: digest(await model.stateDict()) };
      };
      const through = await run(`${optimizer}-through`, {});
      expect(through.losses.at(-1)).toBeLessThan(through.losses[0] * 0.9);
      await rm(join(folder(`${optimizer}-through`), "step-000030"), { recursive: true });
      const resumed = await run(`${optimizer}-through`, { resumeFromCheckpoint: true });
      expect(resumed.losses).toEqual(through.losses.slice(20));
      expect(resumed.weights).toBe(through.weights);
    },
  );

  test("with gradient checkpointing gives the same losses", async () => {
    const losses = async (gradientCheckpointing: boolean) => {
      const seen: number[] = [];
      const options = {
        ...toyOptions(),
        maxSteps: 5,
        gradientCheckpointing,
        outputDir: folder(`gc-${gradientCheckpointing}`),
      };
      await train(toyModel(), { ...options, onStep: ({ loss }) => seen.push(loss) });
      return seen;
    };
    const [kept, recomputed] = [await losses(false), await losses(true)];
    for (const [i, loss] of kept.entries()) expect(recomputed[i]).toBeCloseTo(loss, 5);
  });

  test("two accumulated micro-batches equal one batch of both", async () => {
    const [whole, halves] = [toyModel(), toyModel()];
    const options = { ...toyOptions(), maxSteps: 3 };
    await train(whole, { ...options, perDeviceTrainBatchSize: 4, outputDir: folder("whole") });
    await train(halves, {
      ...options,
      perDeviceTrainBatchSize: 2,
      gradientAccumulationSteps: 2,
      outputDir: folder("halves"),
    });
    const [a, b] = [await whole.stateDict(), await halves.stateDict()];
    for (const name of Object.keys(a)) {
      const difference = Math.max(...Array.from(a[name].data, (v, i) => Math.abs(v - b[name].data[i])));
      expect(difference, name).toBeLessThan(2e-5);
    }
  });

  test("LoRA does not change the model's own weights", async () => {
    const model = toyModel();
    const own = async () => {
      const weights = Object.entries(await model.stateDict()).filter(([name]) => !name.includes(".adapters."));
      return digest(Object.fromEntries(weights));
    };
    const before = await own();
    const { trainable, total } = model.countParameters();
    expect(trainable).toBe(total);
    const peftConfig = new LoraConfig({ r: 2, loraAlpha: 4, loraDropout: 0.1 });
    await train(model, { ...toyOptions(), peftConfig, outputDir: folder("lora") });
    expect(await own()).toBe(before);
    expect(model.countParameters().trainable).toBeLessThan(total / 5);
  });

  test("LoRA with dropout resumes to the same weights as without interruption", async () => {
    const run = async (changes: Partial<TrainOptions>) => {
      const model = toyModel();
      const peftConfig = new LoraConfig({ r: 2, loraDropout: 0.3 });
      await train(model, { ...toyOptions(), maxSteps: 8, saveSteps: 4, peftConfig, ...changes });
      return digest(await model.stateDict());
    };
    const through = await run({ outputDir: folder("dropout") });
    await rm(join(folder("dropout"), "step-000008"), { recursive: true });
    expect(await run({ outputDir: folder("dropout"), resumeFromCheckpoint: true })).toBe(through);
  });

  test.each([
    ["int8", 0.01],
    ["nf4", 0.05],
  ] as const)(
    "LoRA trains on a base in %s as on the float one; full training rejects it",
    async (quantization, tolerance) => {
      const curves: number[][] = [];
      for (const kind of [undefined, quantization]) {
        const model = toyModel({ device: "cpu" });
        if (kind) await model.quantize(kind);
        const losses: number[] = [];
        await train(model, {
          ...toyOptions(),
          peftConfig: new LoraConfig({ r: 4, loraAlpha: 8 }),
          learningRate: 2e-2,
          outputDir: folder(`base-${quantization}-${kind}`),
          onStep: ({ loss }) => losses.push(loss),
        });
        curves.push(losses);
        expect(model.quantization).toBe(kind);
      }
      const [full, few] = curves;
      expect(full.at(-1)).toBeLessThan(full[0] * 0.95);
      expect(Math.max(...full.map((loss, i) => Math.abs(few[i] - loss) / loss))).toBeLessThan(tolerance);
      const model = toyModel({ device: "cpu" });
      await model.quantize(quantization);
      await expect(train(model, { ...toyOptions(), outputDir: folder("refused") })).rejects.toThrow(
        "Quantized weights cannot be trained",
      );
    },
  );

  test.each(["host", "disk"] as const)(
    "an optimizer with its state on the %s takes the same steps, and resumes",
    async (offloadOptimizer) => {
      const run = async (changes: Partial<TrainOptions>) => {
        const model = toyModel();
        await train(model, { ...toyOptions(), maxSteps: 6, saveSteps: 4, gradientAccumulationSteps: 2, ...changes });
        return model.stateDict();
      };
      const expected = await run({ outputDir: folder(`on-device-${offloadOptimizer}`) });
      const outputDir = folder(`off-${offloadOptimizer}`);
      const found = await run({ outputDir, offloadOptimizer });
      for (const [name, { data }] of Object.entries(expected)) {
        data.forEach((value, i) => {
          if (Math.abs(found[name].data[i] - value) > 1e-6)
            throw new Error(`${name}: ${found[name].data[i]}, ${value}`);
        });
      }
      expect((await readdir(outputDir)).sort()).toEqual(["step-000004", "step-000006"]);
      await rm(join(outputDir, "step-000006"), { recursive: true });
      expect(digest(await run({ outputDir, offloadOptimizer, resumeFromCheckpoint: true }))).toBe(digest(found));
    },
  );

  test("training with int8 products reaches nearly the same loss", async () => {
    const curves: number[][] = [];
    for (const precision of ["float32", "int8"] as const) {
      const losses: number[] = [];
      await train(toyModel({ device: "cpu" }), {
        ...toyOptions(),
        precision,
        outputDir: folder(precision),
        onStep: ({ loss }) => losses.push(loss),
      });
      curves.push(losses);
    }
    const [full, bytes] = curves;
    expect(bytes).not.toEqual(full);
    expect(Math.max(...full.map((loss, i) => Math.abs(bytes[i] - loss) / loss))).toBeLessThan(0.02);
  });

  test("a packed row trains on every document in it", async () => {
    const model = toyModel();
    const { tokens } = await train(model, {
      ...toyOptions(),
      maxSteps: 2,
      perDeviceTrainBatchSize: 2,
      maxLength: 64,
      packing: true,
      outputDir: folder("packed"),
    });
    expect(tokens).toBeGreaterThan(2 * 2 * 40);
  });
});

describe("invalid input is rejected before anything changes", () => {
  test.each([
    [{ trainDataset: { ...toyData(), examples: [] } }, "The training data toy has no rows with a token to learn"],
    [{ learningRate: -1 }, "learningRate must be in [0, Infinity), not -1"],
    [{ perDeviceTrainBatchSize: 1.5 }, "perDeviceTrainBatchSize must be an integer of at least 1, not 1.5"],
    [{ maxLength: 100_000 }, "maxLength must be from 2 to the model's"],
    [{ precision: "int4" as "int8" }, "precision must be float32 or int8, not int4"],
    [{ precision: "int8" as const, peftConfig: new LoraConfig() }, 'precision "int8" is for training every weight'],
    [{ lrSchedulerType: "sinus" as "cosine" }, "lrSchedulerType must be linear, cosine or constant, not sinus"],
    [{ resumeFromCheckpoint: true, outputDir: undefined }, "resumeFromCheckpoint: true needs the outputDir"],
    [{ optimizer: "sgd" as const, learningRate: undefined }, "learningRate is required for the optimizer sgd"],
    [{ optimizer: "rmsprop" as "sgd" }, "optimizer must be adamw, adam, sgd, lion, adafactor or muon, not rmsprop"],
  ])("%o", async (wrong, message) => {
    const model = toyModel();
    await expect(train(model, { ...toyOptions(), outputDir: folder("bad"), ...wrong })).rejects.toThrow(message);
    expect(existsSync(folder("bad"))).toBe(false);
  });

  test("a NaN loss stops the training with the last finite weights, and it can resume with another learning rate", async () => {
    const model = toyModel();
    const options = { ...toyOptions(), maxSteps: 6, learningRate: 1e30, warmupSteps: 0, outputDir: folder("nan") };
    await expect(train(model, options)).rejects.toThrow(/The loss became .* Lower learningRate/);
    const weights = await model.stateDict();
    expect(Object.values(weights).every(({ data }) => data.every(Number.isFinite))).toBe(true);

    const again = toyModel();
    const folders = await readdir(folder("nan"));
    expect(folders).toEqual(["step-000001"]);
    const losses: number[] = [];
    await train(again, {
      ...options,
      learningRate: 1e-3,
      resumeFromCheckpoint: true,
      onStep: ({ loss }) => losses.push(loss),
    }).catch((error: Error) => expect(error.message).toContain("The loss became"));
    expect(losses.length).toBeLessThanOrEqual(5);
  });

  test("every row is used in every epoch, also if the last batch is smaller", async () => {
    const { examples, ...rest } = toyData();
    const few = { ...rest, examples: examples.slice(0, 15) };
    const tokensOf = (count: number) =>
      few.examples.slice(0, count).reduce((sum, { inputIds }) => sum + inputIds.length - 1, 0);
    const { steps, tokens } = await train(toyModel(), {
      ...toyOptions(),
      trainDataset: few,
      maxSteps: undefined as unknown as number,
      numTrainEpochs: 3,
      perDeviceTrainBatchSize: 8,
      outputDir: folder("epochs"),
    });
    expect(steps).toBe(6);
    expect(tokens).toBe(3 * tokensOf(15));
  });

  test("rows without a token to learn are skipped, and their number is reported before the first step", async () => {
    const said = vi.spyOn(process.stderr, "write").mockReturnValue(true);
    const { examples, ...rest } = toyData();
    const silent = { inputIds: [5, 6, 7], labels: [-100, -100, -100] };
    await train(toyModel(), {
      ...toyOptions(),
      trainDataset: { ...rest, examples: [...examples, silent, silent] },
      maxSteps: 1,
      outputDir: folder("dropped"),
    });
    expect(said.mock.calls.map(([text]) => String(text)).join("")).toContain(
      "toy: 2 rows are skipped (no token to learn within",
    );
    said.mockRestore();
  });

  test("an output folder that is not writable or contains another training is rejected before the first step", async () => {
    await writeFile(folder("file"), "");
    await expect(train(toyModel(), { ...toyOptions(), outputDir: join(folder("file"), "out") })).rejects.toThrow(
      /Checkpoints cannot be written to .*file/,
    );
    await train(toyModel(), { ...toyOptions(), maxSteps: 1, outputDir: folder("taken") });
    await expect(train(toyModel(), { ...toyOptions(), outputDir: folder("taken") })).rejects.toThrow(
      /holds checkpoints of another training run \(.*step-000001\)/,
    );
  });
});

describe("checkpoints", () => {
  const options = () => ({ ...toyOptions(), maxSteps: 12, saveSteps: 2, saveTotalLimit: 3 });

  test("a training killed in mid-epoch resumes to the same weights as without interruption", async () => {
    const model = toyModel();
    await train(model, { ...options(), outputDir: folder("through") });
    const expected = digest(await model.stateDict());

    const script = fileURLToPath(new URL("./toy.js", import.meta.url));
    const child = spawn(process.execPath, [script, folder("killed")], { stdio: ["ignore", "pipe", "inherit"] });
    await new Promise<void>((resolve) => {
      child.stdout.on("data", (chunk: Buffer) => {
        // Step 7 is not a step that is saved: what came after step 6 is lost and must be done again.
        if (chunk.toString().includes("step 7\n")) child.kill("SIGKILL");
      });
      child.on("exit", () => resolve());
    });
    expect(child.signalCode).toBe("SIGKILL");
    // A checkpoint is written while the next steps run: that of step 6 may have been cut off.
    const from = (await newestCheckpoint(folder("killed")))?.state.step ?? 0;
    expect([2, 4, 6]).toContain(from);

    const resumed = toyModel();
    const steps: number[] = [];
    const { onStep, ...rest } = options();
    await train(resumed, {
      ...rest,
      outputDir: folder("killed"),
      resumeFromCheckpoint: true,
      onStep: ({ step }) => steps.push(step),
    });
    expect(steps).toEqual(Array.from({ length: 12 - from }, (_, i) => from + 1 + i));
    expect(digest(await resumed.stateDict())).toBe(expected);
    expect(onStep).toBeUndefined();
  });

  test("only saveTotalLimit checkpoints are kept, and partial ones are never used", async () => {
    const model = toyModel();
    await train(model, { ...options(), outputDir: folder("kept") });
    expect((await readdir(folder("kept"))).sort()).toEqual(["step-000008", "step-000010", "step-000012"]);
  });

  test("a truncated checkpoint is skipped for an earlier one; if all are damaged, the error says so", async () => {
    const model = toyModel();
    await train(model, { ...options(), outputDir: folder("cut") });
    await truncate(join(folder("cut"), "step-000012", "weights.safetensors"), 100);
    expect((await newestCheckpoint(folder("cut")))?.state.step).toBe(10);
    await writeFile(join(folder("cut"), "step-000010", "trainer_state.json"), "{}");
    await truncate(join(folder("cut"), "step-000008", "optimizer.safetensors"), 0);
    await expect(newestCheckpoint(folder("cut"))).rejects.toThrow("are damaged. Delete the folder");
  });

  test("training resumes with more steps, another learning rate, and 2 x 2 instead of 4 x 1, and reports the changes", async () => {
    const said = vi.spyOn(process.stderr, "write").mockReturnValue(true);
    const first = { ...options(), maxSteps: 4, saveSteps: 4, outputDir: folder("changed") };
    await train(toyModel(), first);
    const steps: number[] = [];
    await train(toyModel(), {
      ...first,
      maxSteps: 6,
      learningRate: 1e-3,
      perDeviceTrainBatchSize: 2,
      gradientAccumulationSteps: 2,
      resumeFromCheckpoint: true,
      onStep: ({ step }) => steps.push(step),
    });
    expect(steps).toEqual([5, 6]);
    const text = said.mock.calls.map(([line]) => String(line)).join("");
    said.mockRestore();
    expect(text).toContain("Resuming from step 4 with changes:");
    for (const change of ["learningRate 0.005 -> 0.001", "totalSteps 4 -> 6", "perDeviceTrainBatchSize 4 -> 2"]) {
      expect(text).toContain(change);
    }
  });

  test("resuming a finished training trains nothing and reports it", async () => {
    const ended = { ...options(), maxSteps: 2, outputDir: folder("ended") };
    const before = await train(toyModel(), ended);
    const said = vi.spyOn(process.stderr, "write").mockReturnValue(true);
    const after = await train(toyModel(), { ...ended, resumeFromCheckpoint: true });
    const text = said.mock.calls.map(([line]) => String(line)).join("");
    said.mockRestore();
    expect(text).toContain("This training already ended at step 2 of 2, so nothing is trained.");
    expect(after).toMatchObject({ runId: before.runId, steps: 2, loss: before.loss });
  });

  test("a checkpoint of other data, another adapter or batch size is rejected, with the difference", async () => {
    await train(toyModel(), { ...options(), maxSteps: 2, outputDir: folder("other") });
    const again = { ...options(), maxSteps: 2, outputDir: folder("other"), resumeFromCheckpoint: true };
    await expect(train(toyModel(), { ...again, perDeviceTrainBatchSize: 2 })).rejects.toThrow(
      "was trained with perDeviceTrainBatchSize x gradientAccumulationSteps 4, now it is 2",
    );
    await expect(train(toyModel(), { ...again, seed: 6 })).rejects.toThrow("was trained with seed 5, now it is 6");
    await expect(train(toyModel(), { ...again, peftConfig: new LoraConfig() })).rejects.toThrow(
      "was trained with method full, now it is lora",
    );
    const trainDataset = { ...toyData(), digest: "another" };
    await expect(train(toyModel(), { ...again, trainDataset })).rejects.toThrow("was trained on other data");
  });

  test("the best model is loaded at the end, and its checkpoint is kept", async () => {
    const model = toyModel();
    const { examples, ...rest } = toyData();
    const result = await train(model, {
      ...toyOptions(),
      trainDataset: { ...rest, examples: examples.slice(0, 8) },
      evalDataset: { ...rest, examples: examples.slice(30) },
      maxSteps: 60,
      learningRate: 2e-2,
      evalSteps: 5,
      saveTotalLimit: 1,
      loadBestModelAtEnd: true,
      metricForBestModel: "eval_loss",
      outputDir: folder("best"),
    });
    const { best } = (await newestCheckpoint(folder("best")))?.state ?? {};
    expect(best?.step).toBeLessThan(60);
    expect(result.bestCheckpoint).toContain(`step-${String(best?.step).padStart(6, "0")}`);
    expect(result.evalLoss).toBe(best?.value);
    const batch = collate(
      examples.slice(30).map((example) => [example]),
      16,
      0,
    );
    const { losses } = await model.tokenLosses(batch);
    const mean = losses.reduce((a, b) => a + b, 0) / batch.tokens;
    expect(mean).toBeCloseTo(best?.value ?? Number.NaN, 3);
    await expect(train(toyModel(), { ...toyOptions(), loadBestModelAtEnd: true })).rejects.toThrow(
      "loadBestModelAtEnd needs an evalDataset",
    );
  });
});
