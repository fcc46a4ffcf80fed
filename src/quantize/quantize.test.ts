import { expect, test } from "vitest";
import { referenceJson } from "../../tests/reference.ts";
import { referenceTensors } from "../../tests/reference-tensors.ts";
import { dynamicLevels, nf4Levels, Random, ShapeError, toBfloat16 } from "../tensor/index.ts";
import { dequantizeInt8, dequantizeNf4, openQuantizer, quantizeInt8, quantizeNf4 } from "./index.ts";

interface Case {
  shape: number[];
  packed_hex: string;
  absmax: number[];
  double: { offset: number; codes: number[]; absmax2: number[]; absmax_dequantised: number[] };
}
const reference = referenceJson<
  { nf4_levels: number[]; dynamic_8bit_levels: number[] } & Record<"matrix" | "ragged", Case>
>("nf4.json");
const tensors = referenceTensors("nf4.safetensors");
const floats = (name: string) => tensors[name].data as Float32Array;

function largestDifference(found: ArrayLike<number>, expected: ArrayLike<number>): number {
  expect(found.length).toBe(expected.length);
  let largest = 0;
  for (let i = 0; i < found.length; i++) largest = Math.max(largest, Math.abs(found[i] - expected[i]));
  return largest;
}

test("the levels equal the reference", () => {
  expect(largestDifference(nf4Levels, reference.nf4_levels)).toBeLessThan(1e-8);
  expect(largestDifference(dynamicLevels, reference.dynamic_8bit_levels)).toBeLessThan(1e-8);
});

test.each(["matrix", "ragged"] as const)("NF4 of the %s equals the reference", (name) => {
  const { shape, packed_hex, double } = reference[name];
  const found = quantizeNf4(floats(`${name}.input`), shape);
  expect(Buffer.from(found.codes).toString("hex")).toBe(packed_hex);
  expect(Array.from(found.absmaxCodes)).toEqual(double.codes);
  expect(largestDifference(found.absmaxScale, double.absmax2)).toBeLessThan(1e-7);
  expect(Math.abs(found.absmaxOffset[0] - double.offset)).toBeLessThan(1e-7);
  expect(largestDifference(dequantizeNf4(found, shape), floats(`${name}.dequantised_double`))).toBeLessThan(1e-6);
});

test("a value half-way between two levels rounds down, a larger one up", () => {
  const float = new Float32Array(64);
  const bits = new Int32Array(float.buffer);
  for (let code = 0; code < 15; code++) {
    float.fill(0);
    float[0] = 1;
    float[1] = (nf4Levels[code] + nf4Levels[code + 1]) / 2;
    float[2] = float[1];
    bits[2] += float[1] > 0 ? 1 : -1;
    const { codes } = quantizeNf4(float, [1, 64]);
    expect([codes[0] & 15, codes[1] >> 4]).toEqual([code, code + 1]);
  }
});

test("every code is the nearest level", () => {
  const data = Float32Array.from(new Random(1, "nf4").normal(64 * 500));
  const { codes } = quantizeNf4(data, [500, 64]);
  for (let i = 0; i < data.length; i++) {
    const block = data.subarray(i - (i % 64), i - (i % 64) + 64);
    const value = data[i] / Math.max(...block.map(Math.abs));
    const distances = Array.from(nf4Levels, (level) => Math.abs(level - value));
    const code = i % 2 === 0 ? codes[i >> 1] >> 4 : codes[i >> 1] & 15;
    expect(distances[code] - Math.min(...distances)).toBeLessThan(1e-6);
  }
});

test("zeros stay zeros, and an odd number of values is supported", () => {
  const zero = quantizeNf4(new Float32Array(128), [2, 64]);
  expect(dequantizeNf4(zero, [2, 64])).toEqual(new Float32Array(128));
  const odd = quantizeNf4(Float32Array.of(1, -1, 1), [1, 3]);
  expect(Array.from(dequantizeNf4(odd, [1, 3]))).toEqual([1, -1, 1]);
});

test("int8 scales each row by its largest value", () => {
  const { values, scale } = quantizeInt8(Float32Array.of(1.27, -0.5, 0, 0, 12.7, 0.06), [3, 2]);
  expect(Array.from(values)).toEqual([127, -50, 0, 0, 127, 1]);
  expect(largestDifference(scale, [0.01, 1, 0.1])).toBeLessThan(1e-7);
  expect(largestDifference(dequantizeInt8({ values, scale }, [3, 2]), [1.27, -0.5, 0, 0, 12.7, 0.1])).toBeLessThan(
    1e-6,
  );
});

test("bfloat16 input and threads give the same result as float32 values", async () => {
  const bits = Uint16Array.from(new Random(2, "bits").normal(6 * 70), toBfloat16);
  const data = Float32Array.from(bits, (half) => new Float32Array(Uint32Array.of(half << 16).buffer)[0]);
  const nf4 = quantizeNf4(data, [6, 70]);
  const int8 = quantizeInt8(data, [6, 70]);
  expect(quantizeNf4(bits, [6, 70])).toEqual(nf4);
  expect(quantizeInt8(bits, [6, 70])).toEqual(int8);
  const quantizer = openQuantizer();
  const given = [0, 1, 2].map(() => data.slice());
  const found = await Promise.all([
    quantizer.nf4(given[0], [6, 70]),
    quantizer.int8(given[1], [6, 70]),
    quantizer.nf4(bits.slice(), [6, 70]),
  ]);
  expect(found).toEqual([nf4, int8, nf4]);
  expect(given[0].length).toBe(0);
  await expect(quantizer.nf4(given[2], [1, 2])).rejects.toThrow("shape [1, 2] has 2 values, but the data has 420");
  await quantizer.close();
});

test("every bfloat16 number gets the same code as its float32 value, for all kinds of maxima", () => {
  const random = new Random(3, "halves");
  const blocks: Uint16Array[] = [];
  // Numbers without end, and those that are none, are left out: nothing is said of them.
  const half = () => random.integer(0x7f80) | (random.integer(2) << 15);
  for (let i = 0; i < 300; i++) blocks.push(Uint16Array.from({ length: 64 }, half));
  // Near to each other, as weights are: down to a 2000th of the largest, and zeros.
  for (let largest = 0; largest < 0x7f80; largest += 97) {
    const near = () => Math.max(0, largest - random.integer(11 * 128)) | (random.integer(2) << 15);
    blocks.push(Uint16Array.from({ length: 64 }, (_, i) => (i === 7 ? largest : near())));
  }
  const bits = new Uint16Array(64 * blocks.length);
  blocks.forEach((block, i) => {
    bits.set(block, 64 * i);
  });
  const data = Float32Array.from(bits, (half) => new Float32Array(Uint32Array.of(half << 16).buffer)[0]);
  const shape = [blocks.length, 64];
  expect(quantizeNf4(bits, shape)).toEqual(quantizeNf4(data, shape));
  expect(quantizeInt8(bits, shape)).toEqual(quantizeInt8(data, shape));
});

test("data that does not match the shape is rejected", () => {
  expect(() => quantizeNf4(new Float32Array(5), [2, 3])).toThrow(ShapeError);
  expect(() => quantizeInt8(new Float32Array(6), [6])).toThrow(
    "expected a matrix [out, in] with matching data; got shape [6]",
  );
});
