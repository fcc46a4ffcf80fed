// What each function of tensors gives, against values worked out by hand or by JavaScript's own arithmetic.
import { afterAll, expect, test } from "vitest";
import { sharedEngine } from "../engine/index.ts";
import * as T from "./index.ts";
import { arange, type NestedArray, type Tensor, tensor } from "./index.ts";

process.env.ANNEAL_DEVICE = "cpu";
afterAll(async () => (await sharedEngine()).close());

/** Compare tensors, computed in one program, with what they must be. Floats agree to six digits. */
async function check(cases: Readonly<Record<string, readonly [found: Tensor, wanted: NestedArray]>>): Promise<void> {
  const names = Object.keys(cases);
  const values = await T.Tensor.data(names.map((name) => cases[name][0]));
  for (const [i, name] of names.entries()) {
    const [{ shape }, wanted] = cases[name];
    const same = tensor(wanted).attributes as { data: ArrayLike<number> };
    expect(shape, `shape of ${name}`).toEqual(tensor(wanted).shape);
    for (const [k, value] of Array.from(values[i]).entries()) {
      const near = value === same.data[k] || Math.abs(value - same.data[k]) <= 1e-6 * Math.max(1, Math.abs(value));
      if (!near) expect(Array.from(values[i]), name).toEqual(Array.from(same.data));
    }
  }
}

const matrix = tensor([
  [1, 2, 3],
  [4, 5, 6],
]);
const numbers = [-2.5, -1, -0.5, 0, 0.5, 1, 2.5];
const x = tensor(numbers);
const each = (fn: (value: number) => number) => numbers.map(fn);

test("tensors are created from given, repeated and evenly spaced values", async () => {
  await check({
    zeros: [T.zeros([2]), [0, 0]],
    ones: [T.ones([1, 2]), [[1, 1]]],
    full: [T.full([2], 2.5), [2.5, 2.5]],
    arange: [arange(4), [0, 1, 2, 3]],
    "arange with a step": [arange(5, 0, -2), [5, 3, 1]],
    linspace: [T.linspace(-1, 1, 5), [-1, -0.5, 0, 0.5, 1]],
    eye: [
      T.eye(2, 3),
      [
        [1, 0, 0],
        [0, 1, 0],
      ],
    ],
  });
  expect([arange(4).dtype, tensor([true]).dtype, tensor([1]).dtype]).toEqual(["int32", "bool", "float32"]);
  expect(() => tensor([[1], [2, 3]] as number[][])).toThrow(T.ShapeError);
});

test("arithmetic broadcasts, divides whole numbers towards zero, and takes the remainder's sign from the divisor", async () => {
  const row = tensor([10, 20, 30]);
  await check({
    add: [
      T.add(matrix, row),
      [
        [11, 22, 33],
        [14, 25, 36],
      ],
    ],
    sub: [T.sub(row, 1), [9, 19, 29]],
    mul: [T.mul(row, row), [100, 400, 900]],
    div: [T.div(row, 4), [2.5, 5, 7.5]],
    "div of whole numbers": [T.div(tensor([7, -7], [2], "int32"), tensor([2, 2], [2], "int32")), [3, -3]],
    pow: [T.pow(tensor([2, 9]), tensor([3, 0.5])), [8, 3]],
    maximum: [T.maximum(tensor([1, 5]), 3), [3, 5]],
    minimum: [T.minimum(tensor([1, 5]), 3), [1, 3]],
    clamp: [T.clamp(x, -1, 1), [-1, -1, -0.5, 0, 0.5, 1, 1]],
    remainder: [T.remainder(tensor([7, -7, 7]), tensor([3, 3, -3])), [1, 2, -2]],
    cast: [T.cast(tensor([1.9, -1.9]), "int32"), [1, -1]],
    stopGradient: [T.stopGradient(row), [10, 20, 30]],
  });
});

