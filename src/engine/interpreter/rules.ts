import {
  type Attributes,
  dynamicLevels,
  nf4Block,
  nf4Group,
  nf4Levels,
  type OperatorName,
  randomBits,
  type Shape,
  type Tensor,
} from "../../tensor/index.ts";
import { broadcastOffsets, forEachTap, indexOf, offsets, pick, sizeOf, stridesOf, type Value } from "./arrays.ts";

/** Computes the values of an operator's result, in row-major order. */
type Rule<K extends OperatorName> = (inputs: readonly Value[], attributes: Attributes[K], node: Tensor) => Float64Array;

type Binary = (a: number, b: number) => number;

/** Elementwise operator; `whole` is used for int32 where that differs. */
const binary =
  (fn: Binary, whole: Binary = fn) =>
  ([a, b]: readonly Value[], _: unknown, node: Tensor): Float64Array => {
    const apply = node.inputs[0].dtype === "int32" ? whole : fn;
    const [from, by] = [broadcastOffsets(node.shape, a.shape), broadcastOffsets(node.shape, b.shape)];
    return Float64Array.from(from, (at, i) => apply(a.data[at], b.data[by[i]]));
  };

const unary =
  (fn: (x: number) => number) =>
  ([x]: readonly Value[]): Float64Array =>
    x.data.map(fn);

const copy = ([x]: readonly Value[]): Float64Array => x.data;

type Reduction = { readonly axes: readonly number[] };

const reduction =
  (start: number, fn: Binary) =>
  ([x]: readonly Value[], { axes }: Reduction, node: Tensor): Float64Array => {
    const reducedShape = x.shape.map((n, i) => (axes.includes(i) ? 1 : n));
    const to = broadcastOffsets(x.shape, reducedShape);
    const result = new Float64Array(node.size).fill(start);
    x.data.forEach((value, i) => {
      result[to[i]] = fn(result[to[i]], value);
    });
    return result;
  };

/** Returns the 1D slices of a tensor along one axis: their start offsets, length and stride. */
function lines({ shape }: Value, axis: number) {
  const stride = stridesOf(shape)[axis];
  const starts = offsets(
    shape.map((n, i) => (i === axis ? 1 : n)),
    stridesOf(shape),
  );
  return { starts, length: shape[axis], stride };
}

const choice =
  (better: (a: number, b: number) => boolean) =>
  ([x]: readonly Value[], { axis }: { readonly axis: number }): Float64Array => {
    const { starts, length, stride } = lines(x, axis);
    return Float64Array.from(starts, (start) => {
      let best = 0;
      for (let k = 1; k < length; k++) if (better(x.data[start + k * stride], x.data[start + best * stride])) best = k;
      return best;
    });
  };

/** Maps each row of the last axis to another of the same length. */
function byRow({ shape, data }: Value, fn: (row: Float64Array, index: number) => ArrayLike<number>): Float64Array {
  const width = shape.at(-1) ?? 1;
  const result = new Float64Array(data.length);
  for (let i = 0; i * width < data.length; i++) result.set(fn(data.subarray(i * width, (i + 1) * width), i), i * width);
  return result;
}

const mean = (values: Float64Array) => values.reduce((a, b) => a + b, 0) / values.length;

function softmaxRow(row: Float64Array): Float64Array {
  const top = row.reduce((most, x) => Math.max(most, x), Number.NEGATIVE_INFINITY);
  const powers = row.map((x) => Math.exp(x - top));
  const total = powers.reduce((a, b) => a + b, 0);
  return powers.map((p) => p / total);
}

/** erf by its series of terms with equal sign (Abramowitz & Stegun 7.1.6). */
function erf(x: number): number {
  if (Math.abs(x) > 6) return Math.sign(x);
  let [term, sum] = [x, x];
  for (let n = 1; Math.abs(term) > 1e-17 * Math.abs(sum); n++) {
    term *= (2 * x * x) / (2 * n + 1);
    sum += term;
  }
  return (2 / Math.sqrt(Math.PI)) * Math.exp(-x * x) * sum;
}

function roundHalfEven(x: number): number {
  const down = Math.floor(x);
  if (x - down !== 0.5) return Math.round(x);
  return down % 2 === 0 ? down : down + 1;
}

function castTo(dtype: Tensor["dtype"], x: number): number {
  if (dtype === "bool") return Number(x !== 0);
  return dtype === "int32" || dtype === "int64" ? Math.trunc(x) : x;
}

