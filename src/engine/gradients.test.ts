import { describe, expect, test } from "vitest";
import type { Tensor } from "../tensor/index.ts";
import * as T from "../tensor/index.ts";
import { Engine } from "./engine.ts";

// Central differences in float32: with a step of 1e-2 on values around 1 the error is near 1e-4.
const step = 1e-2;
const tolerance = 4e-3;

const random = new T.Random(1, "gradients");
const values = (shape: readonly number[], low = -1, high = 1) =>
  Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, () => low + (high - low) * random.uniform());

interface Case {
  shapes: number[][];
  low?: number;
  high?: number;
  apply(...inputs: Tensor[]): Tensor;
}

const indices = T.tensor(Int32Array.of(2, 0, 2, 1), [4]);
const labels = T.tensor(Int32Array.of(1, -100, 3), [3]);
const positions = T.tensor(Int32Array.of(0, 1, 2, 5, 6, 3), [2, 3]);
const angles = Array.from({ length: 8 * 2 }, (_, i) => Math.floor(i / 2) / 3 ** (i % 2));
const cos = T.tensor(Float32Array.from(angles, Math.cos), [8, 2]);
const sin = T.tensor(Float32Array.from(angles, Math.sin), [8, 2]);

const cases: Record<string, Case> = {
  add: { shapes: [[2, 3], [3]], apply: T.add },
  sub: { shapes: [[2, 1], [3]], apply: T.sub },
  mul: {
    shapes: [
      [2, 3],
      [2, 1],
    ],
    apply: T.mul,
  },
  div: { shapes: [[2, 3], [3]], low: 0.5, high: 2, apply: T.div },
  maximum: { shapes: [[2, 3], [3]], apply: (a, b) => T.maximum(a.mul(3), b) },
  minimum: { shapes: [[2, 3], [3]], apply: (a, b) => T.minimum(a.mul(3), b) },
  neg: { shapes: [[4]], apply: T.neg },
  exp: { shapes: [[4]], apply: T.exp },
  log: { shapes: [[4]], low: 0.5, high: 2, apply: T.log },
  sqrt: { shapes: [[4]], low: 0.5, high: 2, apply: T.sqrt },
  sigmoid: { shapes: [[4]], apply: T.sigmoid },
  tanh: { shapes: [[4]], apply: T.tanh },
  relu: { shapes: [[4]], low: 0.1, high: 1, apply: (x) => T.relu(x.sub(T.tensor([0, 2, 0, 2]))) },
  where: { shapes: [[2, 3], [3]], apply: (a, b) => T.where(T.less(T.arange(3), 2), a, b) },
  sum: { shapes: [[2, 3, 4]], apply: (x) => x.sum([1]) },
  "sum keeping axes": { shapes: [[2, 3, 4]], apply: (x) => x.sum([0, -1], true) },
  mean: { shapes: [[2, 3]], apply: (x) => x.mean([-1]) },
  max: { shapes: [[2, 3]], apply: (x) => x.add(T.tensor([0, 5, 9])).max([1]) },
  reshape: { shapes: [[2, 6]], apply: (x) => x.reshape([3, -1]) },
  transpose: { shapes: [[2, 3, 4]], apply: (x) => x.transpose([2, 0, 1]) },
  broadcastTo: { shapes: [[3, 1]], apply: (x) => x.broadcastTo([2, 3, 4]) },
  slice: { shapes: [[2, 5]], apply: (x) => x.slice(1, 1, 4) },
  concat: {
    shapes: [
      [2, 1],
      [2, 3],
    ],
    apply: (a, b) => T.concat([a, b], 1),
  },
  matmul: {
    shapes: [
      [2, 3, 4],
      [4, 2],
    ],
    apply: (a, b) => T.matmul(a, b),
  },
  "matmul transposing a": {
    shapes: [
      [4, 3],
      [4, 2],
    ],
    apply: (a, b) => T.matmul(a, b, { transposeA: true, scale: 0.5 }),
  },
  "matmul transposing b": {
    shapes: [
      [2, 3, 4],
      [2, 2, 4],
    ],
    apply: (a, b) => T.matmul(a, b, { transposeB: true }),
  },
  "matmul transposing both": {
    shapes: [
      [4, 3],
      [2, 4],
    ],
    apply: (a, b) => T.matmul(a, b, { transposeA: true, transposeB: true, scale: 2 }),
  },
  gather: { shapes: [[3, 2]], apply: (x) => T.gather(x, indices) },
  scatterAdd: {
    shapes: [
      [3, 2],
      [4, 2],
    ],
    apply: (x, updates) => T.scatterAdd(x, indices, updates),
  },
  softmax: { shapes: [[3, 4]], apply: T.softmax },
  crossEntropy: { shapes: [[3, 5]], apply: (x) => T.crossEntropy(x, labels) },
  rmsNorm: { shapes: [[3, 4], [4]], low: 0.2, high: 1, apply: (x, w) => T.rmsNorm(x, w, 1e-5) },
  rotary: { shapes: [[2, 2, 3, 4]], apply: (x) => T.rotary(x, positions, cos, sin) },
  "crossEntropyGradient, by a second gradient": {
    shapes: [[3, 5]],
    apply: (x) => T.grad(T.crossEntropy(x, labels).sum(), [x])[0],
  },
  "rmsNorm, by a second gradient": {
    shapes: [[2, 4]],
    low: 0.2,
    apply: (x) =>
      T.grad(
        T.rmsNorm(x, T.tensor([1, 2, 3, 4]), 1e-5)
          .mul(T.tensor([1, -1, 2, 1]))
          .sum(),
        [x],
      )[0],
  },
};

