import { afterAll, expect, test } from "vitest";
import {
  bfloat16ToFloat32,
  checkpoint,
  float16ToFloat32,
  float32ToBfloat16,
  float32ToFloat16,
  fromFloat16,
  gather,
  grad,
  input,
  matmul,
  type Tensor,
  toBfloat16,
  toFloat16,
  variable,
} from "../tensor/index.ts";
import { Engine } from "./index.ts";

const engine = await Engine.open({ device: "cpu", threads: 2 });
afterAll(() => engine.close());

const all = Uint16Array.from({ length: 0x10000 }, (_, i) => i);
const isNan = (bits: number, exponent: number) => (bits & exponent) === exponent && (bits & 0x7fff) > exponent;

/** How many of the floats are not those of the bits; NaN stays NaN. */
function wrong(floats: ArrayLike<number>, meaning: (bits: number) => number): number {
  return all.filter((bits) => !Object.is(floats[bits], meaning(bits))).length;
}
const meaningOfBfloat16 = (bits: number) => new Float32Array(Uint32Array.of(bits << 16).buffer)[0];

test("all 65,536 half-precision values convert to float32 and back", () => {
  expect(wrong(bfloat16ToFloat32(all), meaningOfBfloat16)).toBe(0);
  expect(wrong(float16ToFloat32(all), fromFloat16)).toBe(0);
  const bfloat = float32ToBfloat16(bfloat16ToFloat32(all));
  const float = float32ToFloat16(float16ToFloat32(all));
  expect(all.filter((bits) => bfloat[bits] !== bits && !isNan(bits, 0x7f80))).toHaveLength(0);
  expect(all.filter((bits) => float[bits] !== bits && !isNan(bits, 0x7c00))).toHaveLength(0);
  expect(all.filter((bits) => isNan(bits, 0x7f80) && !isNan(bfloat[bits], 0x7f80))).toHaveLength(0);
  expect(all.filter((bits) => isNan(bits, 0x7c00) && !isNan(float[bits], 0x7c00))).toHaveLength(0);
});

test("floats round to the nearest half-precision value, ties to even", () => {
  const between = (bits: number, of: (bits: number) => number) => (of(bits) + of(bits + 1)) / 2;
  for (const bits of [0, 1, 2, 0x3ff, 0x400, 0x3c00, 0x3c01, 0x7bfe]) {
    const even = bits % 2 === 0 ? bits : bits + 1;
    const middle = between(bits, fromFloat16);
    const [below, above] = [middle * (1 - 2 ** -20), middle * (1 + 2 ** -20)];
    expect(Array.from(float32ToFloat16(Float32Array.of(below, middle, above)))).toEqual([bits, even, bits + 1]);
    expect(toFloat16(-middle)).toBe(even | 0x8000);
  }
  for (const bits of [0x80, 0x3f80, 0x3f81, 0x7f7e]) {
    const even = bits % 2 === 0 ? bits : bits + 1;
    const middle = between(bits, meaningOfBfloat16);
    const [below, above] = [middle * (1 - 2 ** -20), middle * (1 + 2 ** -20)];
    expect(Array.from(float32ToBfloat16(Float32Array.of(below, middle, above)))).toEqual([bits, even, bits + 1]);
    expect(toBfloat16(-middle)).toBe(even | 0x8000);
  }
});

test.each(["bfloat16", "float16"] as const)(
  "a %s variable is stored in 16 bits, and a program casts it exactly",
  async (dtype) => {
    const state = engine.createState();
    await state.write({ w: { dtype, shape: [256, 256], data: all.slice() } });
    const program = await engine.compile({ outputs: { y: variable("w", [256, 256], dtype).cast("float32") } });
    const { y } = await program.run({}, state);
    const meaning = dtype === "bfloat16" ? meaningOfBfloat16 : fromFloat16;
    expect(wrong(y, meaning)).toBe(0);
    expect((await state.read(["w"], { raw: true })).w).toEqual({ dtype, shape: [256, 256], data: all });
    const { w } = await state.read(["w"]);
    expect(w.dtype).toBe(dtype);
    expect(w.data).toBeInstanceOf(Float32Array);
    expect(wrong(w.data, meaning)).toBe(0);
    await program.release();
  },
);

test("floats are rounded when written and when a program updates the variable", async () => {
  const state = engine.createState();
  const data = Float32Array.of(1 / 3, 1 + 2 ** -8, -1e30);
  await state.write({ w: { dtype: "bfloat16", shape: [3], data } });
  const rounded = Array.from(bfloat16ToFloat32(float32ToBfloat16(data)));
  expect(Array.from((await state.read()).w.data)).toEqual(rounded);
  const w = variable("w", [3], "bfloat16");
  const program = await engine.compile({ updates: { w: w.cast("float32").mul(3).cast("bfloat16") } });
  await program.run({}, state);
  await program.run({}, state);
  const twice = [0, 1].reduce(
    (x) => bfloat16ToFloat32(float32ToBfloat16(x.map((v) => v * 3))),
    Float32Array.from(rounded),
  );
  expect((await state.read()).w).toEqual({ dtype: "bfloat16", shape: [3], data: twice });
  await program.release();
});

test("products with cast weights have the gradients of float32 products, also when the cast is recomputed", async () => {
  const state = engine.createState();
  const bits = float32ToBfloat16(Float32Array.from({ length: 12 }, (_, i) => Math.sin(i)));
  await state.write({ w: { dtype: "bfloat16", shape: [4, 3], data: bits } });
  const [w, x] = [variable("w", [4, 3], "bfloat16"), input("x", [2, 3])];
  const product = (h: Tensor) => matmul(h, w.cast("float32"), { transposeB: true });
  const loss = (fn: (h: Tensor) => Tensor) => fn(x).square().sum();
  const [plain] = grad(loss(product), [x]);
  const [again] = grad(loss(checkpoint(product)), [x]);
  const program = await engine.compile({ outputs: { plain, again } });
  const found = await program.run({ x: Float32Array.of(1, 2, 3, 4, 5, 6) }, state);
  expect(found.again).toEqual(found.plain);
  expect(Math.abs(found.plain[0])).toBeGreaterThan(0);
  await program.release();
});

test("rows read from a bfloat16 table are the stored values", async () => {
  const rows = gather(variable("t", [5, 2], "bfloat16"), input("i", [3], "int32")).cast("float32");
  const state = engine.createState();
  const data = Float32Array.from({ length: 10 }, (_, i) => i / 2);
  await state.write({ t: { dtype: "bfloat16", shape: [5, 2], data } });
  const program = await engine.compile({ outputs: { rows } });
  const found = await program.run({ i: Int32Array.of(4, 0, 4) }, state);
  expect(Array.from(found.rows)).toEqual([4, 4.5, 0, 0.5, 4, 4.5]);
  await program.release();
});
