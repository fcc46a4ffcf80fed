import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { program } from "../../engine/index.ts";
import { interpret } from "../../engine/interpreter/interpret.ts";
import { init, Linear, Module, mseLoss } from "../../nn/index.ts";
import { parameter, Random, type Tensor, tensor } from "../../tensor/index.ts";
import { type Run, startRun } from "../../track/index.ts";
import { Adafactor, Adam, AdamW, Lion, Muon, type Optimizer, SGD } from "./index.ts";
import { orthogonalize } from "./muon.ts";

interface Reference {
  problem: Record<"x" | "y" | "w" | "b", number[]>;
  cases: Record<string, { options: Record<string, number>; steps: { loss: number; w: number[]; b: number[] }[] }>;
}

const { problem, cases } = JSON.parse(
  readFileSync(new URL("../../../../src/train/optimizers/torch.json", import.meta.url), "utf8"),
) as Reference;

const classes: Record<string, new (options: object) => Optimizer> = {
  sgd: SGD,
  adam: Adam,
  adamw: AdamW,
  adafactor: Adafactor,
  lion: Lion,
  muon: Muon,
};

const x = tensor(Float32Array.from(problem.x), [16, 5]);
const y = tensor(Float32Array.from(problem.y), [16, 3]);

const scratch = mkdtempSync(join(tmpdir(), "anneal-optimizers-"));
let run: Run;
beforeAll(() => {
  process.env.ANNEAL_DATA = scratch;
  // There is no tracker here: what is logged is kept, and nobody waits for it.
  run = startRun({ name: "optimizers" });
});
afterAll(async () => {
  await run.end();
  rmSync(scratch, { recursive: true });
});

class Regression extends Module {
  readonly w = parameter([3, 5], init.constant(0));
  readonly b = parameter([3], init.constant(0));

  forward(rows: Tensor): Tensor {
    return rows.matmul(this.w.transpose()).add(this.b);
  }
}

describe("reference: PyTorch takes the same steps", () => {
  test.each(Object.entries(cases))("%s", async (_, { options: { kind, ...options }, steps }) => {
    const model = new Regression();
    model.w.set(problem.w);
    model.b.set(problem.b);
    const optimizer = new classes[kind](options);
    const step = program((rows: Tensor, targets: Tensor) => {
      const loss = mseLoss(model.forward(rows), targets);
      optimizer.minimize(loss, model);
      return { loss };
    });
    for (const expected of steps) {
      const { loss } = await step(x, y);
      expect(loss.item()).toBeCloseTo(expected.loss, 5);
      const [w, b] = [await model.w.data(), await model.b.data()];
      for (const [i, value] of expected.w.entries()) expect(Math.abs(w[i] - value)).toBeLessThan(2e-5);
      for (const [i, value] of expected.b.entries()) expect(Math.abs(b[i] - value)).toBeLessThan(2e-5);
    }
  });
});

test("orthogonalization leaves singular values near 1", () => {
  for (const shape of [
    [6, 4],
    [3, 7],
  ]) {
    const g = tensor(new Random(3, "g").normal(shape[0] * shape[1]), shape);
    const q = orthogonalize(g);
    const [short, long] = [...shape].sort((a, b) => a - b);
    const wide = shape[0] > shape[1] ? q.transpose() : q;
    const [gram] = interpret([wide.matmul(wide.transpose())]);
    for (let i = 0; i < short; i++) {
      // The sum of the squares of a row of the Gram matrix bounds the eigenvalue from above.
      const row = Math.hypot(...gram.subarray(i * short, (i + 1) * short));
      expect(row).toBeGreaterThan(0.3);
      expect(row).toBeLessThan(1.7);
    }
    expect(long).toBeGreaterThan(short);
  }
});

test("the learning rate may be a function of the step, and may change between steps", async () => {
  const model = new Linear(1, 1, { bias: false });
  model.weight.set([1]);
  const optimizer = new SGD({ learningRate: (done) => (done === 0 ? 0.5 : 0.25) });
  const step = program((rows: Tensor) => {
    optimizer.minimize(model.forward(rows).sum(), model);
  });
  await step(tensor([[1]]));
  expect(await model.weight.data()).toEqual(Float32Array.of(0.5));
  await step(tensor([[1]]));
  expect(await model.weight.data()).toEqual(Float32Array.of(0.25));
  optimizer.learningRate = 1;
  await step(tensor([[1]]));
  expect(await model.weight.data()).toEqual(Float32Array.of(-0.75));
});

test("gradients are scaled down to maxGradNorm", async () => {
  const model = new Linear(2, 1, { bias: false });
  model.weight.set([0, 0]);
  const optimizer = new SGD({ learningRate: 1, maxGradNorm: 1 });
  const step = program((rows: Tensor) => {
    optimizer.minimize(model.forward(rows).sum(), model);
  });
  await step(tensor([[30, 40]]));
  const [a, b] = await model.weight.data();
  expect(a).toBeCloseTo(-0.6, 5);
  expect(b).toBeCloseTo(-0.8, 5);
});

test("settings out of range cause an error that names them", () => {
  expect(() => new AdamW({ beta1: 1.5 })).toThrow("beta1 must be from 0 to 1, not 1.5");
  expect(() => new SGD({ nesterov: true })).toThrow("nesterov needs a momentum above 0");
  expect(() => new Lion({ maxGradNorm: 0 })).toThrow("maxGradNorm must be above 0, not 0");
  expect(() => new SGD().minimize(tensor(1), new Linear(1, 1))).toThrow("minimize: works only inside a program");
});
