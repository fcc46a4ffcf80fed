import fc from "fast-check";
import { afterAll, describe, expect, test } from "vitest";
import type { Shape, Tensor } from "../tensor/index.ts";
import * as T from "../tensor/index.ts";
import { checkGradients, Engine } from "./index.ts";
import { interpret } from "./interpreter/interpret.ts";

/** A function of tensors and the shapes it is tried on. */
interface Case {
  shapes: readonly Shape[];
  apply: (...inputs: Tensor[]) => Tensor;
  /** Values lie in [low, high]; -2 to 2 when left out. */
  low?: number;
  high?: number;
}

const size = fc.integer({ min: 1, max: 4 });
const shape = (least = 0, most = 3) => fc.array(size, { minLength: least, maxLength: most });
/** A shape, and one that broadcasts with it. */
const broadcasting = fc
  .tuple(shape(), fc.integer({ min: 0, max: 3 }), fc.array(fc.boolean(), { minLength: 3, maxLength: 3 }), fc.boolean())
  .map(([whole, drop, ones, swap]): [Shape, Shape] => {
    const part = whole.slice(Math.min(drop, whole.length)).map((n, i) => (ones[i] ? 1 : n));
    return swap ? [part, whole] : [whole, part];
  });
const axisOf = (s: Shape) => fc.integer({ min: 0, max: s.length - 1 });
/** A shape with some of its axes, and whether to keep them. */
const reducing = shape(1).chain((s) =>
  fc.tuple(fc.constant(s), fc.subarray([...s.keys()], { minLength: 1 }), fc.boolean()),
);
const withAxis = shape(1).chain((s) => fc.tuple(fc.constant(s), axisOf(s)));
const integers = (n: number, below: number) => {
  return fc.array(fc.integer({ min: 0, max: below - 1 }), { minLength: n, maxLength: n });
};
const indexTensor = (values: readonly number[], s: Shape) => T.tensor(Int32Array.from(values), s);

const unary = (fn: (x: Tensor) => Tensor, low = -2, high = 2) =>
  shape().map((s): Case => ({ shapes: [s], apply: fn, low, high }));
const binary = (fn: (a: Tensor, b: Tensor) => Tensor, low = -2, high = 2) =>
  broadcasting.map((shapes): Case => ({ shapes, apply: fn, low, high }));
const reduction = (fn: (x: Tensor, axes: readonly number[], keepDims: boolean) => Tensor, low = -2, high = 2) =>
  reducing.map(([s, axes, keep]): Case => ({ shapes: [s], apply: (x) => fn(x, axes, keep), low, high }));
const along = (fn: (x: Tensor, axis: number) => Tensor) =>
  withAxis.map(([s, axis]): Case => ({ shapes: [s], apply: (x) => fn(x, axis) }));

const convolution = (rank: 1 | 2) =>
  fc
    .record({
      n: fc.integer({ min: 1, max: 2 }),
      groups: fc.integer({ min: 1, max: 2 }),
      inner: fc.integer({ min: 1, max: 2 }),
      outer: fc.integer({ min: 1, max: 2 }),
      size: fc.array(fc.integer({ min: 4, max: 6 }), { minLength: rank, maxLength: rank }),
      kernel: fc.array(fc.integer({ min: 1, max: 3 }), { minLength: rank, maxLength: rank }),
      stride: fc.array(fc.integer({ min: 1, max: 2 }), { minLength: rank, maxLength: rank }),
      dilation: fc.integer({ min: 1, max: 2 }),
      padding: fc.integer({ min: 0, max: 1 }),
    })
    .filter(({ size: s, kernel, dilation, padding }) =>
      s.every((n, i) => n + 2 * padding > dilation * (kernel[i] - 1)),
    );

const convolutions = (rank: 1 | 2) =>
  convolution(rank).map(({ n, groups, inner, outer, size: s, kernel, ...window }): Case => {
    const fn = rank === 1 ? T.conv1d : T.conv2d;
    return {
      shapes: [
        [n, groups * inner, ...s],
        [groups * outer, inner, ...kernel],
      ],
      apply: (x, w) => fn(x, w, { ...window, groups }),
    };
  });

