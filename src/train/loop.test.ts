import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import type { Notebook } from "../display/index.ts";
import { program } from "../engine/index.ts";
import { Conv2d, Dropout, Embedding, init, LayerNorm, Linear, Module, RMSNorm, Sequential } from "../nn/index.ts";
import { crossEntropy, parameter, Random, relu, type Tensor, tensor } from "../tensor/index.ts";
import { activeRun, startRun } from "../track/index.ts";
import { AdamW, SGD } from "./index.ts";

const scratch = mkdtempSync(join(tmpdir(), "anneal-loop-"));
beforeAll(() => {
  process.env.ANNEAL_DATA = scratch;
});
afterAll(() => rmSync(scratch, { recursive: true }));

const blob = new Random(1, "points").normal(64 * 4);
const points = tensor(blob, [64, 4]);
const classes = tensor(
  Int32Array.from({ length: 64 }, (_, i) => Number(blob[4 * i] + blob[4 * i + 1] > 0)),
  [64],
);

function classifier() {
  const model = new Sequential(new Linear(4, 16), relu, new Linear(16, 2)).initialize(1);
  const optimizer = new AdamW({ learningRate: 0.05 });
  const step = program((x: Tensor, y: Tensor) => {
    const logits = model.forward(x);
    const loss = crossEntropy(logits, y).mean();
    optimizer.minimize(loss, model);
    return { loss, accuracy: logits.argmax().equal(y).cast("float32").mean() };
  });
  return { model, optimizer, step };
}

/** A notebook whose cell ends when the test says so. */
function notebookStub() {
  const ends: ((failed: boolean) => unknown)[] = [];
  const controller = new AbortController();
  const shown: string[] = [];
  const notebook: Notebook = {
    display: (data) => shown.push(String(data["text/plain"])),
    clearOutput: () => undefined,
    input: async () => "",
    interruptSignal: () => controller.signal,
    onCellEnd: (finish) => ends.push(finish),
    comms: {
      open: () => {
        throw new Error("no front-end");
      },
      onOpen: () => () => undefined,
    },
    path: undefined,
    sessionId: "test",
    cells: [],
  };
  (globalThis as Record<symbol, unknown>)[Symbol.for("anneal.notebook")] = notebook;
  return {
    end: async (failed: boolean) => Promise.all(ends.splice(0).map((finish) => finish(failed))),
    controller,
    shown,
  };
}

afterEach(async () => {
  delete (globalThis as Record<symbol, unknown>)[Symbol.for("anneal.notebook")];
  await activeRun()?.end();
});

/** All that a run wrote into its journal. */
function journal(id: string): string {
  const folder = join(scratch, "journal");
  return readdirSync(folder, { recursive: true, encoding: "utf8" })
    .filter((name) => name.includes(id) && !name.endsWith(id))
    .map((name) => {
      try {
        return readFileSync(join(folder, name), "utf8");
      } catch {
        return "";
      }
    })
    .join("\n");
}

describe("a custom training loop", () => {
  test("trains, and is logged as a run that ends with its cell", async () => {
    const { end, shown } = notebookStub();
    const { step } = classifier();
    let last = { loss: Number.NaN, accuracy: 0 };
    for (let i = 0; i < 60; i++) {
      const { loss, accuracy } = await step(points, classes);
      last = { loss: loss.item(), accuracy: accuracy.item() };
    }
    expect(last.accuracy).toBeGreaterThan(0.95);
    const run = activeRun();
    expect(run).toBeDefined();
    const text = journal(run?.id ?? "");
    for (const word of [
      "train/loss",
      "train/accuracy",
      "train/grad_norm",
      "train/learning_rate",
      '"optimizer":"adamw"',
    ]) {
      expect(text).toContain(word);
    }
    expect(text).toContain("layers.0.weight");
    expect(shown.some((line) => /step 1 · loss/.test(line))).toBe(true);
    await end(false);
    expect(activeRun()).toBeUndefined();
    expect(shown.at(-1)).toMatch(/^step 60 · loss 0\.\d+ · .* steps\/s · done$/);
  }, 120_000);

  test("with two alternating optimizers is one run with the metrics of both", async () => {
    const { end } = notebookStub();
    const [one, two] = [classifier(), classifier()];
    for (let i = 0; i < 3; i++) {
      await one.step(points, classes);
      await two.step(points, classes);
    }
    const run = activeRun();
    const text = journal(run?.id ?? "");
    for (const word of ['"train/loss"', '"train/loop 2/loss"', '"loop 2.optimizer":"adamw"'])
      expect(text).toContain(word);
    await end(false);
    expect(journal(run?.id ?? "")).toContain('"model/loop 2/weights.safetensors"');
    expect(activeRun()).toBeUndefined();
  });

  test("gives bit-identical weights when it is repeated", async () => {
    notebookStub();
    const run = startRun();
    const train = async () => {
      const { model, step } = classifier();
      for (let i = 0; i < 10; i++) await step(points, classes);
      return model.stateDict();
    };
    expect(await train()).toEqual(await train());
    await run.end();
  });

  test("is stopped by an interrupt between two steps, with consistent weights", async () => {
    const { controller, end } = notebookStub();
    const { model, step } = classifier();
    for (let i = 0; i < 3; i++) await step(points, classes);
    const before = await model.stateDict();
    controller.abort();
    await expect(step(points, classes)).rejects.toThrow("Stopped after step 3.");
    expect(await model.stateDict()).toEqual(before);
    await end(true);
  });

  test("whose loss becomes NaN reports it, keeps the last finite weights, and can continue", async () => {
    notebookStub();
    const model = new Linear(1, 1, { bias: false });
    model.weight.set([1]);
    const optimizer = new SGD({ learningRate: 1e30 });
    const step = program((x: Tensor) => {
      optimizer.minimize(model.forward(x).square().mean(), model);
    });
    const last = await model.weight.data();
    await expect(
      (async () => {
        for (let i = 0; i < 5; i++) await step(tensor([[1e10]]));
      })(),
    ).rejects.toThrow(
      /The loss became .* \(gradient norm (Infinity|NaN)\) at step 1; .* Lower the learning rate \(now 1e\+30\)/,
    );
    expect(await model.weight.data()).toEqual(last);
    optimizer.learningRate = 0.5;
    await step(tensor([[1]]));
    expect(await model.weight.data()).toEqual(Float32Array.of(0));
  });
});

