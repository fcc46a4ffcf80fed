import type { None } from "./attributes.ts";
import { inferBinary, isFloating, pair } from "./broadcast.ts";
import { full } from "./leaf.ts";
import { equal, less, where } from "./logic.ts";
import { operator, ShapeError } from "./operator.ts";
import { sumTo } from "./reduce.ts";
import type { DType, Tensor, TensorLike } from "./tensor.ts";
import { floor, log, neg } from "./unary.ts";

export interface ElementwiseAttributes {
  add: None;
  sub: None;
  mul: None;
  div: None;
  pow: None;
  /** For integers only; for floats it is composed of other operators. */
  remainder: None;
  maximum: None;
  minimum: None;
  cast: { readonly dtype: DType };
  stopGradient: None;
}

/** Like {@link inferBinary}, but rejects bools. */
function inferArithmetic(name: string) {
  const infer = inferBinary(name);
  return (inputs: readonly Tensor[]) => {
    if (inputs[0].dtype === "bool") throw new ShapeError(`${name}: bool tensors have no arithmetic; cast them first`);
    return infer(inputs);
  };
}

/** Reduces each cotangent to the shape of its operand. */
const unbroadcast = (node: Tensor, ...cotangents: readonly Tensor[]) =>
  cotangents.map((g, i) => sumTo(g, node.inputs[i].shape));

const addOperator = operator({
  name: "add",
  infer: inferArithmetic("add"),
  gradient: (g, node) => unbroadcast(node, g, g),
});
const subOperator = operator({
  name: "sub",
  infer: inferArithmetic("sub"),
  gradient: (g, node) => unbroadcast(node, g, neg(g)),
});
const mulOperator = operator({
  name: "mul",
  infer: inferArithmetic("mul"),
  gradient: (g, node) => unbroadcast(node, g.mul(node.inputs[1]), g.mul(node.inputs[0])),
});
const divOperator = operator({
  name: "div",
  infer: inferArithmetic("div"),
  gradient: (g, node) => {
    const [, b] = node.inputs;
    return unbroadcast(node, g.div(b), g.mul(node).div(b).neg());
  },
});
const powOperator = operator({
  name: "pow",
  infer: inferArithmetic("pow"),
  // At a = 0 the logarithm is undefined; the gradient of b is 0 there, as in PyTorch.
  gradient: (g, node) => {
    const [a, b] = node.inputs;
    const zero = equal(a, 0);
    const slope = where(zero, 0, node.mul(log(where(zero, 1, a))));
    return unbroadcast(node, g.mul(b).mul(pow(a, b.sub(1))), g.mul(slope));
  },
});
const remainderOperator = operator({ name: "remainder", infer: inferArithmetic("remainder") });
const maximumOperator = operator({
  name: "maximum",
  infer: inferArithmetic("maximum"),
  // Ties divide the gradient equally, as in PyTorch.
  gradient: (g, node) => {
    const [a, b] = node.inputs;
    const share = where(equal(a, b), half(a), 1);
    const wins = where(less(a, b), zero(a), share);
    const loses = where(less(b, a), zero(a), share);
    return unbroadcast(node, g.mul(wins), g.mul(loses));
  },
});
const minimumOperator = operator({
  name: "minimum",
  infer: inferArithmetic("minimum"),
  gradient: (g, node) => {
    const [a, b] = node.inputs;
    const share = where(equal(a, b), half(a), 1);
    return unbroadcast(node, g.mul(where(less(b, a), zero(a), share)), g.mul(where(less(a, b), zero(a), share)));
  },
});

const half = (like: Tensor) => full([], 0.5, like.dtype);
const zero = (like: Tensor) => full([], 0, like.dtype);

const castOperator = operator({
  name: "cast",
  infer: ([x], { dtype }) => ({ shape: x.shape, dtype }),
  gradient: (g, node) => [isFloating(node.inputs[0].dtype) ? cast(g, node.inputs[0].dtype) : undefined],
});

const stopGradientOperator = operator({
  name: "stopGradient",
  infer: ([x]) => ({ shape: x.shape, dtype: x.dtype }),
  gradient: () => [undefined],
});

/** a + b */
export const add = (a: TensorLike, b: TensorLike): Tensor => addOperator(pair(a, b), {});
/** a - b */
export const sub = (a: TensorLike, b: TensorLike): Tensor => subOperator(pair(a, b), {});
/** a * b */
export const mul = (a: TensorLike, b: TensorLike): Tensor => mulOperator(pair(a, b), {});
/** a / b; integers are truncated towards zero. */
export const div = (a: TensorLike, b: TensorLike): Tensor => divOperator(pair(a, b), {});
/** a^b. NaN for negative a and fractional b. */
export const pow = (a: TensorLike, b: TensorLike): Tensor => powOperator(pair(a, b), {});
/** Elementwise maximum. */
export const maximum = (a: TensorLike, b: TensorLike): Tensor => maximumOperator(pair(a, b), {});
/** Elementwise minimum. */
export const minimum = (a: TensorLike, b: TensorLike): Tensor => minimumOperator(pair(a, b), {});
/** Limits x to [low, high]. */
export const clamp = (x: Tensor, low: TensorLike, high: TensorLike): Tensor => minimum(maximum(x, low), high);
/** Remainder of a / b, with the sign of b (Python's %). */
export function remainder(a: TensorLike, b: TensorLike): Tensor {
  const [x, y] = pair(a, b);
  return isFloating(x.dtype) ? x.sub(floor(x.div(y)).mul(y)) : remainderOperator([x, y], {});
}
/** Casts to another dtype. */
export const cast = (x: Tensor, dtype: DType): Tensor => (x.dtype === dtype ? x : castOperator([x], { dtype }));
/** Returns the same value, but blocks its gradient. */
export const stopGradient = (x: Tensor): Tensor => stopGradientOperator([x], {});