const pooling = (fn: typeof T.maxPool2d, rank: 1 | 2) =>
  convolution(rank)
    .filter(({ kernel, padding }) => kernel.every((k) => 2 * padding <= k))
    .map(({ n, inner, size: s, kernel, stride, padding }): Case => {
      return { shapes: [[n, inner, ...s]], apply: (x) => fn(x, kernel, { stride, padding }) };
    });

const matrices = fc
  .tuple(shape(0, 2), fc.boolean(), size, size, size, fc.boolean(), fc.boolean())
  .map(([batch, shared, m, k, n, transposeA, transposeB]): Case => {
    const a = transposeA ? [k, m] : [m, k];
    const b = transposeB ? [n, k] : [k, n];
    const options = { transposeA, transposeB, scale: 0.5 };
    return { shapes: [[...batch, ...a], shared ? b : [...batch, ...b]], apply: (x, y) => T.matmul(x, y, options) };
  });

const einsums: Record<string, Shape[]> = {
  "ij,jk->ik": [
    [2, 3],
    [3, 4],
  ],
  "bhqd,bhkd->bhqk": [
    [2, 2, 3, 2],
    [2, 2, 4, 2],
  ],
  "ij,ij->": [
    [2, 3],
    [2, 3],
  ],
  "i,j->ji": [[2], [3]],
  "ii->i": [[3, 3]],
  ii: [[3, 3]],
  "...ij->...ji": [[2, 2, 3]],
  "...i,...i->...": [
    [2, 1, 3],
    [4, 3],
  ],
  "ab,bc,cd->ad": [
    [2, 3],
    [3, 2],
    [2, 2],
  ],
  "ij->": [[2, 3]],
  "abc,cd": [
    [2, 3, 2],
    [2, 3],
  ],
};

const cosines = T.tensor(
  Float32Array.from({ length: 16 }, (_, i) => Math.cos(i / 3)),
  [8, 2],
);
const sines = T.tensor(
  Float32Array.from({ length: 16 }, (_, i) => Math.sin(i / 3)),
  [8, 2],
);