test("elementwise functions agree with JavaScript's Math", async () => {
  const positive = tensor([0.25, 1, 4]);
  await check({
    neg: [T.neg(x), each((v) => 0 - v)],
    abs: [T.abs(x), each(Math.abs)],
    sign: [T.sign(x), each((v) => Math.sign(v) + 0)],
    floor: [T.floor(x), each(Math.floor)],
    ceil: [T.ceil(x), each((v) => Math.ceil(v) + 0)],
    "round, halves to the even one": [T.round(tensor([0.5, 1.5, 2.5, -1.2])), [0, 2, 2, -1]],
    exp: [T.exp(x), each(Math.exp)],
    log: [T.log(positive), [Math.log(0.25), 0, Math.log(4)]],
    sqrt: [T.sqrt(positive), [0.5, 1, 2]],
    rsqrt: [T.rsqrt(positive), [2, 1, 0.5]],
    square: [T.square(x), each((v) => v * v)],
    reciprocal: [T.reciprocal(positive), [4, 1, 0.25]],
    sin: [T.sin(x), each(Math.sin)],
    cos: [T.cos(x), each(Math.cos)],
    tan: [T.tan(x), each(Math.tan)],
    atan: [T.atan(x), each(Math.atan)],
    tanh: [T.tanh(x), each(Math.tanh)],
    sigmoid: [T.sigmoid(x), each((v) => 1 / (1 + Math.exp(-v)))],
    relu: [T.relu(x), each((v) => Math.max(v, 0))],
    silu: [T.silu(x), each((v) => v / (1 + Math.exp(-v)))],
    softplus: [T.softplus(x), each((v) => Math.log1p(Math.exp(v)))],
    leakyRelu: [T.leakyRelu(x, 0.1), each((v) => (v < 0 ? 0.1 * v : v))],
    elu: [T.elu(x), each((v) => (v < 0 ? Math.expm1(v) : v))],
    erf: [T.erf(tensor([0, 0.5, 1])), [0, 0.5204998778, 0.8427007929]],
    gelu: [T.gelu(tensor([-1, 0, 1])), [-0.1586552539, 0, 0.8413447461]],
  });
});

test("comparisons return bool tensors, which logical operators accept", async () => {
  const [a, b] = [tensor([1, 2, 3]), tensor([3, 2, 1])];
  const [p, q] = [tensor([true, true, false, false]), tensor([true, false, true, false])];
  await check({
    equal: [T.equal(a, b), [0, 1, 0]],
    notEqual: [T.notEqual(a, b), [1, 0, 1]],
    less: [T.less(a, b), [1, 0, 0]],
    lessEqual: [T.lessEqual(a, b), [1, 1, 0]],
    greater: [T.greater(a, b), [0, 0, 1]],
    greaterEqual: [T.greaterEqual(a, b), [0, 1, 1]],
    and: [T.and(p, q), [1, 0, 0, 0]],
    or: [T.or(p, q), [1, 1, 1, 0]],
    xor: [T.xor(p, q), [0, 1, 1, 0]],
    not: [T.not(p), [0, 0, 1, 1]],
    isNan: [T.isNan(tensor([1, Number.NaN])), [0, 1]],
    isInfinite: [T.isInfinite(tensor([1, Number.NEGATIVE_INFINITY])), [0, 1]],
    where: [T.where(T.greater(a, b), a, 0), [0, 0, 3]],
  });
  expect(T.equal(a, b).dtype).toBe("bool");
});