describe("every operator's gradient agrees with finite differences", async () => {
  const engine = await Engine.open({ threads: 1 });
  test.each(Object.entries(cases))("%s", async (_, { shapes, low, high, apply }) => {
    const inputs = shapes.map((shape, i) => T.input(`x${i}`, shape));
    const result = apply(...inputs);
    const weights = T.tensor(values(result.shape), result.shape);
    const loss = result.mul(weights).sum();
    const gradients = T.grad(loss, inputs);
    const program = await engine.compile({
      outputs: { loss, ...Object.fromEntries(gradients.map((g, i) => [`g${i}`, g])) },
    });
    const point = shapes.map((shape) => values(shape, low, high));
    const run = () => program.run(Object.fromEntries(point.map((p, i) => [`x${i}`, p])));
    const found = await run();
    for (const [i, p] of point.entries()) {
      for (let j = 0; j < p.length; j++) {
        const at = p[j];
        p[j] = at + step;
        const { loss: above } = await run();
        p[j] = at - step;
        const { loss: below } = await run();
        p[j] = at;
        const slope = (above[0] - below[0]) / (2 * step);
        expect(Math.abs(found[`g${i}`][j] - slope), `input ${i}, element ${j}`).toBeLessThan(
          tolerance * Math.max(1, Math.abs(slope)),
        );
      }
    }
    await program.release();
  });
});

describe("building a program", () => {
  test("a shape that does not fit is refused with both shapes and the operation", () => {
    expect(() => T.zeros([2, 3]).matmul(T.zeros([4, 5]))).toThrow("matmul: inner sizes differ: [2, 3] and [4, 5]");
    expect(() => T.zeros([2, 3]).add(T.zeros([4]))).toThrow("add: shapes [2, 3] and [4] do not broadcast");
    expect(() => T.zeros([2, 3]).reshape([4, -1])).toThrow("reshape: [2, 3] (6 elements) does not fit");
  });

  test("a gradient that nothing flows into is zero", async () => {
    const x = T.tensor([1, 2]);
    const [dx] = T.grad(T.stopGradient(x).mul(3).sum(), [x]);
    expect(await dx.data()).toEqual(Float32Array.of(0, 0));
  });
});