describe("modules", () => {
  class Block extends Module {
    readonly norm = new LayerNorm(8);
    readonly inner = [new Linear(8, 8), new Linear(8, 8, { bias: false })];
    readonly scale = parameter([8], init.constant(0.5));
    readonly seen = parameter([], init.constant(0), { requiresGrad: false });

    forward(x: Tensor): Tensor {
      return this.inner
        .reduce((h, layer) => relu(layer.forward(h)), this.norm.forward(x))
        .mul(this.scale)
        .add(x);
    }
  }

  test("name their parameters by their path", () => {
    const model = new Sequential(new Block(), relu, new Linear(8, 2));
    expect([...model.namedParameters().keys()]).toEqual([
      "layers.0.norm.weight",
      "layers.0.norm.bias",
      "layers.0.inner.0.weight",
      "layers.0.inner.0.bias",
      "layers.0.inner.1.weight",
      "layers.0.scale",
      "layers.0.seen",
      "layers.2.weight",
      "layers.2.bias",
    ]);
    expect(model.parameters()).toHaveLength(9);
    const trainable = 8 + 8 + 64 + 8 + 64 + 8 + 16 + 2;
    expect(model.countParameters()).toEqual({ total: trainable + 1, trainable });
  });

  test("are initialized from one seed, with a random stream for each parameter", async () => {
    const small = new Sequential(new Linear(3, 4)).initialize(5);
    const large = new Sequential(new Linear(3, 4), new Linear(4, 4)).initialize(5);
    expect((await large.stateDict())["layers.0.weight"]).toEqual((await small.stateDict())["layers.0.weight"]);
    const other = new Sequential(new Linear(3, 4)).initialize(6);
    expect((await other.stateDict())["layers.0.weight"]).not.toEqual((await small.stateDict())["layers.0.weight"]);
    const { data } = (await small.stateDict())["layers.0.weight"];
    expect(Math.max(...data.map(Math.abs))).toBeLessThan(1 / Math.sqrt(3));
  });

  test("save and load their state, and reject values that do not match", async () => {
    const model = new Linear(2, 1).initialize(1);
    const copy = new Linear(2, 1);
    copy.loadStateDict(await model.stateDict());
    expect(await copy.stateDict()).toEqual(await model.stateDict());
    const state = await model.stateDict();
    expect(() => new Linear(3, 1).loadStateDict(state)).toThrow("loadStateDict: weight is [1, 2], not [1, 3]");
    expect(() => new Linear(2, 1, { bias: false }).loadStateDict(state)).toThrow(
      "loadStateDict: bias is not in the model",
    );
  });

  test("compute the same as PyTorch's modules of the same name", async () => {
    const x = tensor(new Random(2, "x").normal(2 * 3 * 4), [2, 3, 4]);
    const linear = new Linear(4, 5).initialize(1);
    expect((await linear.forward(x).array()) as number[][][]).toHaveLength(2);
    expect(linear.forward(x).shape).toEqual([2, 3, 5]);
    expect(new Conv2d(3, 6, 3, { padding: "same" }).forward(x.reshape([1, 3, 2, 4])).shape).toEqual([1, 6, 2, 4]);
    expect(new Embedding(10, 4).forward(tensor(Int32Array.of(1, 2), [2])).shape).toEqual([2, 4]);
    const normed = await new LayerNorm(4).initialize(0).forward(x).data();
    expect(normed.slice(0, 4).reduce((a, b) => a + b)).toBeCloseTo(0, 5);
    const scaled = await new RMSNorm(4).initialize(0).forward(x).data();
    expect(scaled.slice(0, 4).reduce((a, b) => a + b * b, 0)).toBeCloseTo(4, 3);
  });

  test("apply dropout in training only, different at each run, and the same for the same seed", async () => {
    const run = async () => {
      const model = new Sequential(new Dropout(0.5)).initialize(3);
      const apply = program((x: Tensor) => model.forward(x));
      const ones = new Float32Array(1000).fill(1);
      const first = await (await apply(ones)).data();
      const second = await (await apply(ones)).data();
      model.eval();
      const plain = await (await apply(ones)).data();
      return { first, second, plain };
    };
    const { first, second, plain } = await run();
    const kept = first.filter((v) => v !== 0);
    expect(kept.every((v) => v === 2)).toBe(true);
    expect(Math.abs(kept.length - 500)).toBeLessThan(80);
    expect(second).not.toEqual(first);
    expect(plain.every((v) => v === 1)).toBe(true);
    expect(await run()).toEqual({ first, second, plain });
  });

  test("apply different dropout in each layer and at each use, without an explicit seed", async () => {
    const shared = new Dropout(0.5);
    class Both extends Module {
      readonly first = new Dropout(0.5);
      readonly second = new Dropout(0.5);
      readonly twice = shared;
      forward(x: Tensor): Tensor[] {
        const { first, second, twice } = this;
        return [first, second, twice, twice].map((layer) => layer.forward(x));
      }
    }
    const drawn = async (seed: number, runs = 0) => {
      const model = new Both().initialize(seed).seedNoise(seed, runs);
      const apply = program((x: Tensor) => model.forward(x));
      const results = await apply(new Float32Array(200).fill(1));
      return Promise.all(results.map(async (t) => (await t.data()).join()));
    };
    const found = await drawn(1);
    expect(new Set(found).size).toBe(4);
    expect(await drawn(1)).toEqual(found);
    expect(await drawn(2)).not.toEqual(found);
    expect(await drawn(1, 1)).not.toEqual(found);
  });

  test("may have several typed inputs, such as a mask", async () => {
    class Masked extends Module {
      readonly inner = new Linear(3, 3, { bias: false });
      forward(x: Tensor, mask: Tensor): Tensor {
        return this.inner.forward(x).mul(mask);
      }
    }
    const model = new Masked().initialize(1);
    const apply = program((x: Tensor, mask: Tensor) => model.forward(x, mask));
    const result = await (await apply([[1, 2, 3]], [[1, 0, 1]])).data();
    expect(result[1]).toBe(0);
    expect(result[0]).not.toBe(0);
    // @ts-expect-error a module is called with what it declares
    expect(() => model.forward(tensor([[1, 2, 3]]))).toThrow();
  });

  test("with requiresGrad false are frozen, and train again when it is true", async () => {
    notebookStub();
    const model = new Sequential(new Linear(4, 4), new Linear(4, 2)).initialize(1);
    const optimizer = new SGD({ learningRate: 0.1 });
    const step = program((x: Tensor, y: Tensor) => {
      const loss = crossEntropy(model.forward(x), y).mean();
      optimizer.minimize(loss, model);
      return { loss };
    });
    const names = ["layers.0.weight", "layers.1.weight"];
    const values = async () => {
      const state = await model.stateDict();
      return names.map((name) => state[name].data.join());
    };
    (model.layers[0] as Linear).requiresGrad(false);
    const before = await values();
    await step(points, classes);
    const frozen = await values();
    expect(frozen[0]).toBe(before[0]);
    expect(frozen[1]).not.toBe(before[1]);
    (model.layers[0] as Linear).requiresGrad(true);
    await step(points, classes);
    expect((await values())[0]).not.toBe(before[0]);
  });

  test("manual gradient accumulation over two halves equals a step of the whole batch", async () => {
    notebookStub();
    const run = async (pieces: number) => {
      const model = new Sequential(new Linear(4, 8), relu, new Linear(8, 2)).initialize(1);
      const optimizer = new AdamW({ learningRate: 0.05 });
      const lossOf = (x: Tensor, y: Tensor) => crossEntropy(model.forward(x), y).mean().div(pieces);
      const add = program((x: Tensor, y: Tensor) => optimizer.accumulate(lossOf(x, y), model));
      const step = program((x: Tensor, y: Tensor) => {
        optimizer.minimize(lossOf(x, y), model);
      });
      const size = 64 / pieces;
      for (let i = 0; i < 3; i++) {
        for (let k = 0; k < pieces; k++) {
          const rows = [points, classes].map((t) => t.slice(0, k * size, (k + 1) * size));
          await (k === pieces - 1 ? step : add)(rows[0], rows[1]);
        }
      }
      return model.stateDict();
    };
    const [whole, halves] = [await run(1), await run(2)];
    for (const [name, { data }] of Object.entries(whole)) {
      for (const [i, value] of data.entries()) expect(halves[name].data[i]).toBeCloseTo(value, 4);
    }
  });
});