const cases: Record<string, fc.Arbitrary<Case>> = {
  add: binary(T.add),
  sub: binary(T.sub),
  mul: binary(T.mul),
  div: binary(T.div, 0.5, 2),
  pow: binary(T.pow, 0.5, 2),
  // Always a seventh of the way into a period, far from where it jumps.
  remainder: binary((a, b) => T.remainder(b.add(0.5).mul(7).add(a), b.add(0.5)), 0.1, 0.45),
  maximum: binary(T.maximum),
  minimum: binary(T.minimum),
  clamp: unary((x) => T.clamp(x, -1, 0.5)),
  "cast between floating dtypes": unary((x) => x.mul(2).cast("float32")),
  neg: unary(T.neg),
  abs: unary(T.abs),
  sign: unary((x) => T.sign(x).mul(x)),
  floor: unary((x) => T.floor(x).mul(x)),
  ceil: unary((x) => T.ceil(x).mul(x)),
  round: unary((x) => T.round(x).mul(x)),
  exp: unary(T.exp),
  log: unary(T.log, 0.5, 2),
  sqrt: unary(T.sqrt, 0.5, 2),
  rsqrt: unary(T.rsqrt, 0.5, 2),
  sin: unary(T.sin),
  cos: unary(T.cos),
  tan: unary(T.tan, -1, 1),
  atan: unary(T.atan),
  erf: unary(T.erf),
  sigmoid: unary(T.sigmoid),
  tanh: unary(T.tanh),
  relu: unary(T.relu),
  silu: unary(T.silu),
  softplus: unary(T.softplus),
  leakyRelu: unary((x) => T.leakyRelu(x)),
  elu: unary((x) => T.elu(x)),
  gelu: unary((x) => T.gelu(x)),
  "gelu by tanh": unary((x) => T.gelu(x, "tanh")),
  where: binary((a, b) => T.where(T.less(a, b), a.mul(2), b.mul(3))),
  sum: reduction(T.sum),
  mean: reduction(T.mean),
  max: reduction(T.max),
  min: reduction(T.min),
  prod: reduction(T.prod),
  logSumExp: reduction(T.logSumExp),
  norm: reduction(T.norm, 0.3, 2),
  "variance, of all elements": reduction((x, axes, keep) => T.variance(x, axes, keep, 0)),
  cumsum: along(T.cumsum),
  "cumsum from behind": along((x, axis) => T.flip(T.cumsum(T.flip(x, axis), axis), axis)),
  reshape: unary((x) => x.reshape([-1])),
  transpose: shape().chain((s) =>
    fc.shuffledSubarray([...s.keys()], { minLength: s.length }).map((order): Case => {
      return { shapes: [s], apply: (x) => x.transpose(order) };
    }),
  ),
  broadcastTo: fc
    .tuple(shape(1), fc.nat(2), fc.array(fc.boolean(), { minLength: 3, maxLength: 3 }))
    .map(([whole, drop, ones]): Case => {
      const part = whole.slice(Math.min(drop, whole.length)).map((n, i) => (ones[i] ? 1 : n));
      return { shapes: [part], apply: (x) => x.broadcastTo(whole) };
    }),
  slice: withAxis.chain(([s, axis]) =>
    fc.tuple(fc.nat(s[axis] - 1), fc.nat(3), fc.integer({ min: 1, max: 3 })).map(([start, more, step]): Case => {
      return { shapes: [s], apply: (x) => x.slice(axis, start, Math.min(s[axis], start + 1 + more), step) };
    }),
  ),
  "slice with steps": fc.constant({ shapes: [[2, 7]], apply: (x: Tensor) => x.at(":", [1, undefined, 3]) }),
  concat: withAxis.chain(([s, axis]) =>
    size.map((n): Case => {
      return { shapes: [s, s.map((m, i) => (i === axis ? n : m))], apply: (a, b) => T.concat([a, b], axis) };
    }),
  ),
  stack: withAxis.map(([s, axis]): Case => ({ shapes: [s, s], apply: (a, b) => T.stack([a, b], axis) })),
  pad: shape(1).map((s): Case => {
    return {
      shapes: [s],
      apply: (x) =>
        T.pad(
          x,
          s.map((_, i) => i),
          s.map(() => 1),
        ),
    };
  }),
  flip: along(T.flip),
  tile: shape(1).map((s): Case => ({ shapes: [s], apply: (x) => T.tile(x, [2, ...s.map(() => 2)]) })),
  tril: fc.tuple(size, size).map((s): Case => ({ shapes: [s], apply: (x) => T.tril(x) })),
  triu: fc.tuple(size, size).map((s): Case => ({ shapes: [s], apply: (x) => T.triu(x, 1) })),
  at: fc.constant({ shapes: [[3, 4, 2]], apply: (x: Tensor) => x.at(-1, null, [1, -1], "...") }),
  matmul: matrices,
  ...Object.fromEntries(
    Object.entries(einsums).map(([equation, shapes]) => [
      `einsum ${equation}`,
      fc.constant({ shapes, apply: (...x: Tensor[]) => T.einsum(equation, ...x) }),
    ]),
  ),
  conv1d: convolutions(1),
  conv2d: convolutions(2),
  convTranspose2d: convolution(2).map(({ n, inner, outer, kernel, stride, dilation }): Case => {
    return {
      shapes: [
        [n, inner, 3, 2],
        [inner, outer, ...kernel],
      ],
      apply: (x, w) => T.convTranspose2d(x, w, { stride, dilation, outputPadding: stride.map((s) => s - 1) }),
    };
  }),
  maxPool1d: pooling(T.maxPool1d, 1),
  maxPool2d: pooling(T.maxPool2d, 2),
  avgPool1d: pooling(T.avgPool1d, 1),
  avgPool2d: pooling(T.avgPool2d, 2),
  gather: withAxis.chain(([s, axis]) =>
    fc.tuple(size, size).chain(([n, m]) =>
      integers(n * m, s[axis]).map((at): Case => {
        return { shapes: [s], apply: (x) => x.gather(indexTensor(at, [n, m]), axis) };
      }),
    ),
  ),
  scatterAdd: fc.tuple(size, size, size).chain(([rows, width, n]) =>
    integers(n, rows).map((at): Case => {
      return {
        shapes: [
          [rows, width],
          [n, width],
        ],
        apply: (x, updates) => T.scatterAdd(x, indexTensor(at, [n]), updates),
      };
    }),
  ),
  scatter: fc.constant({
    shapes: [
      [4, 2],
      [2, 2],
    ],
    apply: (x: Tensor, updates: Tensor) => T.scatter(x, indexTensor([3, 1], [2]), updates),
  }),
  takeAlongAxis: withAxis.chain(([s, axis]) =>
    size.chain((n) => {
      const to = s.map((m, i) => (i === axis ? n : m));
      return integers(
        to.reduce((a, b) => a * b, 1),
        s[axis],
      ).map((at): Case => ({ shapes: [s], apply: (x) => T.takeAlongAxis(x, indexTensor(at, to), axis) }));
    }),
  ),
  scatterAddAlongAxis: withAxis.chain(([s, axis]) =>
    integers(
      s.reduce((a, b) => a * b, 1),
      s[axis],
    ).map((at): Case => {
      return { shapes: [s, s], apply: (x, updates) => T.scatterAddAlongAxis(x, indexTensor(at, s), updates, axis) };
    }),
  ),
  topK: withAxis.map(([s, axis]): Case => ({ shapes: [s], apply: (x) => T.topK(x, 1, axis).values })),
  sort: along((x, axis) => T.sort(x, axis)),
  softmax: along(T.softmax),
  logSoftmax: along(T.logSoftmax),
  crossEntropy: fc.tuple(size, size).chain(([n, classes]) =>
    integers(n, classes + 1).map((at): Case => {
      const labels = indexTensor(
        at.map((label) => (label === classes ? -100 : label)),
        [n],
      );
      return { shapes: [[n, classes]], apply: (x) => T.crossEntropy(x, labels) };
    }),
  ),
  rmsNorm: shape(1).map((s): Case => {
    return { shapes: [s, s.slice(-1)], apply: (x, w) => T.rmsNorm(x, w, 1e-5), low: 0.3 };
  }),
  layerNorm: shape(1).map((s): Case => {
    // One element alone has no spread to speak of.
    const wide = [...s.slice(0, -1), s[s.length - 1] + 2];
    const width = wide.slice(-1);
    return { shapes: [wide, width, width], apply: (x, w, b) => T.layerNorm(x, w, b, 1e-2) };
  }),
  rotary: fc.tuple(size, size, size).chain(([n, heads, length]) =>
    integers(n * length, 8).map((at): Case => {
      return {
        shapes: [[n, heads, length, 4]],
        apply: (x) => T.rotary(x, indexTensor(at, [n, length]), cosines, sines),
      };
    }),
  ),
  "dropout, under one key": unary((x) => T.dropout(x, 0.4, 7, "layer")),
  customGradient: unary((x) => {
    const cube = T.customGradient({ forward: (v) => T.pow(v, 3), backward: (g, _, v) => [g.mul(T.square(v)).mul(3)] });
    return cube(x).mul(x);
  }),
  checkpoint: broadcasting.map((shapes): Case => {
    // b is used without being handed in, and by both.
    const twice = (a: Tensor, b: Tensor) => {
      const layer = T.checkpoint((x) => T.tanh(x.mul(b)).exp().add(b));
      return layer(layer(a)).mul(a);
    };
    return { shapes, apply: twice };
  }),
};

