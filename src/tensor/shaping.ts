import { broadcastShapes } from "./broadcast.ts";
import { operator, ShapeError, showShape } from "./operator.ts";
import { normalizeAxis, sumTo } from "./reduce.ts";
import type { Shape, Tensor } from "./tensor.ts";

export interface ShapingAttributes {
  reshape: { readonly shape: Shape };
  transpose: { readonly permutation: readonly number[] };
  broadcastTo: { readonly shape: Shape };
  slice: { readonly axis: number; readonly start: number; readonly end: number };
  concat: { readonly axis: number };
  /** Number of zeros to add before and after, per axis. */
  pad: { readonly before: readonly number[]; readonly after: readonly number[] };
  flip: { readonly axis: number };
}

const reshapeOperator = operator({
  name: "reshape",
  infer: ([x], { shape }) => ({ shape, dtype: x.dtype }),
  gradient: (g, node) => [g.reshape(node.inputs[0].shape)],
});

const transposeOperator = operator({
  name: "transpose",
  infer: ([x], { permutation }) => ({ shape: permutation.map((axis) => x.shape[axis]), dtype: x.dtype }),
  gradient: (g, { attributes: { permutation } }) => [g.transpose(permutation.map((_, i) => permutation.indexOf(i)))],
});

const broadcastToOperator = operator({
  name: "broadcastTo",
  infer: ([x], { shape }) => {
    if (showShape(broadcastShapes("broadcastTo", x.shape, shape)) !== showShape(shape)) {
      throw new ShapeError(`broadcastTo: ${showShape(x.shape)} does not broadcast to ${showShape(shape)}`);
    }
    return { shape, dtype: x.dtype };
  },
  gradient: (g, node) => [sumTo(g, node.inputs[0].shape)],
});

const sliceOperator = operator({
  name: "slice",
  infer: ([x], { axis, start, end }) => {
    if (start < 0 || end > x.shape[axis] || start >= end) {
      throw new ShapeError(`slice: ${start} to ${end} is out of range for axis ${axis} of shape ${showShape(x.shape)}`);
    }
    return { shape: x.shape.map((n, i) => (i === axis ? end - start : n)), dtype: x.dtype };
  },
  gradient: (g, node) => {
    const { axis, start, end } = node.attributes;
    const [{ shape }] = node.inputs;
    const only = (size: number) => shape.map((_, i) => (i === axis ? size : 0));
    return [pad(g, only(start), only(shape[axis] - end))];
  },
});

const padOperator = operator({
  name: "pad",
  infer: ([x], { before, after }) => {
    const isCount = (n: number) => Number.isInteger(n) && n >= 0;
    if (before.length !== x.shape.length || after.length !== x.shape.length || ![...before, ...after].every(isCount)) {
      throw new ShapeError(
        `pad: before ${showShape(before)} and after ${showShape(after)} must have a non-negative integer for each axis of ${showShape(x.shape)}`,
      );
    }
    return { shape: x.shape.map((n, i) => before[i] + n + after[i]), dtype: x.dtype };
  },
  gradient: (g, node) => {
    const { before } = node.attributes;
    return [node.inputs[0].shape.reduce((part, n, i) => slice(part, i, before[i], before[i] + n), g)];
  },
});

const flipOperator = operator({
  name: "flip",
  infer: ([x]) => ({ shape: x.shape, dtype: x.dtype }),
  gradient: (g, { attributes: { axis } }) => [flip(g, axis)],
});