test("reductions are over all axes or the given ones", async () => {
  await check({
    sum: [T.sum(matrix), 21],
    "sum over rows": [T.sum(matrix, [0]), [5, 7, 9]],
    "sum with its axis kept": [T.sum(matrix, [1], true), [[6], [15]]],
    mean: [T.mean(matrix, [-1]), [2, 5]],
    max: [T.max(matrix, [1]), [3, 6]],
    min: [T.min(matrix, [1]), [1, 4]],
    prod: [T.prod(matrix, [0]), [4, 10, 18]],
    variance: [T.variance(matrix, [1]), [1, 1]],
    "variance without Bessel's correction": [T.variance(matrix, [1], false, 0), [2 / 3, 2 / 3]],
    std: [T.std(matrix), Math.sqrt(3.5)],
    norm: [T.norm(tensor([3, 4])), 5],
    logSumExp: [T.logSumExp(tensor([1000, 1000])), 1000 + Math.LN2],
    any: [
      T.any(
        tensor([
          [false, true],
          [false, false],
        ]),
        [1],
      ),
      [1, 0],
    ],
    all: [T.all(tensor([true, false])), 0],
    argmax: [T.argmax(tensor([1, 3, 3])), 1],
    argmin: [T.argmin(tensor([2, 1, 1])), 1],
    cumsum: [
      T.cumsum(matrix),
      [
        [1, 3, 6],
        [4, 9, 15],
      ],
    ],
    sumTo: [T.sumTo(matrix, [1, 3]), [[5, 7, 9]]],
  });
  expect(() => T.sum(matrix, [2])).toThrow("axis 2 is out of range for shape [2, 3]");
});

test("shape operations keep the order of elements", async () => {
  const column = tensor([[1], [2]]);
  await check({
    reshape: [
      T.reshape(matrix, [3, -1]),
      [
        [1, 2],
        [3, 4],
        [5, 6],
      ],
    ],
    transpose: [
      T.transpose(matrix),
      [
        [1, 4],
        [2, 5],
        [3, 6],
      ],
    ],
    swapAxes: [T.swapAxes(matrix, 0, 1).at(2), [3, 6]],
    broadcastTo: [
      T.broadcastTo(column, [2, 2]),
      [
        [1, 1],
        [2, 2],
      ],
    ],
    slice: [T.slice(arange(6), 0, 1, 6, 2), [1, 3, 5]],
    at: [T.at(matrix, ["...", -1]), [3, 6]],
    "at with a tensor": [matrix.at(1, tensor([2, 0], [2], "int32")), [6, 4]],
    squeeze: [T.squeeze(column), [1, 2]],
    unsqueeze: [T.unsqueeze(tensor([1, 2]), -1), [[1], [2]]],
    flatten: [T.flatten(matrix), [1, 2, 3, 4, 5, 6]],
    concat: [T.concat([tensor([1]), tensor([2, 3])], 0), [1, 2, 3]],
    stack: [
      T.stack([tensor([1, 2]), tensor([3, 4])], 1),
      [
        [1, 3],
        [2, 4],
      ],
    ],
    split: [T.split(arange(5), [2, 3])[1], [2, 3, 4]],
    tile: [T.tile(tensor([1, 2]), [2]), [1, 2, 1, 2]],
    pad: [T.pad(tensor([1, 2]), [1], [2]), [0, 1, 2, 0, 0]],
    flip: [T.flip(matrix, 1).at(0), [3, 2, 1]],
    tril: [
      T.tril(T.ones([2, 3])),
      [
        [1, 0, 0],
        [1, 1, 0],
      ],
    ],
    triu: [
      T.triu(T.ones([2, 3]), 1),
      [
        [0, 1, 1],
        [0, 0, 1],
      ],
    ],
  });
});

test("gather, scatter, sort and topK", async () => {
  const indices = (...values: number[]) => tensor(values, [values.length], "int32");
  const top = T.topK(tensor([3, 1, 2, 3]), 3);
  await check({
    gather: [T.gather(matrix, indices(2, 0), 1).at(0), [3, 1]],
    scatterAdd: [T.scatterAdd(T.zeros([3]), indices(1, 1), tensor([2, 3])), [0, 5, 0]],
    scatter: [T.scatter(T.ones([3]), indices(2, 0), tensor([7, 8])), [8, 1, 7]],
    takeAlongAxis: [T.takeAlongAxis(matrix, tensor([[2], [0]], [2, 1], "int32")), [[3], [4]]],
    scatterAddAlongAxis: [
      T.scatterAddAlongAxis(T.zeros([2, 2]), tensor([[1], [0]], [2, 1], "int32"), tensor([[5], [6]])),
      [
        [0, 5],
        [6, 0],
      ],
    ],
    "values of topK": [top.values, [3, 3, 2]],
    "indices of topK": [top.indices, [0, 3, 2]],
    argsort: [T.argsort(tensor([3, 1, 2])), [1, 2, 0]],
    sort: [T.sort(tensor([3, 1, 2]), -1, true), [3, 2, 1]],
    oneHot: [
      T.oneHot(indices(2, 0), 3),
      [
        [0, 0, 1],
        [1, 0, 0],
      ],
    ],
  });
});

