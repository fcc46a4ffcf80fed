import { afterAll, describe, expect, test } from "vitest";
import {
  checkpoint,
  fromFloat16,
  grad,
  input,
  matmul,
  Random,
  softmax,
  Tensor,
  tensor,
  toFloat16,
  topological,
  variable,
  where,
  zeros,
} from "../tensor/index.ts";
import { checkDevice, describeDevice } from "./device.ts";
import { Engine } from "./index.ts";
import { defineProgram } from "./program.ts";

const engine = await Engine.open({ threads: 2 });
afterAll(() => engine.close());

describe("running programs", () => {
  test("a tensor in a cell is computed when it is displayed", async () => {
    const x = tensor([
      [1, 2],
      [3, 4],
    ]);
    expect(await x.matmul(x).sum().data()).toEqual(Float32Array.of(54));
    const [dx] = grad(x.mul(x).sum(), [x]);
    expect(await dx.data()).toEqual(Float32Array.of(2, 4, 6, 8));
  });

  test("inputs of the wrong name, dtype or shape are rejected, with the expected ones", async () => {
    const program = await engine.compile({ outputs: { y: input("x", [2, 2]).mul(2) } });
    await expect(program.run({})).rejects.toThrow("Input x must be float32 [2,2] (4 values), got nothing");
    await expect(program.run({ x: new Float32Array(3) })).rejects.toThrow("got Float32Array of 3");
    await expect(program.run({ x: new Int32Array(4) })).rejects.toThrow("got Int32Array of 4");
  });

  test("an error names a variable that was never written", async () => {
    const program = await engine.compile({ outputs: { y: variable("w", [2]).mul(2) } });
    await expect(program.run({}, engine.createState())).rejects.toThrow("Variable w has no value in this state");
  });

  test("duplicate input names and updates of another shape are rejected when the program is defined", async () => {
    await expect(engine.compile({ outputs: { y: input("a", [1]).add(input("a", [1])) } })).rejects.toThrow(
      "Two different leaves are named a",
    );
    const w = variable("w", [2]);
    await expect(engine.compile({ updates: { w: w.sum() } })).rejects.toThrow("The update of w is float32 []");
    await expect(engine.compile({})).rejects.toThrow("A program needs an output or an update");
  });

  test("the caller's thread is not blocked while the engine computes", async () => {
    const a = input("a", [512, 512]);
    let product: Tensor = a;
    for (let i = 0; i < 40; i++) product = softmax(matmul(product, a));
    const program = await engine.compile({ outputs: { y: product.sum() } });
    let ticks = 0;
    const timer = setInterval(() => ticks++, 1);
    await program.run({ a: new Random(1, "a").normal(512 * 512) });
    clearInterval(timer);
    expect(ticks).toBeGreaterThan(5);
  });

  test("a program gives bit-identical results for any number of threads", async () => {
    const x = input("x", [64, 96]);
    const w = input("w", [96, 80]);
    const loss = softmax(matmul(x, w))
      .mul(tensor(new Random(3, "t").normal(64 * 80), [64, 80]))
      .sum();
    const [dw] = grad(loss, [w]);
    const values = { x: new Random(1, "x").normal(64 * 96), w: new Random(2, "w").normal(96 * 80) };
    const program = await engine.compile({ outputs: { loss, dw } });
    const first = await program.run(values);
    for (let i = 0; i < 5; i++) expect(await program.run(values)).toEqual(first);
  });

  test("a closed engine throws an error that says so", async () => {
    const other = await Engine.open({ threads: 1 });
    const program = await other.compile({ outputs: { y: input("x", [1]) } });
    await other.close();
    await expect(program.run({ x: Float32Array.of(1) })).rejects.toThrow("The engine is closed");
  });
});