const concatOperator = operator({
  name: "concat",
  infer: (inputs, { axis }) => {
    const [first] = inputs;
    for (const t of inputs) {
      const fits = t.shape.length === first.shape.length && t.shape.every((n, i) => i === axis || n === first.shape[i]);
      if (!fits || t.dtype !== first.dtype) {
        throw new ShapeError(
          `concat: cannot concatenate ${t.dtype} ${showShape(t.shape)} with ${first.dtype} ${showShape(first.shape)} along axis ${axis}`,
        );
      }
    }
    const size = inputs.reduce((total, t) => total + t.shape[axis], 0);
    return { shape: first.shape.map((n, i) => (i === axis ? size : n)), dtype: first.dtype };
  },
  gradient: (g, node) => {
    let offset = 0;
    return node.inputs.map((t) => {
      const start = offset;
      offset += t.shape[node.attributes.axis];
      return g.slice(node.attributes.axis, start, offset);
    });
  },
});

/** Changes the shape; one size may be -1 and is then inferred. */
export function reshape(x: Tensor, shape: Shape): Tensor {
  const knownSize = shape.reduce((product, n) => (n === -1 ? product : product * n), 1);
  const result = shape.map((n) => (n === -1 ? x.size / knownSize : n));
  const size = result.reduce((a, b) => a * b, 1);
  if (size !== x.size || !result.every(Number.isInteger)) {
    throw new ShapeError(
      `reshape: ${showShape(x.shape)} (${x.size} elements) cannot be reshaped to ${showShape(shape)}`,
    );
  }
  return showShape(result) === showShape(x.shape) ? x : reshapeOperator([x], { shape: result });
}

/** Permutes the axes; reverses them by default. */
export function transpose(x: Tensor, permutation?: readonly number[]): Tensor {
  const order = permutation ?? x.shape.map((_, i) => x.shape.length - 1 - i);
  if (order.length !== x.shape.length || x.shape.some((_, i) => !order.includes(i))) {
    throw new ShapeError(`transpose: [${order.join(", ")}] is not a permutation of the axes of ${showShape(x.shape)}`);
  }
  return transposeOperator([x], { permutation: order });
}

/** Repeats along axes of size 1 up to `shape`. */
export function broadcastTo(x: Tensor, shape: Shape): Tensor {
  return showShape(x.shape) === showShape(shape) ? x : broadcastToOperator([x], { shape });
}

/**
 * Returns the elements from `start` (inclusive) to `end` (exclusive) along an axis, in steps of `step`.
 * @param step integer, at least 1
 */
export function slice(x: Tensor, axis: number, start: number, end: number, step = 1): Tensor {
  const along = normalizeAxis("slice", axis, x.shape);
  if (!Number.isInteger(step) || step < 1) throw new ShapeError(`slice: step must be 1 or more, not ${step}`);
  const part = start === 0 && end === x.shape[along] ? x : sliceOperator([x], { axis: along, start, end });
  if (step === 1) return part;
  // Groups of `step` elements, of which the first is taken.
  const count = Math.ceil((end - start) / step);
  const missing = part.shape.map((n, i) => (i === along ? count * step - n : 0));
  const groups = [...part.shape.slice(0, along), count, step, ...part.shape.slice(along + 1)];
  const padded = pad(
    part,
    part.shape.map(() => 0),
    missing,
  );
  return slice(reshape(padded, groups), along + 1, 0, 1).reshape(part.shape.map((n, i) => (i === along ? count : n)));
}

/** Concatenates tensors along an axis. */
export function concat(tensors: readonly Tensor[], axis: number): Tensor {
  if (tensors.length === 0) throw new ShapeError("concat: needs at least one tensor");
  return tensors.length === 1
    ? tensors[0]
    : concatOperator(tensors, { axis: normalizeAxis("concat", axis, tensors[0].shape) });
}

/** Pads each axis with zeros before and after. */
export function pad(x: Tensor, before: readonly number[], after: readonly number[]): Tensor {
  if (x.dtype === "bool") return pad(x.cast("int32"), before, after).cast("bool");
  return [...before, ...after].every((n) => n === 0) ? x : padOperator([x], { before, after });
}

/** Reverses the order along an axis. */
export function flip(x: Tensor, axis: number): Tensor {
  return flipOperator([x], { axis: normalizeAxis("flip", axis, x.shape) });
}