test("matmul, einsum and convolutions", async () => {
  const picture = tensor([
    [
      [
        [1, 2],
        [3, 4],
      ],
    ],
  ]);
  const line = tensor([[[1, 2, 3, 4]]]);
  await check({
    matmul: [T.matmul(matrix, tensor([[1], [0], [-1]])), [[-2], [-2]]],
    "matmul with the second transposed": [T.matmul(matrix, tensor([[1, 1, 1]]), { transposeB: true }), [[6], [15]]],
    einsum: [T.einsum("ij->j", matrix), [5, 7, 9]],
    "einsum of a trace": [T.einsum("ii", T.eye(3)), 3],
    conv1d: [T.conv1d(line, tensor([[[1, -1]]])), [[[-1, -1, -1]]]],
    conv2d: [T.conv2d(picture, T.ones([1, 1, 2, 2])), [[[[10]]]]],
    convTranspose2d: [
      T.convTranspose2d(tensor([[[[2]]]]), T.ones([1, 1, 2, 2])),
      [
        [
          [
            [2, 2],
            [2, 2],
          ],
        ],
      ],
    ],
    maxPool1d: [T.maxPool1d(line, 2), [[[2, 4]]]],
    maxPool2d: [T.maxPool2d(picture, 2), [[[[4]]]]],
    avgPool1d: [T.avgPool1d(line, 2), [[[1.5, 3.5]]]],
    avgPool2d: [T.avgPool2d(picture, 2), [[[[2.5]]]]],
  });
});

test("neural network functions", async () => {
  const logits = tensor([[0, Math.LN2]]);
  const labels = tensor([1], [1], "int32");
  await check({
    softmax: [T.softmax(logits), [[1 / 3, 2 / 3]]],
    logSoftmax: [T.logSoftmax(logits), [[-Math.log(3), Math.log(2 / 3)]]],
    crossEntropy: [T.crossEntropy(logits, labels), [Math.log(1.5)]],
    rmsNorm: [T.rmsNorm(tensor([[3, 4]]), tensor([1, 2]), 0), [[3 / Math.sqrt(12.5), 8 / Math.sqrt(12.5)]]],
    layerNorm: [T.layerNorm(tensor([[1, 3]]), tensor([1, 2]), tensor([0, 1]), 0), [[-1, 3]]],
  });
});

test("gradients of a value, of several outputs, of a function, and custom gradients", async () => {
  const loss = matrix.square().sum();
  const w = tensor([1, 2]);
  const [value, [slope]] = T.valueAndGrad((v: Tensor) => v.pow(3).sum())(w);
  const [pulled] = T.vjp([w.mul(2), w.square()], [w], [T.ones([2]), tensor([10, 100])]);
  const through = T.customGradient({ forward: (v) => T.round(v), backward: (g) => [g.mul(5)] });
  const again = T.checkpoint((v) => v.square().mul(v));
  await check({
    grad: [T.grad(loss, [matrix])[0].at(1), [8, 10, 12]],
    "value of valueAndGrad": [value, 9],
    "gradient of valueAndGrad": [slope, [3, 12]],
    vjp: [pulled, [22, 402]],
    customGradient: [T.grad(through(w).sum(), [w])[0], [5, 5]],
    checkpoint: [T.grad(again(w).sum(), [w])[0], [3, 12]],
    stopGradient: [T.grad(T.stopGradient(w).mul(w).sum(), [w])[0], [1, 2]],
  });
  expect(() => T.grad(matrix, [matrix])).toThrow(T.ShapeError);
});

