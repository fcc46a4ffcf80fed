import * as T from "../../src/tensor/index.ts";

/** An operator with input shapes, whose values and gradients must agree on two devices. */
export interface OperatorCase {
  shapes: readonly (readonly number[])[];
  /** Range of the input values. Default: -1 to 1. */
  low?: number;
  high?: number;
  /** Maximum difference relative to the largest value. Default: 2e-5. */
  tolerance?: number;
  apply(...inputs: T.Tensor[]): T.Tensor;
}

const rows = T.tensor(Int32Array.of(2, 0, 2, 1, 2), [5]);
const labels = T.tensor(Int32Array.of(1, -100, 3, 0), [4]);
const positions = T.tensor(Int32Array.of(0, 1, 2, 5, 6, 3), [2, 3]);
const angles = Array.from({ length: 8 * 4 }, (_, i) => Math.floor(i / 4) / 3 ** (i % 4));
const cos = T.tensor(Float32Array.from(angles, Math.cos), [8, 4]);
const sin = T.tensor(Float32Array.from(angles, Math.sin), [8, 4]);
const positive = { low: 0.5, high: 2 };
/** Converts bool to numbers for comparison. */
const asNumber = (condition: T.Tensor) => T.where(condition, 1, 0);

export const operatorCases: Record<string, OperatorCase> = {
  add: { shapes: [[2, 3], [3]], apply: T.add },
  sub: { shapes: [[2, 1], [3]], apply: T.sub },
  mul: { shapes: [[2, 3], [2, 1]], apply: T.mul }, // biome-ignore format: one case a line
  div: { shapes: [[2, 3], [3]], ...positive, apply: T.div },
  maximum: { shapes: [[5, 3], [3]], apply: T.maximum },
  minimum: { shapes: [[5, 3], [3]], apply: T.minimum },
  neg: { shapes: [[7]], apply: T.neg },
  exp: { shapes: [[7]], apply: T.exp },
  log: { shapes: [[7]], ...positive, apply: T.log },
  sqrt: { shapes: [[7]], ...positive, apply: T.sqrt },
  sigmoid: { shapes: [[7]], apply: T.sigmoid },
  tanh: { shapes: [[7]], apply: T.tanh },
  relu: { shapes: [[7]], apply: T.relu },
  comparisons: {
    shapes: [[4, 3], [3]],
    apply: (a, b) => {
      const parts = [T.less(a, b), T.lessEqual(b, a), T.equal(a, b), T.and(T.less(a, 0.5), T.not(T.less(b, 0)))];
      return T.concat(parts.map(asNumber), 0).mul(T.concat([a, a, a, a], 0));
    },
  },
  cast: { shapes: [[7]], low: -4, high: 4, apply: (x) => x.cast("int32").cast("float32").mul(x) },
  where: { shapes: [[2, 3], [3]], apply: (a, b) => T.where(T.less(T.arange(3), 2), a, b) },
  sum: { shapes: [[2, 3, 4]], apply: (x) => x.sum([1]) },
  "sum of all": { shapes: [[30, 40]], apply: (x) => x.sum() },
  mean: { shapes: [[2, 3]], apply: (x) => x.mean([-1], true) },
  max: { shapes: [[2, 30]], apply: (x) => x.max([1]) },
  argmax: {
    shapes: [[4, 30]],
    apply: (x) =>
      T.argmax(x)
        .cast("float32")
        .mul(x.sum([1])),
  },
  reshape: { shapes: [[2, 6]], apply: (x) => x.reshape([3, -1]) },
  transpose: { shapes: [[2, 3, 4]], apply: (x) => x.transpose([2, 0, 1]) },
  broadcastTo: { shapes: [[3, 1]], apply: (x) => x.broadcastTo([2, 3, 4]) },
  slice: { shapes: [[2, 5]], apply: (x) => x.slice(1, 1, 4) },
  concat: { shapes: [[2, 1], [2, 3]], apply: (a, b) => T.concat([a, b], 1) }, // biome-ignore format: one case a line
  matmul: { shapes: [[2, 3, 4], [4, 5]], apply: (a, b) => T.matmul(a, b) }, // biome-ignore format: one case a line
  "matmul of large matrices": { shapes: [[70, 130], [130, 90]], apply: (a, b) => T.matmul(a, b) }, // biome-ignore format: one case a line
  "matmul, transposed and scaled": {
    shapes: [[40, 30], [20, 40]], // biome-ignore format: as a pair
    apply: (a, b) => T.matmul(a, b, { transposeA: true, transposeB: true, scale: 0.5 }),
  },
  "stacked matmul, transposed and scaled": {
    shapes: [[2, 3, 5, 4], [2, 1, 6, 4]], // biome-ignore format: as a pair
    apply: (a, b) => T.matmul(a, b, { transposeB: true, scale: 0.5 }),
  },
  gather: { shapes: [[3, 2]], apply: (x) => T.gather(x, rows) },
  scatterAdd: { shapes: [[3, 2], [5, 2]], apply: (x, updates) => T.scatterAdd(x, rows, updates) }, // biome-ignore format: one case a line
  softmax: { shapes: [[3, 40]], apply: (x) => T.softmax(x) },
  crossEntropy: { shapes: [[4, 50]], low: -30, high: 30, apply: (x) => T.crossEntropy(x, labels) },
  "crossEntropy, twice differentiated": {
    shapes: [[4, 5]],
    apply: (x) => T.grad(T.crossEntropy(x, labels).sum(), [x])[0],
  },
  rmsNorm: { shapes: [[3, 64], [64]], low: 0.2, apply: (x, w) => T.rmsNorm(x, w, 1e-5) },
  rotary: { shapes: [[2, 2, 3, 8]], apply: (x) => T.rotary(x, positions, cos, sin) },
  stopGradient: { shapes: [[3]], apply: (x) => T.stopGradient(x).mul(x) },

  pow: { shapes: [[7]], ...positive, apply: (x) => T.pow(x, 2.5) },
  remainder: { shapes: [[7]], ...positive, apply: (x) => T.remainder(x, 0.7) },
  "abs, sign and steps": {
    shapes: [[9]],
    apply: (x) =>
      T.abs(x)
        .mul(T.sign(x))
        .add(T.floor(x.mul(3)))
        .add(T.ceil(x.mul(5)))
        .add(T.round(x.mul(7))),
  },
  // WebGPU guarantees an absolute error of 2^-11 for sin.
  "sin, cos, atan": { shapes: [[9]], tolerance: 2 ** -11, apply: (x) => T.sin(x).add(T.cos(x)).mul(T.atan(x)) },
  "erf and gelu": { shapes: [[9]], apply: (x) => T.erf(x).add(T.gelu(x)).add(T.gelu(x, "tanh")) },
  "softplus and elu": { shapes: [[9]], apply: (x) => T.softplus(x).add(T.elu(x)).add(T.leakyRelu(x)) },
  "isNan, or": {
    shapes: [[6]],
    apply: (x) => asNumber(T.or(T.isNan(T.log(x)), T.less(x, 0.5))).mul(x),
  },
  min: { shapes: [[3, 5]], apply: (x) => x.min([1]) },
  prod: { shapes: [[3, 5]], ...positive, apply: (x) => T.prod(x, [1]) },
  "logSumExp and variance": { shapes: [[3, 5]], apply: (x) => T.logSumExp(x, [1]).add(T.variance(x, [1])) },
  cumsum: { shapes: [[3, 5]], apply: (x) => T.cumsum(x, 1) },
  pad: { shapes: [[3, 5]], apply: (x) => T.pad(x, [1, 0], [0, 2]) },
  flip: { shapes: [[3, 5]], apply: (x) => T.flip(x, 1) },
  "slice with a step": { shapes: [[3, 7]], apply: (x) => x.slice(1, 1, 7, 3) },
  einsum: {
    shapes: [[2, 3, 4], [2, 5, 4]], // biome-ignore format: as a pair
    apply: (a, b) => T.einsum("bqd,bkd->bqk", a, b),
  },
  conv1d: {
    shapes: [[2, 4, 9], [6, 2, 3]], // biome-ignore format: as a pair
    apply: (x, w) => T.conv1d(x, w, { stride: 2, padding: 1, groups: 2 }),
  },
  conv2d: {
    shapes: [[2, 3, 8, 8], [4, 3, 3, 3]], // biome-ignore format: as a pair
    apply: (x, w) => T.conv2d(x, w, { stride: 2, padding: 1 }),
  },
  "conv2d, dilated": {
    shapes: [[1, 2, 9, 9], [3, 2, 3, 3]], // biome-ignore format: as a pair
    apply: (x, w) => T.conv2d(x, w, { dilation: 2 }),
  },
  convTranspose2d: {
    shapes: [[1, 3, 4, 4], [3, 2, 3, 3]], // biome-ignore format: as a pair
    apply: (x, w) => T.convTranspose2d(x, w, { stride: 2, outputPadding: 1 }),
  },
  maxPool1d: { shapes: [[1, 2, 7]], apply: (x) => T.maxPool1d(x, 3, { stride: 2, padding: 1 }) },
  maxPool2d: { shapes: [[1, 2, 6, 6]], apply: (x) => T.maxPool2d(x, 2) },
  "maxPool2d, overlapping": { shapes: [[2, 2, 7, 5]], apply: (x) => T.maxPool2d(x, 3, { stride: [2, 1], padding: 1 }) },
  avgPool2d: { shapes: [[1, 2, 6, 6]], apply: (x) => T.avgPool2d(x, 2, { padding: 1 }) },
  "gather along an axis": { shapes: [[2, 3, 2]], apply: (x) => T.gather(x, rows, 1) },
  scatter: {
    shapes: [[4, 2], [2, 2]], // biome-ignore format: as a pair
    apply: (x, updates) => T.scatter(x, T.tensor(Int32Array.of(3, 1), [2]), updates),
  },
  takeAlongAxis: {
    shapes: [[3, 4]],
    apply: (x) => T.takeAlongAxis(x, T.tensor(Int32Array.of(3, 0, 1, 1, 2, 0), [3, 2]), 1),
  },
  sort: { shapes: [[3, 6]], apply: (x) => T.sort(x, 1) },
  topK: { shapes: [[3, 6]], apply: (x) => T.topK(x, 2, 1).values },
  layerNorm: {
    shapes: [[3, 16], [16], [16]], // biome-ignore format: as a triple
    apply: (x, w, b) => T.layerNorm(x, w, b, 1e-5),
  },
  "softmax over the first axis": { shapes: [[5, 3]], apply: (x) => T.softmax(x, 0) },
  "uniform noise": { shapes: [[40]], apply: (x) => x.mul(T.randomUniform([40], 3, { stream: "noise" })) },
  dropout: { shapes: [[40]], apply: (x) => T.dropout(x, 0.3, 5, "layer") },
  checkpoint: {
    shapes: [[4, 8], [8, 8]], // biome-ignore format: as a pair
    apply: (x, w) => {
      const layer = T.checkpoint((h) => T.tanh(h.matmul(w)).add(h));
      return layer(layer(x));
    },
  },
};