describe("variables", () => {
  test("are updated, and can be read, replaced and removed", async () => {
    const state = engine.createState();
    const w = variable("w", [3]);
    const program = await engine.compile({ outputs: { before: w.sum() }, updates: { w: w.add(1) } });
    await state.write({ w: { dtype: "float32", shape: [3], data: Float32Array.of(1, 2, 3) } });
    expect((await program.run({}, state)).before).toEqual(Float32Array.of(6));
    expect((await program.run({}, state)).before).toEqual(Float32Array.of(9));
    expect((await state.read(["w"])).w.data).toEqual(Float32Array.of(3, 4, 5));
    await state.remove(["w"]);
    await expect(program.run({}, state)).rejects.toThrow("Variable w has no value");
  });

  test("states of one program are independent", async () => {
    const w = variable("w", [1]);
    const program = await engine.compile({ updates: { w: w.mul(2) } });
    const [a, b] = [engine.createState(), engine.createState()];
    await a.write({ w: { dtype: "float32", shape: [1], data: Float32Array.of(1) } });
    await b.write({ w: { dtype: "float32", shape: [1], data: Float32Array.of(10) } });
    await program.run({}, a);
    await program.run({}, a);
    await program.run({}, b);
    expect([(await a.read()).w.data[0], (await b.read()).w.data[0]]).toEqual([4, 20]);
  });

  test("are updated in place only if nothing reads the old value later", () => {
    const w = variable("w", [2, 2]);
    const v = variable("v", [2, 2]);
    const safe = defineProgram({ updates: { w: w.sub(w.mul(0.1)) } });
    expect(safe.inPlace).toEqual(new Set(["w"]));
    // v's update reads w, and nothing orders it before w's own.
    const read = defineProgram({ updates: { w: w.sub(1), v: v.add(w.matmul(w)) } });
    expect(read.inPlace).toEqual(new Set(["v"]));
    const whole = defineProgram({ updates: { w: w.matmul(w) } });
    expect(whole.inPlace).toEqual(new Set());
    const asked = w.sub(1);
    expect(defineProgram({ outputs: { asked }, updates: { w: asked } }).inPlace).toEqual(new Set());
    expect(defineProgram({ outputs: { before: w }, updates: { w: w.sub(1) } }).inPlace).toEqual(new Set());
    expect(defineProgram({ updates: { v: w, w: w.sub(1) } }).inPlace).toEqual(new Set());
  });

  test("two can be swapped", async () => {
    const state = engine.createState();
    const [a, b] = [variable("a", [1]), variable("b", [1])];
    const program = await engine.compile({ updates: { a: b.add(0), b: where(tensor(true), a, zeros([1])) } });
    const value = (n: number) => ({ dtype: "float32" as const, shape: [1], data: Float32Array.of(n) });
    await state.write({ a: value(1), b: value(2) });
    await program.run({}, state);
    const { a: newA, b: newB } = await state.read();
    expect([newA.data[0], newB.data[0]]).toEqual([2, 1]);
  });
});

describe("dtypes", () => {
  // A CPU computes halves in single precision, and may leave out a rounding between two operations.
  test("half-precision values are float32 on the host", async () => {
    const x = input("x", [4], "float16");
    const program = await engine.compile({ outputs: { y: x.mul(2) } });
    const { y } = await program.run({ x: Float32Array.of(1, 1 / 3, 0, -5) });
    expect(y).toBeInstanceOf(Float32Array);
    expect(y[1]).toBeCloseTo(2 / 3, 3);
    expect([y[0], y[3]]).toEqual([2, -10]);
  });

  test("a half-precision variable needs half the bytes and keeps its values", async () => {
    const w = variable("w", [3], "float16");
    const program = await engine.compile({ outputs: { sum: w.cast("float32").sum() }, updates: { w: w.mul(2) } });
    const state = engine.createState();
    await state.write({ w: { dtype: "float16", shape: [3], data: Float32Array.of(1, 2, 3) } });
    expect((await program.run({}, state)).sum[0]).toBe(6);
    expect((await state.read()).w).toEqual({ dtype: "float16", shape: [3], data: Float32Array.of(2, 4, 6) });
  });

  test("int64 values are numbers on the host; values beyond 2^53 are rejected", async () => {
    const x = input("x", [2], "int64");
    const program = await engine.compile({ outputs: { y: x.mul(x) } });
    const { y } = await program.run({ x: Float64Array.of(3, 2 ** 26) });
    expect([...y]).toEqual([9, 2 ** 52]);
    await expect(program.run({ x: Float64Array.of(1, 2 ** 31) })).rejects.toThrow("is too large for a number");
  });

  test("bfloat16 casts round; computing in bfloat16 is rejected with an error", async () => {
    const rounded = await engine.compile({ outputs: { y: input("x", [1]).cast("bfloat16").cast("float32") } });
    expect((await rounded.run({ x: Float32Array.of(1 / 3) })).y[0]).toBeCloseTo(1 / 3, 2);
    const half = input("x", [1]).cast("bfloat16");
    await expect(engine.compile({ name: "a product", outputs: { y: half.mul(half) } })).rejects.toThrow(
      "does not support Mul for the given dtype, in a product: cast to float32 or float16 before",
    );
  });

  test("all float16 values round-trip; other numbers round to the nearest", () => {
    for (let bits = 0; bits < 0x10000; bits++) {
      const value = fromFloat16(bits);
      if (!Number.isNaN(value)) expect(toFloat16(value)).toBe(bits);
    }
    expect(fromFloat16(toFloat16(1 + 2 ** -11))).toBe(1);
    expect(fromFloat16(toFloat16(1 + 3 * 2 ** -11))).toBe(1 + 2 ** -9);
    expect(toFloat16(65_520)).toBe(0x7c00);
    expect(toFloat16(2 ** -25)).toBe(0);
  });
});