test("smooth functions have derivatives of any order at zero", async () => {
  const zero = tensor([0]);
  const slopes = (fn: (v: Tensor) => Tensor): [first: Tensor, second: Tensor] => {
    const [first] = T.grad(fn(zero).sum(), [zero]);
    return [first, T.grad(first.sum(), [zero])[0]];
  };
  const [softplus, silu, gelu, sigmoid] = [T.softplus, T.silu, T.gelu, T.sigmoid].map(slopes);
  await check({
    softplus: [softplus[0], [0.5]],
    "softplus, second": [softplus[1], [0.25]],
    silu: [silu[0], [0.5]],
    "silu, second": [silu[1], [0.5]],
    gelu: [gelu[0], [0.5]],
    "gelu, second": [gelu[1], [Math.sqrt(2 / Math.PI)]],
    sigmoid: [sigmoid[0], [0.25]],
  });
});

test("random tensors are determined by seed and stream, and have the documented moments", async () => {
  const count = 20_000;
  const draws = {
    uniform: T.randomUniform([count], 1, { low: -1, high: 3 }),
    normal: T.randomNormal([count], 2, { mean: 5, deviation: 2 }),
    bernoulli: T.randomBernoulli([count], 0.3, 3).cast("float32"),
    integer: T.randomInteger([count], 4, 4).cast("float32"),
    dropped: T.dropout(T.ones([count]), 0.25, 5, "layer"),
  };
  const moments = await T.Tensor.data(Object.values(draws).flatMap((t) => [t.mean(), T.std(t)]));
  const found = Array.from(moments, ([value]) => value);
  const wanted = [1, 4 / Math.sqrt(12), 5, 2, 0.3, Math.sqrt(0.21), 1.5, Math.sqrt(1.25), 1, Math.sqrt(1 / 3)];
  for (const [i, value] of found.entries()) expect(Math.abs(value - wanted[i])).toBeLessThan(0.05);

  const [once, twice, other, keyed] = await T.Tensor.data([
    T.randomUniform([4], 7),
    T.randomUniform([4], 7),
    T.randomUniform([4], 7, { stream: "another" }),
    T.randomUniform([4], tensor(T.randomKey(7), [], "int32")),
  ]);
  expect(once).toEqual(twice);
  expect(once).not.toEqual(other);
  expect(keyed).toEqual(once);
});

test("Random on the host: the same stream gives the same numbers, in range", () => {
  const draw = (stream: string) => Array.from({ length: 100 }, () => new T.Random(1, stream).integer(10));
  expect(draw("a")).toEqual(draw("a"));
  const random = new T.Random(1, "order");
  expect([...random.permutation(5)].sort()).toEqual([0, 1, 2, 3, 4]);
  const values = Array.from({ length: 1000 }, () => random.uniform());
  expect(values.every((value) => value >= 0 && value < 1)).toBe(true);
  expect(T.randomKey(1, "a")).not.toBe(T.randomKey(1, "b"));
});

test("a 16-bit float is rounded to 16 bits", () => {
  const values = Float32Array.of(1, -2.5, 1 / 3, 65504);
  expect(T.float16ToFloat32(T.float32ToFloat16(values))).toEqual(Float32Array.of(1, -2.5, 0.333251953125, 65504));
  expect(T.bfloat16ToFloat32(T.float32ToBfloat16(values))).toEqual(Float32Array.of(1, -2.5, 0.333984375, 65536));
});

test("an 8-bit matrix and its products approximate the original", async () => {
  const [a, w] = [T.randomNormal([4, 32], 1), T.randomNormal([8, 32], 2)];
  const full = T.matmul(a, w, { transposeB: true });
  const [far, farther, farthest] = await T.Tensor.data([
    T.dequantize(T.quantize(w)).sub(w).abs().max(),
    T.quantizedMatmul(a, T.quantize(w)).sub(full).abs().max(),
    T.switchback(a, w).sub(full).abs().max(),
  ]);
  expect(far[0]).toBeLessThan(0.02);
  expect(farther[0]).toBeLessThan(0.3);
  expect(farthest[0]).toBeLessThan(0.3);
});
