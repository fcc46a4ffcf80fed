import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { mkdtemp, readdir, rm, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeEach, describe, expect, test } from "vitest";
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
  test("brings the loss down, and the same seed gives the same weights to the last bit", async () => {
    const results = [];
    for (const name of ["a", "b"]) {
      const model = await toyModel();
      const losses: number[] = [];
      await train(model, { ...toyOptions(), outputDir: folder(name), onStep: ({ loss }) => losses.push(loss) });
      results.push({ losses, weights: digest(await model.weights()) });
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
    "with %s brings the loss down, and goes on from a checkpoint as if it had never stopped",
    async (optimizer, learningRate) => {
      const run = async (name: string, changes: Partial<TrainOptions>) => {
        const model = await toyModel();
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
        return { losses, weights: digest(await model.weights()) };
      };
      const through = await run(`${optimizer}-through`, {});
      expect(through.losses.at(-1)).toBeLessThan(through.losses[0] * 0.9);
      await rm(join(folder(`${optimizer}-through`), "step-000030"), { recursive: true });
      const resumed = await run(`${optimizer}-through`, { resume: true });
      expect(resumed.losses).toEqual(through.losses.slice(20));
      expect(resumed.weights).toBe(through.weights);
    },
  );

  test("with gradient checkpointing takes the same steps", async () => {
    const losses = async (gradientCheckpointing: boolean) => {
      const seen: number[] = [];
      const options = {
        ...toyOptions(),
        maxSteps: 5,
        gradientCheckpointing,
        outputDir: folder(`gc-${gradientCheckpointing}`),
      };
      await train(await toyModel(), { ...options, onStep: ({ loss }) => seen.push(loss) });
      return seen;
    };
    const [kept, recomputed] = [await losses(false), await losses(true)];
    for (const [i, loss] of kept.entries()) expect(recomputed[i]).toBeCloseTo(loss, 5);
  });

  test("two micro-batches make the same step as one batch of both", async () => {
    const [whole, halves] = [await toyModel(), await toyModel()];
    const options = { ...toyOptions(), maxSteps: 3 };
    await train(whole, { ...options, perDeviceBatchSize: 4, outputDir: folder("whole") });
    await train(halves, {
      ...options,
      perDeviceBatchSize: 2,
      gradientAccumulationSteps: 2,
      outputDir: folder("halves"),
    });
    const [a, b] = [await whole.weights(), await halves.weights()];
    for (const name of Object.keys(a)) {
      const difference = Math.max(...Array.from(a[name].data, (v, i) => Math.abs(v - b[name].data[i])));
      expect(difference, name).toBeLessThan(2e-5);
    }
  });

  test("LoRA leaves the model's own weights as they were", async () => {
    const model = await toyModel();
    const before = digest(await model.weights());
    const { trainable, total } = model.countParameters();
    expect(trainable).toBe(total);
    await train(model, { ...toyOptions(), method: "lora", lora: { r: 2, loraAlpha: 4 }, outputDir: folder("lora") });
    const own = Object.entries(await model.weights()).filter(([name]) => !name.startsWith("base_model."));
    expect(digest(Object.fromEntries(own))).toBe(before);
    expect(model.countParameters().trainable).toBeLessThan(total / 5);
  });

  test("LoRA on a base in 8 bits learns as on the full one, which full training refuses", async () => {
    const curves: number[][] = [];
    for (const quantization of [undefined, "int8"] as const) {
      const model = await toyModel({ device: "cpu" });
      const losses: number[] = [];
      await train(model, {
        ...toyOptions(),
        method: "lora",
        lora: { r: 4, loraAlpha: 8 },
        learningRate: 2e-2,
        ...(quantization ? { quantization } : {}),
        outputDir: folder(`base-${quantization}`),
        onStep: ({ loss }) => losses.push(loss),
      });
      curves.push(losses);
      expect(model.quantization).toBe(quantization);
    }
    const [full, bytes] = curves;
    expect(full.at(-1)).toBeLessThan(full[0] * 0.95);
    expect(Math.max(...full.map((loss, i) => Math.abs(bytes[i] - loss) / loss))).toBeLessThan(0.01);
    const options = { ...toyOptions(), quantization: "int8" as const, outputDir: folder("refused") };
    await expect(train(await toyModel(), options)).rejects.toThrow("Quantised weights cannot be trained");
  });

  test("products in bytes train every weight to nearly the same loss", async () => {
    const curves: number[][] = [];
    for (const precision of ["float32", "int8"] as const) {
      const losses: number[] = [];
      await train(await toyModel({ device: "cpu" }), {
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

  test("a packed row learns from every document in it", async () => {
    const model = await toyModel();
    const { tokens } = await train(model, {
      ...toyOptions(),
      maxSteps: 2,
      perDeviceBatchSize: 2,
      maxSeqLength: 64,
      packing: true,
      outputDir: folder("packed"),
    });
    expect(tokens).toBeGreaterThan(2 * 2 * 40);
  });
});

describe("bad input is refused before anything changes", () => {
  test.each([
    [{ trainData: { ...toyData(), examples: [] } }, "The training data toy is empty"],
    [{ learningRate: -1 }, "learningRate must be in [0, Infinity), not -1"],
    [{ perDeviceBatchSize: 1.5 }, "perDeviceBatchSize must be a whole number of 1 or more, not 1.5"],
    [{ maxSeqLength: 100_000 }, "maxSeqLength must be from 2 to the model's"],
    [{ precision: "int4" as "int8" }, 'precision must be "float32" or "int8", not "int4"'],
    [{ precision: "int8" as const, method: "lora" as const }, 'precision "int8" is for method "full"'],
    [{ lrScheduler: "sinus" as "cosine" }, "lrScheduler must be linear, cosine or constant, not sinus"],
    [{ resume: true, outputDir: undefined }, "resume needs the outputDir"],
    [{ optimizer: "sgd" as const, learningRate: undefined }, "There is no usual learningRate for sgd; give one."],
    [
      { optimizer: "rmsprop" as "sgd" },
      "optimizer must be one of adamw, adam, sgd, lion, adafactor, muon, not rmsprop",
    ],
  ])("%o", async (wrong, message) => {
    const model = await toyModel();
    await expect(train(model, { ...toyOptions(), outputDir: folder("bad"), ...wrong })).rejects.toThrow(message);
    expect(existsSync(folder("bad"))).toBe(false);
  });

  test("a loss that is no number stops the training and says what to turn down", async () => {
    const model = await toyModel();
    const options = { ...toyOptions(), learningRate: 1e30, warmupSteps: 0, outputDir: folder("nan") };
    await expect(train(model, options)).rejects.toThrow(/The loss became .* Lower learningRate/);
  });
});

describe("checkpoints", () => {
  const options = () => ({ ...toyOptions(), maxSteps: 12, saveSteps: 2, saveTotalLimit: 3 });

  test("a training killed in mid-epoch resumes to the very weights of one that ran through", async () => {
    const model = await toyModel();
    await train(model, { ...options(), outputDir: folder("through") });
    const expected = digest(await model.weights());

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
    expect((await newestCheckpoint(folder("killed")))?.state.step).toBe(6);

    const resumed = await toyModel();
    const steps: number[] = [];
    const { onStep, ...rest } = options();
    await train(resumed, {
      ...rest,
      outputDir: folder("killed"),
      resume: true,
      onStep: ({ step }) => steps.push(step),
    });
    expect(steps).toEqual([7, 8, 9, 10, 11, 12]);
    expect(digest(await resumed.weights())).toBe(expected);
    expect(onStep).toBeUndefined();
  });

  test("only as many as asked are kept, and half-written ones never look whole", async () => {
    const model = await toyModel();
    await train(model, { ...options(), outputDir: folder("kept") });
    expect((await readdir(folder("kept"))).sort()).toEqual(["step-000008", "step-000010", "step-000012"]);
  });

  test("one that is cut short is passed over for an earlier one; when none is whole, that is said", async () => {
    const model = await toyModel();
    await train(model, { ...options(), outputDir: folder("cut") });
    await truncate(join(folder("cut"), "step-000012", "weights.safetensors"), 100);
    expect((await newestCheckpoint(folder("cut")))?.state.step).toBe(10);
    await writeFile(join(folder("cut"), "step-000010", "trainer_state.json"), "{}");
    await truncate(join(folder("cut"), "step-000008", "optimizer.safetensors"), 0);
    await expect(newestCheckpoint(folder("cut"))).rejects.toThrow("is whole. Delete the folder");
  });

  test("one made with other settings or data is refused by name", async () => {
    const model = await toyModel();
    await train(model, { ...options(), maxSteps: 2, outputDir: folder("other") });
    const again = { ...options(), maxSteps: 2, outputDir: folder("other"), resume: true };
    await expect(train(await toyModel(), { ...again, learningRate: 1 })).rejects.toThrow(
      "was trained with learningRate",
    );
    const trainData = { ...toyData(), digest: "another" };
    await expect(train(await toyModel(), { ...again, trainData })).rejects.toThrow("was trained on other data");
  });
});