/** A case with random values at which to look. */
const drawn = (arbitrary: fc.Arbitrary<Case>) =>
  fc.tuple(arbitrary, fc.integer()).map(([{ shapes, apply, low = -2, high = 2 }, seed]) => {
    const points = shapes.map((s, i) => {
      const random = new T.Random(seed, `${i}`);
      const count = s.reduce((a, b) => a * b, 1);
      return T.tensor(
        Float32Array.from({ length: count }, () => low + (high - low) * random.uniform()),
        s,
      );
    });
    return { apply, points };
  });

/** The gradient by all inputs, as a function of them: what a second gradient is taken of. */
const slopes =
  (apply: Case["apply"]) =>
  (...inputs: Tensor[]): Tensor => {
    const output = apply(...inputs);
    const weights = T.tensor(new T.Random(5, "second").normal(output.size), output.shape);
    // Squared, so that the slopes of linear functions move, too.
    const gradients = T.grad(T.square(output).mul(weights).sum(), inputs);
    return T.concat(
      gradients.map((g) => g.reshape([-1])),
      0,
    );
  };

/** The same shapes and values each time: at some points a function has no slope, and chance would find them. */
const runs = (numRuns: number) => ({ seed: 3, numRuns });

describe("every operator, over random shapes", async () => {
  const engine = await Engine.open({ threads: 1 });
  afterAll(() => engine.close());

  describe.each(Object.entries(cases))("%s", (_, arbitrary) => {
    test("first and second derivatives agree with finite differences in double precision", () => {
      fc.assert(
        fc.property(drawn(arbitrary), ({ apply, points }) => {
          const first = checkGradients(apply, points, { tolerance: 1e-5 });
          expect(first.passed, `first: ${JSON.stringify(first.worst)}`).toBe(true);
          const second = checkGradients(slopes(apply), points, { tolerance: 1e-4 });
          expect(second.passed, `second: ${JSON.stringify(second.worst)}`).toBe(true);
        }),
        runs(12),
      );
    });

    test("the device agrees with the reference interpreter", async () => {
      await fc.assert(
        fc.asyncProperty(drawn(arbitrary), async ({ apply, points }) => {
          const value = apply(...points);
          const gradient = slopes(apply)(...points);
          const program = await engine.compile({ outputs: { value, gradient } });
          const found = await program.run();
          await program.release();
          const expected = interpret([value, gradient]);
          closeTo(found.value, expected[0]);
          closeTo(found.gradient, expected[1]);
        }),
        runs(5),
      );
    });
  });

  test.each<[string, (a: Tensor, b: Tensor) => Tensor]>([
    ["equal", (a, b) => T.equal(T.round(a), T.round(b))],
    ["notEqual", (a, b) => T.notEqual(T.round(a), T.round(b))],
    ["less", T.less],
    ["lessEqual", (a, b) => T.lessEqual(T.round(a), T.round(b))],
    ["greater", T.greater],
    ["greaterEqual", T.greaterEqual],
    ["and, or, xor, not", (a, b) => T.xor(T.and(a.less(0), b.less(0)), T.not(T.or(a.less(1), b.less(-1))))],
    ["isNan", (a, b) => T.isNan(T.log(a).add(b))],
    ["isInfinite", (a, b) => T.isInfinite(T.round(a).div(T.round(b)))],
    ["where of bools", (a, b) => T.where(a.less(b), a.less(0), b.less(0))],
    ["any", (a, b) => T.any(a.less(b))],
    ["all", (a, b) => T.all(a.less(b.add(1)), [])],
    ["argmax", (a, b) => T.argmax(a.sub(b).reshape([-1]))],
    ["argmin", (a, b) => T.argmin(a.sub(b).reshape([-1]))],
    ["argsort", (a, b) => T.argsort(T.round(a.sub(b)).reshape([-1]))],
    ["argsort, descending", (a, b) => T.argsort(T.round(a.sub(b)).reshape([-1]), 0, true)],
    [
      "remainder of int32",
      (a, b) => T.remainder(T.round(a.mul(9)).cast("int32"), T.abs(T.round(b)).add(1).cast("int32")),
    ],
    [
      "div of int32",
      (a, b) =>
        T.round(a.mul(9))
          .cast("int32")
          .div(T.abs(T.round(b)).add(1).cast("int32")),
    ],
    ["int64", (a, b) => T.round(a.mul(9)).cast("int64").mul(T.round(b).cast("int64")).add(3)],
    ["oneHot", (a, b) => T.oneHot(T.round(T.abs(a.add(b))).cast("int32"), 6)],
    ["randomUniform", (a) => T.randomUniform(a.shape, 3, { stream: "s" })],
    ["randomInteger", (a) => T.randomInteger(a.shape, 10, 3)],
  ])("%s: the device computes what it means", async (_, apply) => {
    await fc.assert(
      fc.asyncProperty(drawn(broadcasting.map((shapes): Case => ({ shapes, apply }))), async ({ points: [a, b] }) => {
        const result = apply(a, b);
        const [expected] = interpret([result]);
        const program = await engine.compile({ outputs: { result } });
        expect(Array.from((await program.run()).result)).toEqual(Array.from(expected, Math.fround));
        await program.release();
      }),
      runs(8),
    );
  });
});

