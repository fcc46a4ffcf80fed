import { equal, where } from "./elementwise.ts";
import { operator, ShapeError, showShape } from "./operator.ts";
import type { Shape, Tensor } from "./tensor.ts";

export interface ReduceAttributes {
  sum: { readonly axes: readonly number[]; readonly keepDims: boolean };
  max: { readonly axes: readonly number[]; readonly keepDims: boolean };
  argmax: { readonly axis: number };
}

/** Axis counted from the end when negative, checked against the rank. */
export function normalizeAxis(name: string, axis: number, shape: Shape): number {
  const result = axis < 0 ? axis + shape.length : axis;
  if (!Number.isInteger(axis) || result < 0 || result >= shape.length) {
    throw new ShapeError(`${name}: axis ${axis} is out of range for shape ${showShape(shape)}`);
  }
  return result;
}

function reducedShape(shape: Shape, axes: readonly number[], keepDims: boolean): Shape {
  return keepDims ? shape.map((n, i) => (axes.includes(i) ? 1 : n)) : shape.filter((_, i) => !axes.includes(i));
}

const inferReduction = (
  [x]: readonly Tensor[],
  { axes, keepDims }: { axes: readonly number[]; keepDims: boolean },
) => ({ shape: reducedShape(x.shape, axes, keepDims), dtype: x.dtype });

/** Put the reduced axes back with size 1. */
const restoreAxes = (t: Tensor, node: Tensor<"sum" | "max">) =>
  node.attributes.keepDims ? t : t.reshape(reducedShape(node.inputs[0].shape, node.attributes.axes, true));

const sumOperator = operator({
  name: "sum",
  infer: inferReduction,
  gradient: (g, node) => [restoreAxes(g, node).broadcastTo(node.inputs[0].shape)],
});

const maxOperator = operator({
  name: "max",
  infer: inferReduction,
  gradient: (g, node) => {
    const [x] = node.inputs;
    const hit = where(equal(x, restoreAxes(node, node)), 1, 0);
    return [hit.div(hit.sum(node.attributes.axes, true)).mul(restoreAxes(g, node))];
  },
});

const argmaxOperator = operator({
  name: "argmax",
  infer: ([x], { axis }) => ({ shape: reducedShape(x.shape, [axis], false), dtype: "int32" }),
});

const allAxes = (name: string, x: Tensor, axes?: readonly number[]) =>
  (axes ?? x.shape.map((_, i) => i)).map((axis) => normalizeAxis(name, axis, x.shape));

/** Sum over `axes` (all when left out). */
export function sum(x: Tensor, axes?: readonly number[], keepDims = false): Tensor {
  const over = allAxes("sum", x, axes);
  return over.length === 0 ? x : sumOperator([x], { axes: over, keepDims });
}

/** Largest value over `axes` (all when left out). */
export function max(x: Tensor, axes?: readonly number[], keepDims = false): Tensor {
  const over = allAxes("max", x, axes);
  return over.length === 0 ? x : maxOperator([x], { axes: over, keepDims });
}

/** Mean over `axes` (all when left out). */
export function mean(x: Tensor, axes?: readonly number[], keepDims = false): Tensor {
  const count = allAxes("mean", x, axes).reduce((product, axis) => product * x.shape[axis], 1);
  return sum(x, axes, keepDims).mul(1 / count);
}

/** Index (int32) of the first largest value along one axis, which is removed. */
export function argmax(x: Tensor, axis = -1): Tensor {
  return argmaxOperator([x], { axis: normalizeAxis("argmax", axis, x.shape) });
}

/** Sum `x` down to `shape`, which must broadcast to x's: the gradient of a broadcast. */
export function sumTo(x: Tensor, shape: Shape): Tensor {
  const lead = x.shape.length - shape.length;
  const axes = x.shape.flatMap((n, i) => (i < lead || (shape[i - lead] === 1 && n !== 1) ? [i] : []));
  return axes.length === 0 ? x : sum(x, axes, true).reshape(shape);
}
