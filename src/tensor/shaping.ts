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
  /** Zeros put before and after, on each axis. */
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
      throw new ShapeError(`slice: ${start} to ${end} is outside of axis ${axis} of shape ${showShape(x.shape)}`);
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
    const whole = (n: number) => Number.isInteger(n) && n >= 0;
    if (before.length !== x.shape.length || after.length !== x.shape.length || ![...before, ...after].every(whole)) {
      throw new ShapeError(
        `pad: before ${showShape(before)} and after ${showShape(after)} must give a whole number of 0 or more for each axis of ${showShape(x.shape)}`,
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
          `concat: ${t.dtype} ${showShape(t.shape)} does not join ${first.dtype} ${showShape(first.shape)} along axis ${axis}`,
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

/** Same elements under another shape; one size may be -1 and is then worked out. */
export function reshape(x: Tensor, shape: Shape): Tensor {
  const known = shape.reduce((product, n) => (n === -1 ? product : product * n), 1);
  const result = shape.map((n) => (n === -1 ? x.size / known : n));
  const size = result.reduce((a, b) => a * b, 1);
  if (size !== x.size || !result.every(Number.isInteger)) {
    throw new ShapeError(`reshape: ${showShape(x.shape)} (${x.size} elements) does not fit ${showShape(shape)}`);
  }
  return showShape(result) === showShape(x.shape) ? x : reshapeOperator([x], { shape: result });
}

/** Reorder axes; reverses them all when no permutation is given. */
export function transpose(x: Tensor, permutation?: readonly number[]): Tensor {
  const order = permutation ?? x.shape.map((_, i) => x.shape.length - 1 - i);
  if (order.length !== x.shape.length || x.shape.some((_, i) => !order.includes(i))) {
    throw new ShapeError(`transpose: [${order.join(", ")}] is no permutation of the axes of ${showShape(x.shape)}`);
  }
  return transposeOperator([x], { permutation: order });
}

/** Repeat along axes of size 1 up to `shape`. */
export function broadcastTo(x: Tensor, shape: Shape): Tensor {
  return showShape(x.shape) === showShape(shape) ? x : broadcastToOperator([x], { shape });
}

/**
 * The part from `start` (inclusive) to `end` (exclusive) of one axis, every `step`-th of it.
 * @param step whole number of 1 or more
 */
export function slice(x: Tensor, axis: number, start: number, end: number, step = 1): Tensor {
  const along = normalizeAxis("slice", axis, x.shape);
  if (!Number.isInteger(step) || step < 1) throw new ShapeError(`slice: step must be 1 or more, not ${step}`);
  const part = start === 0 && end === x.shape[along] ? x : sliceOperator([x], { axis: along, start, end });
  if (step === 1) return part;
  // Every step-th is the first of each group of `step`.
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

/** Join tensors along one axis. */
export function concat(tensors: readonly Tensor[], axis: number): Tensor {
  if (tensors.length === 0) throw new ShapeError("concat: nothing to join");
  return tensors.length === 1
    ? tensors[0]
    : concatOperator(tensors, { axis: normalizeAxis("concat", axis, tensors[0].shape) });
}

/** `x` with so many zeros before and after it on each axis. */
export function pad(x: Tensor, before: readonly number[], after: readonly number[]): Tensor {
  if (x.dtype === "bool") return pad(x.cast("int32"), before, after).cast("bool");
  return [...before, ...after].every((n) => n === 0) ? x : padOperator([x], { before, after });
}

/** The order of one axis turned round. */
export function flip(x: Tensor, axis: number): Tensor {
  return flipOperator([x], { axis: normalizeAxis("flip", axis, x.shape) });
}
