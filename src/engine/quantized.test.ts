import { afterAll, expect, test } from "vitest";
import {
  grad,
  input,
  matmul,
  type QuantizedWeight,
  quantizedMatmul,
  Random,
  ShapeError,
  switchback,
  tensor,
} from "../tensor/index.ts";
import { Engine } from "./index.ts";
import { interpret } from "./interpreter/interpret.ts";

const engine = await Engine.open({ device: "cpu", threads: 2 });
afterAll(() => engine.close());

const [rows, width, out] = [5, 48, 40];
const random = new Random(3, "quantized");
const bytes = Int8Array.from({ length: out * width }, () => random.integer(255) - 127);
const flipped = Int8Array.from({ length: out * width }, (_, i) => bytes[(i % out) * width + Math.floor(i / out)]);
const scale = Float32Array.from({ length: out }, () => 0.001 + 0.01 * random.uniform());
const weight: QuantizedWeight = {
  values: tensor(bytes, [out, width]),
  transposed: tensor(flipped, [width, out]),
  scale: tensor(scale),
};
const x = tensor(random.normal(rows * width), [rows, width]);
// Rows of very different size, as gradients have them, and one of nothing.
const g = tensor(
  random.normal(rows * out).map((v, i) => v * [1, 1e-4, 0, 100, 1][Math.floor(i / out)]),
  [rows, out],
);
const y = quantizedMatmul(x, weight);
const [dx] = grad(y.mul(g).sum(), [x]);

/** Largest difference of each row, against the row's largest value. */
function rowErrors(found: ArrayLike<number>, expected: ArrayLike<number>): number[] {
  const n = found.length / rows;
  return Array.from({ length: rows }, (_, r) => {
    const columns = Array.from({ length: n }, (_, j) => r * n + j);
    const largest = Math.max(1e-30, ...columns.map((i) => Math.abs(expected[i])));
    return Math.max(...columns.map((i) => Math.abs(found[i] - expected[i]))) / largest;
  });
}

test("a product with a quantised weight, and its gradient, are the full ones to within a hundredth of each row", async () => {
  const exact = (a: ArrayLike<number>, by: (k: number, j: number) => number, inner: number, columns: number) =>
    Float64Array.from({ length: rows * columns }, (_, i) => {
      const [r, j] = [Math.floor(i / columns), i % columns];
      return Array.from({ length: inner }, (_, k) => a[r * inner + k] * by(k, j)).reduce((sum, v) => sum + v, 0);
    });
  const w = (i: number, j: number) => bytes[i * width + j] * scale[i];
  const forward = exact((await x.data()) as Float32Array, (k, j) => w(j, k), width, out);
  const backward = exact((await g.data()) as Float32Array, (k, j) => w(k, j), out, width);
  expect(Math.max(...rowErrors((await y.data()) as Float32Array, forward))).toBeLessThan(0.02);
  expect(Math.max(...rowErrors((await dx.data()) as Float32Array, backward))).toBeLessThan(0.02);
});

test("the device computes what the operator means", async () => {
  const program = await engine.compile({ outputs: { y, dx } });
  const found = await program.run();
  const [meantY, meantX] = interpret([y, dx]);
  // A value that lies between two whole numbers in one precision may round the other way in the other.
  expect(Math.max(...rowErrors(found.y, meantY))).toBeLessThan(5e-3);
  expect(Math.max(...rowErrors(found.dx, meantX))).toBeLessThan(5e-3);
  await program.release();
});

test("SwitchBack rounds the product and the gradient on its way back; the weight's gradient is in full", async () => {
  const w = tensor(random.normal(out * width, 0.1), [out, width]);
  const plain = matmul(x, w, { transposeB: true });
  const rounded = switchback(x, w);
  const [plainX, plainW] = grad(plain.mul(g).sum(), [x, w]);
  const [roundedX, roundedW] = grad(rounded.mul(g).sum(), [x, w]);
  const program = await engine.compile({ outputs: { plain, rounded, plainX, roundedX, plainW, roundedW } });
  const found = await program.run();
  const errors = rowErrors(found.rounded, found.plain);
  expect(Math.max(...errors)).toBeLessThan(0.03);
  expect(Math.max(...errors)).toBeGreaterThan(0);
  expect(Math.max(...rowErrors(found.roundedX, found.plainX))).toBeLessThan(0.03);
  expect(found.roundedW).toEqual(found.plainW);
  await program.release();
});

test("shapes and dtypes that do not fit are named", () => {
  const wrong = () => quantizedMatmul(input("x", [2, 7]), weight);
  expect(wrong).toThrow(ShapeError);
  expect(wrong).toThrow("x float32 [2, 7] does not fit weights int8 [40, 48]");
});