describe("checkpoint", () => {
  const x = input("x", [8, 16]);
  const w = input("w", [16, 16]);
  const layer = (h: Tensor) => softmax(matmul(h, w)).mul(h);
  const build = (wrap: (fn: typeof layer) => typeof layer) => {
    const loss = wrap(layer)(wrap(layer)(wrap(layer)(x))).sum();
    const boundary = Tensor.nextId();
    return { loss, dw: grad(loss, [w])[0], boundary };
  };

  test("gives the same loss and gradients as without it", async () => {
    const values = { x: new Random(1, "x").normal(128), w: new Random(2, "w").normal(256) };
    const results = [(fn: typeof layer) => fn, checkpoint].map(async (wrap) => {
      const { loss, dw } = build(wrap);
      return (await engine.compile({ outputs: { loss, dw } })).run(values);
    });
    const [plain, recomputed] = await Promise.all(results);
    expect(recomputed.loss).toEqual(plain.loss);
    for (const [i, slope] of plain.dw.entries()) expect(recomputed.dw[i]).toBeCloseTo(slope, 6);
  });

  test("keeps only the inputs of a layer for the backward pass", () => {
    /** Values of the forward pass, none of them a leaf, that the backward pass reads. */
    const kept = ({ dw, boundary }: ReturnType<typeof build>) => {
      const backward = topological([dw]).filter(({ id }) => id >= boundary);
      const read = backward.flatMap(({ inputs }) => inputs).filter((t) => t.id < boundary && t.inputs.length > 0);
      return new Set(read).size;
    };
    expect(kept(build((fn) => fn))).toBe(5);
    expect(kept(build(checkpoint))).toBe(2);
  });
});

describe("devices", () => {
  test("options device and threads are validated", () => {
    expect(checkDevice("cpu", 2)).toEqual({ device: "cpu", threads: 2 });
    expect(() => checkDevice("auto", 0)).toThrow("threads must be 1 or more, not 0");
    expect(() => checkDevice("tpu")).toThrow('device must be "auto", "cpu", "webgpu" or "interpreter", not "tpu"');
  });

  test("auto reports the chosen device and the reason in one line", () => {
    const line = describeDevice(engine.device);
    expect(line).toMatch(engine.device.name === "cpu" ? /^cpu \(.+, 2 threads\): .+/ : /^webgpu \(.+\): .+ times/);
  });

  test("a program that exceeds the memory is rejected before it runs, with its need and what to reduce", async () => {
    const wide = input("x", [1_000_000, 1]).add(input("y", [1, 10_000_000]));
    const definition = { name: "an outer sum", outputs: { y: wide.exp().sum() } };
    const cpu = await Engine.open({ device: "cpu", threads: 1 });
    await expect(cpu.compile(definition)).rejects.toThrow(
      /^There is not enough memory for an outer sum: it needs about 40\.0 TB .* but this process may use only .* Lower perDeviceTrainBatchSize/,
    );
    const { y } = await (await cpu.compile({ outputs: { y: input("x", [2]).sum() } })).run({
      x: Float32Array.of(1, 2),
    });
    expect(y[0]).toBe(3);
    await cpu.close();
  });
});
