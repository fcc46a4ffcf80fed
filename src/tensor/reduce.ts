import { isFloating } from "./broadcast.ts";
import { operator, ShapeError, showShape } from "./operator.ts";
import { concat } from "./shaping.ts";
import type { Shape, Tensor } from "./tensor.ts";
import { exp, log, sqrt, square } from "./unary.ts";

interface Reduction {
  readonly axes: readonly number[];
  readonly keepDims: boolean;
}

export interface ReduceAttributes {
  sum: Reduction;
  max: Reduction;
  min: Reduction;
  argmax: { readonly axis: number };
  argmin: { readonly axis: number };
  cumsum: { readonly axis: number; readonly reverse: boolean };
}

/** Resolves a negative axis, and checks it against the rank. */
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

const inferReduction =
  (name: string) =>
  ([x]: readonly Tensor[], { axes, keepDims }: Reduction) => {
    if (x.dtype === "bool")
      throw new ShapeError(`${name}: bool tensors have no arithmetic; use any() or all(), or cast first`);
    return { shape: reducedShape(x.shape, axes, keepDims), dtype: x.dtype };
  };

/** Restores the reduced axes with size 1. */
const restoreAxes = (t: Tensor, node: Tensor<"sum" | "max" | "min">) =>
  node.attributes.keepDims ? t : t.reshape(reducedShape(node.inputs[0].shape, node.attributes.axes, true));

/** Divides the cotangent equally among the selected elements. */
const divideAmongSelected = (g: Tensor, node: Tensor<"max" | "min">): readonly Tensor[] => {
  const [x] = node.inputs;
  const hit = x.equal(restoreAxes(node, node)).cast(x.dtype);
  return [hit.div(hit.sum(node.attributes.axes, true)).mul(restoreAxes(g, node))];
};

const sumOperator = operator({
  name: "sum",
  infer: inferReduction("sum"),
  gradient: (g, node) => [restoreAxes(g, node).broadcastTo(node.inputs[0].shape)],
});
const maxOperator = operator({ name: "max", infer: inferReduction("max"), gradient: divideAmongSelected });
const minOperator = operator({ name: "min", infer: inferReduction("min"), gradient: divideAmongSelected });

const inferIndex = ([x]: readonly Tensor[], { axis }: { readonly axis: number }) => ({
  shape: reducedShape(x.shape, [axis], false),
  dtype: "int32" as const,
});
const argmaxOperator = operator({ name: "argmax", infer: inferIndex });
const argminOperator = operator({ name: "argmin", infer: inferIndex });

const cumsumOperator: (inputs: readonly Tensor[], attributes: ReduceAttributes["cumsum"]) => Tensor = operator({
  name: "cumsum",
  infer: ([x]) => ({ shape: x.shape, dtype: x.dtype }),
  gradient: (g, { attributes: { axis, reverse } }) => [cumsumOperator([g], { axis, reverse: !reverse })],
});

const allAxes = (name: string, x: Tensor, axes?: readonly number[]) =>
  (axes ?? x.shape.map((_, i) => i)).map((axis) => normalizeAxis(name, axis, x.shape));

const countOf = (name: string, x: Tensor, axes?: readonly number[]) =>
  allAxes(name, x, axes).reduce((product, axis) => product * x.shape[axis], 1);

/** Sum over `axes` (default: all). */
export function sum(x: Tensor, axes?: readonly number[], keepDims = false): Tensor {
  const over = allAxes("sum", x, axes);
  return over.length === 0 ? x : sumOperator([x], { axes: over, keepDims });
}

/** Maximum over `axes` (default: all). */
export function max(x: Tensor, axes?: readonly number[], keepDims = false): Tensor {
  const over = allAxes("max", x, axes);
  return over.length === 0 ? x : maxOperator([x], { axes: over, keepDims });
}

/** Minimum over `axes` (default: all). */
export function min(x: Tensor, axes?: readonly number[], keepDims = false): Tensor {
  const over = allAxes("min", x, axes);
  return over.length === 0 ? x : minOperator([x], { axes: over, keepDims });
}

