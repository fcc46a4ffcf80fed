import { afterAll, expect, test } from "vitest";
import { Engine } from "../src/engine/index.ts";
import { interpret } from "../src/engine/interpreter/interpret.ts";
import { dequantizeNf4, quantizeNf4 } from "../src/quantize/index.ts";
import {
  dequantize,
  grad,
  input,
  matmul,
  type QuantizedWeight,
  quantizedMatmul,
  Random,
  ShapeError,
  switchback,
  tensor,
} from "../src/tensor/index.ts";

const engine = await Engine.open({ device: "cpu", threads: 2 });
afterAll(() => engine.close());

const [rows, width, out] = [5, 48, 40];
const random = new Random(3, "quantized");
const bytes = Int8Array.from({ length: out * width }, () => random.integer(255) - 127);
const scale = Float32Array.from({ length: out }, () => 0.001 + 0.01 * random.uniform());
const weight: QuantizedWeight = {
  kind: "int8",
  values: tensor(bytes, [out, width]),
  scale: tensor(scale),
};
const x = tensor(random.normal(rows * width), [rows, width]);
// Rows of very different magnitude, like gradients, and a row of zeros.
const g = tensor(
  random.normal(rows * out).map((v, i) => v * [1, 1e-4, 0, 100, 1][Math.floor(i / out)]),
  [rows, out],
);
const y = quantizedMatmul(x, weight);
const [dx] = grad(y.mul(g).sum(), [x]);

/** The largest difference in each row, relative to the row's largest value. */
function rowErrors(actual: ArrayLike<number>, expected: ArrayLike<number>): number[] {
  const n = actual.length / rows;
  return Array.from({ length: rows }, (_, r) => {
    const columns = Array.from({ length: n }, (_, j) => r * n + j);
    const largest = Math.max(1e-30, ...columns.map((i) => Math.abs(expected[i])));
    return Math.max(...columns.map((i) => Math.abs(actual[i] - expected[i]))) / largest;
  });
}

test("a product with a quantized weight and its gradient are within 1 % of the exact ones", async () => {
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

test("the device gives the same results as the interpreter", async () => {
  const program = await engine.compile({ outputs: { y, dx } });
  const actual = await program.run();
  const [meantY, meantX] = interpret([y, dx]);
  // Values halfway between two integers may round differently in another precision, and processors that add products of
  // bytes in 16 bits give x one bit less.
  expect(Math.max(...rowErrors(actual.y, meantY))).toBeLessThan(0.04);
  expect(Math.max(...rowErrors(actual.dx, meantX))).toBeLessThan(0.04);
  await program.release();
});

test("SwitchBack quantizes the product and the input's gradient, but not the weight's gradient", async () => {
  const w = tensor(random.normal(out * width, 0.1), [out, width]);
  const plain = matmul(x, w, { transposeB: true });
  const rounded = switchback(x, w);
  const [plainX, plainW] = grad(plain.mul(g).sum(), [x, w]);
  const [roundedX, roundedW] = grad(rounded.mul(g).sum(), [x, w]);
  const program = await engine.compile({ outputs: { plain, rounded, plainX, roundedX, plainW, roundedW } });
  const actual = await program.run();
  const errors = rowErrors(actual.rounded, actual.plain);
  expect(Math.max(...errors)).toBeLessThan(0.03);
  expect(Math.max(...errors)).toBeGreaterThan(0);
  expect(Math.max(...rowErrors(actual.roundedX, actual.plainX))).toBeLessThan(0.03);
  expect(actual.roundedW).toEqual(actual.plainW);
  await program.release();
});

test("invalid shapes and dtypes cause clear errors", () => {
  const wrong = () => quantizedMatmul(input("x", [2, 7]), weight);
  expect(wrong).toThrow(ShapeError);
  expect(wrong).toThrow("x float32 [2, 7] does not fit weights int8 [40, 48]");
});

/** A matrix, its NF4 form, and the dequantized values. */
function nf4([n, m]: readonly [number, number]) {
  const shape = [n, m];
  const parts = quantizeNf4(Float32Array.from(random.normal(n * m, 0.1)), shape);
  const weight: QuantizedWeight = {
    kind: "nf4",
    shape,
    codes: tensor(parts.codes, [parts.codes.length], "uint8"),
    absmaxCodes: tensor(parts.absmaxCodes, [parts.absmaxCodes.length], "uint8"),
    absmaxScale: tensor(parts.absmaxScale),
    absmaxOffset: tensor(parts.absmaxOffset),
  };
  return { weight, values: dequantizeNf4(parts, shape) };
}

// Complete blocks; rows that end inside a block; a partial last block; an odd number of values.
test.each([
  [40, 128],
  [24, 80],
  [5, 30],
  [3, 7],
] as const)(
  "a product with NF4 weights [%i, %i], its gradient and the full weight are what they mean",
  async (n, m) => {
    const { weight, values } = nf4([n, m]);
    const input = tensor(random.normal(rows * m), [rows, m]);
    const cotangent = tensor(random.normal(rows * n), [rows, n]);
    const product = quantizedMatmul(input, weight);
    const [back] = grad(product.mul(cotangent).sum(), [input]);
    const full = dequantize(weight);
    const plain = matmul(input, full, { transposeB: true });
    const program = await engine.compile({ outputs: { product, back, full, plain } });
    const actual = await program.run();
    const meant = interpret([product, back, full]);
    const largest = (a: ArrayLike<number>, b: ArrayLike<number>) =>
      Math.max(...Array.from({ length: a.length }, (_, i) => Math.abs(a[i] - b[i])));
    expect(actual.full.length).toBe(n * m);
    expect(largest(actual.full, values)).toBeLessThan(1e-7);
    expect(largest(actual.full, meant[2])).toBeLessThan(1e-6);
    expect(largest(actual.product, meant[0])).toBeLessThan(1e-5);
    expect(largest(actual.back, meant[1])).toBeLessThan(1e-5);
    expect(largest(actual.product, actual.plain)).toBeLessThan(1e-5);
    await program.release();
  },
);

test("NF4 weights that are processed in parts give the complete product", async () => {
  // 3 parts of 8 MB in float32, of which the last is smaller.
  const [n, m] = [1100, 4160];
  const { weight } = nf4([n, m]);
  const input = tensor(random.normal(2 * m), [2, m]);
  const cotangent = tensor(random.normal(2 * n), [2, n]);
  const product = quantizedMatmul(input, weight);
  const [back] = grad(product.mul(cotangent).sum(), [input]);
  const full = dequantize(weight);
  const plain = matmul(input, full, { transposeB: true });
  const program = await engine.compile({ outputs: { product, back, plain, plainBack: matmul(cotangent, full) } });
  const actual = await program.run();
  const largest = (a: ArrayLike<number>, b: ArrayLike<number>) =>
    Math.max(...Array.from({ length: a.length }, (_, i) => Math.abs(a[i] - b[i])));
  expect(largest(actual.product, actual.plain)).toBeLessThan(1e-3);
  expect(largest(actual.back, actual.plainBack)).toBeLessThan(1e-3);
  await program.release();
});

test("an NF4 weight whose parts do not match its shape causes a clear error", () => {
  const { weight } = nf4([4, 64]);
  const wrong = () => quantizedMatmul(input("x", [2, 64]), { ...weight, shape: [8, 64] } as QuantizedWeight);
  expect(wrong).toThrow("an nf4 weight of shape [8, 64] needs");
});