/** Combines rows of axis 0 at `indices` with those of `updates` by `fn`. */
const scattering =
  (fn: Binary) =>
  ([x, indices, updates]: readonly Value[]): Float64Array => {
    const result = x.data.slice();
    const width = sizeOf(x.shape.slice(1));
    indices.data.forEach((row, k) => {
      for (let j = 0; j < width; j++) {
        result[row * width + j] = fn(result[row * width + j], updates.data[k * width + j]);
      }
    });
    return result;
  };

/** Returns the offsets of elements at indices along one axis. */
function alongAxis(x: Value, indices: Value, axis: number): Int32Array {
  const strides = stridesOf(x.shape);
  const base = offsets(
    indices.shape,
    strides.map((stride, i) => (i === axis ? 0 : stride)),
  );
  return base.map((at, i) => at + indices.data[i] * strides[axis]);
}

/** One entry for each operator of a tensor program. */
export const rules: { readonly [K in OperatorName]: Rule<K> } = {
  constant: (_, { data }) => Float64Array.from(data),
  input: (_, { name }) => missing("input", name),
  variable: (_, { name }) => missing("variable", name),

  add: binary(
    (a, b) => a + b,
    (a, b) => (a + b) | 0,
  ),
  sub: binary(
    (a, b) => a - b,
    (a, b) => (a - b) | 0,
  ),
  mul: binary((a, b) => a * b, Math.imul),
  div: binary(
    (a, b) => a / b,
    (a, b) => (a / b) | 0,
  ),
  pow: binary((a, b) => a ** b),
  remainder: binary((a, b) => ((a % b) + b) % b),
  maximum: binary(Math.max),
  minimum: binary(Math.min),
  cast: ([x], { dtype }) => x.data.map((value) => castTo(dtype, value)),
  stopGradient: copy,

  neg: unary((x) => -x),
  abs: unary(Math.abs),
  sign: unary(Math.sign),
  floor: unary(Math.floor),
  ceil: unary(Math.ceil),
  round: unary(roundHalfEven),
  exp: unary(Math.exp),
  log: unary(Math.log),
  sqrt: unary(Math.sqrt),
  sin: unary(Math.sin),
  cos: unary(Math.cos),
  atan: unary(Math.atan),
  erf: unary(erf),
  sigmoid: unary((x) => 1 / (1 + Math.exp(-x))),
  tanh: unary(Math.tanh),
  relu: unary((x) => Math.max(x, 0)),

  equal: binary((a, b) => Number(a === b)),
  less: binary((a, b) => Number(a < b)),
  lessEqual: binary((a, b) => Number(a <= b)),
  and: binary((a, b) => a * b),
  or: binary(Math.max),
  not: unary((x) => 1 - x),
  isNan: unary((x) => Number(Number.isNaN(x))),
  where: ([condition, a, b], _, node) => {
    const [at, from, by] = [condition, a, b].map(({ shape }) => broadcastOffsets(node.shape, shape));
    return Float64Array.from(at, (c, i) => (condition.data[c] ? a.data[from[i]] : b.data[by[i]]));
  },

  sum: reduction(0, (a, b) => a + b),
  max: reduction(Number.NEGATIVE_INFINITY, Math.max),
  min: reduction(Number.POSITIVE_INFINITY, Math.min),
  argmax: choice((a, b) => a > b),
  argmin: choice((a, b) => a < b),
  cumsum: ([x], { axis, reverse }) => {
    const { starts, length, stride } = lines(x, axis);
    const result = x.data.slice();
    for (const start of starts) {
      for (let k = 1; k < length; k++) {
        const at = start + (reverse ? length - 1 - k : k) * stride;
        result[at] += result[reverse ? at + stride : at - stride];
      }
    }
    return result;
  },

  reshape: copy,
  transpose: ([x], { permutation }, node) => {
    const strides = stridesOf(x.shape);
    return pick(
      x.data,
      offsets(
        node.shape,
        permutation.map((axis) => strides[axis]),
      ),
    );
  },
  broadcastTo: ([x], _, node) => pick(x.data, broadcastOffsets(node.shape, x.shape)),
  slice: ([x], { axis, start }, node) => {
    const strides = stridesOf(x.shape);
    return pick(x.data, offsets(node.shape, strides, start * strides[axis]));
  },
  concat: (inputs, { axis }, node) => {
    const strides = stridesOf(node.shape);
    const result = new Float64Array(node.size);
    let start = 0;
    for (const { data, shape } of inputs) {
      offsets(shape, strides, start * strides[axis]).forEach((to, i) => {
        result[to] = data[i];
      });
      start += shape[axis];
    }
    return result;
  },
  pad: ([x], { before }, node) => {
    const strides = stridesOf(node.shape);
    const start = before.reduce((sum, n, i) => sum + n * strides[i], 0);
    const result = new Float64Array(node.size);
    offsets(x.shape, strides, start).forEach((to, i) => {
      result[to] = x.data[i];
    });
    return result;
  },
  flip: ([x], { axis }) => {
    const strides = stridesOf(x.shape);
    const last = (x.shape[axis] - 1) * strides[axis];
    return pick(
      x.data,
      offsets(
        x.shape,
        strides.map((stride, i) => (i === axis ? -stride : stride)),
        last,
      ),
    );
  },

  matmul: ([a, b], { transposeA, transposeB, scale }, node) => {
    const [m, n] = node.shape.slice(-2);
    const k = a.shape[a.shape.length - (transposeA ? 2 : 1)];
    const batch = node.shape.slice(0, -2);
    const fromA = broadcastOffsets(batch, a.shape.slice(0, -2));
    const fromB = broadcastOffsets(batch, b.shape.slice(0, -2));
    const result = new Float64Array(node.size);
    for (let item = 0; item < fromA.length; item++) {
      const [x, y] = [fromA[item] * m * k, fromB[item] * k * n];
      for (let i = 0; i < m; i++) {
        for (let j = 0; j < n; j++) {
          let sum = 0;
          for (let l = 0; l < k; l++) {
            sum += a.data[x + (transposeA ? l * m + i : i * k + l)] * b.data[y + (transposeB ? j * k + l : l * n + j)];
          }
          result[(item * m + i) * n + j] = scale * sum;
        }
      }
    }
    return result;
  },

  quantizeRows: ([x, scale]) =>
    x.data.map((value, i) => Math.max(-128, Math.min(127, Math.round(value / scale.data[Math.floor(i / x.shape[1])])))),
  int8Matmul: ([x, values, scale], { backward }, node) => {
    const [rows, columns] = node.shape;
    const [out, width] = values.shape;
    const inner = backward ? out : width;
    const result = new Float64Array(node.size);
    for (let i = 0; i < rows; i++) {
      const row = Float64Array.from(
        { length: inner },
        (_, k) => x.data[i * inner + k] * (backward ? scale.data[k] : 1),
      );
      const unit = Math.max(1e-30, ...row.map(Math.abs)) / 127;
      for (let j = 0; j < columns; j++) {
        let sum = 0;
        for (let k = 0; k < inner; k++) {
          sum += Math.round(row[k] / unit) * values.data[backward ? k * width + j : j * width + k];
        }
        result[i * columns + j] = sum * unit * (backward ? 1 : scale.data[j]);
      }
    }
    return result;
  },

  nf4Matmul: ([x, ...parts], { shape, backward }, node) => {
    const weight = nf4Values(parts, shape);
    const [rows, columns] = node.shape;
    const inner = x.shape[1];
    const result = new Float64Array(node.size);
    for (let i = 0; i < rows; i++) {
      for (let j = 0; j < columns; j++) {
        let sum = 0;
        for (let k = 0; k < inner; k++) {
          sum += x.data[i * inner + k] * weight[backward ? k * columns + j : j * inner + k];
        }
        result[i * columns + j] = sum;
      }
    }
    return result;
  },
  nf4Dequantize: (parts, { shape }) => nf4Values(parts, shape),

  conv: ([x, w], attributes, node) => {
    const result = new Float64Array(node.size);
    forEachTap(attributes, x.shape, w.shape, node.shape, (i, k, o) => {
      result[o] += x.data[i] * w.data[k];
    });
    return result;
  },
  convInputGradient: ([g, w], attributes, node) => {
    const result = new Float64Array(node.size);
    forEachTap(attributes, node.shape, w.shape, g.shape, (i, k, o) => {
      result[i] += g.data[o] * w.data[k];
    });
    return result;
  },
  convWeightGradient: ([x, g], attributes, node) => {
    const result = new Float64Array(node.size);
    forEachTap(attributes, x.shape, node.shape, g.shape, (i, k, o) => {
      result[k] += x.data[i] * g.data[o];
    });
    return result;
  },
  argMaxPool: ([x], { kernel, stride, padding }, node) => {
    const size = x.shape.slice(2);
    const out = node.shape.slice(2);
    return Float64Array.from({ length: node.size }, (_, flat) => {
      const image = Math.floor(flat / sizeOf(out)) * sizeOf(size);
      const place = indexOf(flat % sizeOf(out), out);
      let best = -1;
      for (let tap = 0; tap < sizeOf(kernel); tap++) {
        const source = indexOf(tap, kernel).map((k, i) => place[i] * stride[i] - padding[i] + k);
        if (source.some((p, i) => p < 0 || p >= size[i])) continue;
        const at = source.reduce((sum, p, i) => sum * size[i] + p, 0);
        if (best < 0 || x.data[image + at] > x.data[image + best]) best = at;
      }
      return best;
    });
  },

  gather: ([x, indices], { axis }, node) => {
    const strides = stridesOf(x.shape);
    const rank = indices.shape.length;
    const moves = node.shape.map((_, i) => (i < axis ? strides[i] : i < axis + rank ? 0 : strides[i - rank + 1]));
    const which = offsets(
      node.shape,
      node.shape.map((_, i) => {
        return i < axis || i >= axis + rank ? 0 : stridesOf(indices.shape)[i - axis];
      }),
    );
    return Float64Array.from(offsets(node.shape, moves), (at, i) => {
      return x.data[at + indices.data[which[i]] * strides[axis]];
    });
  },
  scatterAdd: scattering((a, b) => a + b),
  scatter: scattering((_, b) => b),
  takeAlongAxis: ([x, indices], { axis }) => pick(x.data, alongAxis(x, indices, axis)),
  scatterAddAlongAxis: ([x, indices, updates], { axis }) => {
    const result = x.data.slice();
    alongAxis({ shape: x.shape, data: x.data }, indices, axis).forEach((to, i) => {
      result[to] += updates.data[i];
    });
    return result;
  },
  argTopK: ([x], { axis, k, largest }, node) => {
    const { starts, length, stride } = lines(x, axis);
    const result = new Float64Array(node.size);
    const to = offsets(
      node.shape.map((n, i) => (i === axis ? 1 : n)),
      stridesOf(node.shape),
    );
    starts.forEach((start, line) => {
      const order = Array.from({ length }, (_, i) => i);
      const value = (i: number) => x.data[start + i * stride] * (largest ? -1 : 1);
      order.sort((a, b) => value(a) - value(b) || a - b);
      for (let i = 0; i < k; i++) result[to[line] + i * stridesOf(node.shape)[axis]] = order[i];
    });
    return result;
  },

  softmax: ([x]) => byRow(x, softmaxRow),
  crossEntropy: ([logits, labels]) => {
    const width = logits.shape[1];
    return labels.data.map((label, i) => {
      if (label < 0) return 0;
      return -Math.log(softmaxRow(logits.data.subarray(i * width, (i + 1) * width))[label]);
    });
  },
  crossEntropyGradient: ([logits, labels, g]) =>
    byRow(logits, (row, i) => {
      const label = labels.data[i];
      return softmaxRow(row).map((p, j) => (label < 0 ? 0 : (p - Number(j === label)) * g.data[i]));
    }),
  rmsNorm: ([x, weight], { epsilon }) =>
    byRow(x, (row) => {
      const scale = 1 / Math.sqrt(mean(row.map((v) => v * v)) + epsilon);
      return row.map((v, j) => v * scale * weight.data[j]);
    }),
  layerNorm: ([x, weight, bias], { epsilon }) =>
    byRow(x, (row) => {
      const center = mean(row);
      const scale = 1 / Math.sqrt(mean(row.map((v) => (v - center) ** 2)) + epsilon);
      return row.map((v, j) => (v - center) * scale * weight.data[j] + bias.data[j]);
    }),
  rotary: ([x, positions, cos, sin], { inverse }) => {
    const [, heads, length, width] = x.shape;
    const half = width / 2;
    return byRow(x, (row, i) => {
      const batch = Math.floor(i / (heads * length));
      const table = positions.data[batch * length + (i % length)] * half;
      return row.map((value, j) => {
        const k = table + (j % half);
        const turned = j < half ? -row[j + half] : row[j - half];
        return value * cos.data[k] + turned * sin.data[k] * (inverse ? -1 : 1);
      });
    });
  },

  randomBits: ([key], _, node) =>
    Float64Array.from({ length: node.size }, (_, i) => randomBits(key.data[0] >>> 0, i) >>> 8),
  custom: copy,
  after: copy,
};

/** Returns the values of an NF4 weight, row by row. */
function nf4Values([codes, absmaxCodes, absmaxScale, absmaxOffset]: readonly Value[], shape: Shape): Float64Array {
  return Float64Array.from({ length: sizeOf(shape) }, (_, i) => {
    const block = Math.floor(i / nf4Block);
    const byte = codes.data[Math.floor(i / 2)];
    const absmax =
      dynamicLevels[absmaxCodes.data[block]] * absmaxScale.data[Math.floor(block / nf4Group)] + absmaxOffset.data[0];
    return nf4Levels[i % 2 === 0 ? byte >> 4 : byte & 15] * absmax;
  });
}

function missing(kind: string, name: string): never {
  throw new Error(`The ${kind} ${name} has no value.`);
}