/** Mean over `axes` (default: all). */
export function mean(x: Tensor, axes?: readonly number[], keepDims = false): Tensor {
  if (!isFloating(x.dtype)) throw new ShapeError(`mean: expected a floating dtype, not ${x.dtype}; cast first`);
  return sum(x, axes, keepDims).mul(1 / countOf("mean", x, axes));
}

/**
 * Variance over `axes` (default: all).
 * @param correction subtracted from the number of elements in the divisor: 1 (Bessel's correction, default) or 0
 */
export function variance(x: Tensor, axes?: readonly number[], keepDims = false, correction = 1): Tensor {
  const squares = square(x.sub(mean(x, axes, true)));
  return sum(squares, axes, keepDims).mul(1 / (countOf("variance", x, axes) - correction));
}

/** Standard deviation over `axes` (default: all); see {@link variance}. */
export function std(x: Tensor, axes?: readonly number[], keepDims = false, correction = 1): Tensor {
  return sqrt(variance(x, axes, keepDims, correction));
}

/** Product over `axes` (default: all), by repeated halving; the gradient is correct for zeros, too. */
export function prod(x: Tensor, axes?: readonly number[], keepDims = false): Tensor {
  const over = allAxes("prod", x, axes);
  let result = x;
  for (const axis of over) {
    for (let n = result.shape[axis]; n > 1; n = result.shape[axis]) {
      const half = Math.floor(n / 2);
      const product = result.slice(axis, 0, half).mul(result.slice(axis, half, 2 * half));
      // With an odd size, the last element is multiplied in a later round.
      result = n % 2 === 1 ? concat([product, result.slice(axis, n - 1, n)], axis) : product;
    }
  }
  return keepDims ? result : result.reshape(reducedShape(x.shape, over, false));
}

/** log(sum(e^x)) over `axes` (default: all), numerically stable. */
export function logSumExp(x: Tensor, axes?: readonly number[], keepDims = false): Tensor {
  const top = max(x, axes, true);
  const total = log(exp(x.sub(top)).sum(axes, true)).add(top);
  return keepDims ? total : total.reshape(reducedShape(x.shape, allAxes("logSumExp", x, axes), false));
}

/** Euclidean norm over `axes` (default: all). */
export function norm(x: Tensor, axes?: readonly number[], keepDims = false): Tensor {
  return sqrt(square(x).sum(axes, keepDims));
}

/** Whether any bool over `axes` is true. */
export function any(x: Tensor, axes?: readonly number[], keepDims = false): Tensor {
  return max(bools("any", x), axes, keepDims).cast("bool");
}

/** Whether all bools over `axes` are true. */
export function all(x: Tensor, axes?: readonly number[], keepDims = false): Tensor {
  return min(bools("all", x), axes, keepDims).cast("bool");
}

function bools(name: string, x: Tensor): Tensor {
  if (x.dtype !== "bool") throw new ShapeError(`${name}: expected bool, not ${x.dtype}; compare first`);
  return x.cast("int32");
}

/** Index (int32) of the first maximum along an axis, which is removed. */
export function argmax(x: Tensor, axis = -1): Tensor {
  return argmaxOperator([x], { axis: normalizeAxis("argmax", axis, x.shape) });
}

/** Index (int32) of the first minimum along an axis, which is removed. */
export function argmin(x: Tensor, axis = -1): Tensor {
  return argminOperator([x], { axis: normalizeAxis("argmin", axis, x.shape) });
}

/** Cumulative sum along an axis. */
export function cumsum(x: Tensor, axis = -1): Tensor {
  return cumsumOperator([x], { axis: normalizeAxis("cumsum", axis, x.shape), reverse: false });
}

/** Sums `x` to `shape`, which must broadcast to the shape of x: the gradient of a broadcast. */
export function sumTo(x: Tensor, shape: Shape): Tensor {
  const lead = x.shape.length - shape.length;
  const axes = x.shape.flatMap((n, i) => (i < lead || (shape[i - lead] === 1 && n !== 1) ? [i] : []));
  return axes.length === 0 ? x : sum(x, axes, true).reshape(shape);
}