function closeTo(found: ArrayLike<number>, expected: Float64Array): void {
  expect(found.length).toBe(expected.length);
  const scale = expected.reduce((most, x) => Math.max(most, Math.abs(x)), 1);
  expected.forEach((x, i) => {
    expect(Math.abs(found[i] - x), `element ${i}: ${found[i]}, expected ${x}`).toBeLessThan(2e-5 * scale);
  });
}

describe("building a program", () => {
  test("incompatible shapes cause an error with both shapes and the operation", () => {
    expect(() => T.zeros([2, 3]).matmul(T.zeros([4, 5]))).toThrow("matmul: inner sizes differ: [2, 3] and [4, 5]");
    expect(() => T.zeros([2, 3]).add(T.zeros([4]))).toThrow("add: shapes [2, 3] and [4] cannot be broadcast");
    expect(() => T.zeros([2, 3]).reshape([4, -1])).toThrow("reshape: [2, 3] (6 elements) cannot be reshaped");
    expect(() => T.einsum("ij,jk->ik", T.zeros([2, 3]), T.zeros([4, 5]))).toThrow(
      'einsum "ij,jk->ik" of [2, 3], [4, 5]: axis j has both size 3 and size 4',
    );
    expect(() => T.conv2d(T.zeros([1, 3, 8, 8]), T.zeros([4, 2, 3, 3]))).toThrow(
      "groups 1; got x [1, 3, 8, 8] and weight [4, 2, 3, 3]",
    );
    expect(() => T.zeros([3]).at(3)).toThrow("at: 3 is out of range for axis 0 of shape [3]");
    expect(() => T.zeros([2], "bool").add(T.ones([2], "bool"))).toThrow("add: bool tensors have no arithmetic");
  });

  test("the gradient of an unused input is zero", async () => {
    const x = T.tensor([1, 2]);
    const [dx] = T.grad(T.stopGradient(x).mul(3).sum(), [x]);
    expect(await dx.data()).toEqual(Float32Array.of(0, 0));
  });

  test("a vector-Jacobian product needs a cotangent for each output, and sums them", () => {
    const x = T.tensor([1, 2]);
    const doubled = x.mul(2);
    expect(() => T.vjp([doubled], [x], [T.ones([3])])).toThrow("output 0 of shape [2] needs a cotangent of that shape");
    const [dx] = T.vjp([doubled, x.mul(x)], [x], [T.tensor([1, 10]), T.tensor([1, 1])]);
    expect([...interpret([dx])[0]]).toEqual([2 + 2, 20 + 4]);
  });

  test("valueAndGrad returns value and gradient", () => {
    const [value, [dx]] = T.valueAndGrad((x) => T.square(x).sum())(T.tensor([1, 3]));
    expect(interpret([value, dx]).map((v) => [...v])).toEqual([[10], [2, 6]]);
  });

  test("a custom gradient of the wrong shape is rejected", () => {
    const wrong = T.customGradient({ forward: (x) => x.mul(2), backward: (g) => [g.sum()] });
    const x = T.ones([2]);
    expect(() => T.grad(wrong(x).sum(), [x])).toThrow("the gradient of input 0 has shape [], but the input has [2]");
  });
});

test("the gradient check finds a wrong gradient and reports the measured slope", () => {
  const wrong = T.customGradient({ forward: (x) => T.square(x), backward: (g, _, x) => [g.mul(x)] });
  const { passed, worst } = checkGradients(wrong, [T.tensor([0, 3])]);
  expect(passed).toBe(false);
  expect(worst.element).toBe(1);
  expect(worst.measured / worst.derived).toBeCloseTo(2, 6);
});
