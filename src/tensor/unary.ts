import type { None } from "./attributes.ts";
import { isFloating } from "./broadcast.ts";
import { add, mul, pow, sub } from "./elementwise.ts";
import { full } from "./leaf.ts";
import { less, where } from "./logic.ts";
import { operator, ShapeError } from "./operator.ts";
import type { Tensor } from "./tensor.ts";

export interface UnaryAttributes {
  neg: None;
  abs: None;
  sign: None;
  floor: None;
  ceil: None;
  round: None;
  exp: None;
  log: None;
  sqrt: None;
  sin: None;
  cos: None;
  atan: None;
  erf: None;
  sigmoid: None;
  tanh: None;
  relu: None;
}

const inferNumeric =
  (name: string) =>
  ([x]: readonly Tensor[]) => {
    if (x.dtype === "bool") throw new ShapeError(`${name}: bool tensors have no arithmetic; cast them first`);
    return { shape: x.shape, dtype: x.dtype };
  };

const inferFloating =
  (name: string) =>
  ([x]: readonly Tensor[]) => {
    if (!isFloating(x.dtype)) throw new ShapeError(`${name}: expected a floating dtype, not ${x.dtype}; cast first`);
    return { shape: x.shape, dtype: x.dtype };
  };

const negOperator = operator({ name: "neg", infer: inferNumeric("neg"), gradient: (g) => [neg(g)] });
const absOperator = operator({
  name: "abs",
  infer: inferNumeric("abs"),
  gradient: (g, node) => [g.mul(sign(node.inputs[0]))],
});
// Step functions have gradient zero.
const signOperator = operator({ name: "sign", infer: inferNumeric("sign"), gradient: () => [undefined] });
const floorOperator = operator({ name: "floor", infer: inferFloating("floor"), gradient: () => [undefined] });
const ceilOperator = operator({ name: "ceil", infer: inferFloating("ceil"), gradient: () => [undefined] });
const roundOperator = operator({ name: "round", infer: inferFloating("round"), gradient: () => [undefined] });
const expOperator = operator({ name: "exp", infer: inferFloating("exp"), gradient: (g, node) => [g.mul(node)] });
const logOperator = operator({
  name: "log",
  infer: inferFloating("log"),
  gradient: (g, node) => [g.div(node.inputs[0])],
});
const sqrtOperator = operator({
  name: "sqrt",
  infer: inferFloating("sqrt"),
  gradient: (g, node) => [g.div(node).mul(0.5)],
});
const sinOperator = operator({
  name: "sin",
  infer: inferFloating("sin"),
  gradient: (g, node) => [g.mul(cos(node.inputs[0]))],
});
const cosOperator = operator({
  name: "cos",
  infer: inferFloating("cos"),
  gradient: (g, node) => [g.mul(sin(node.inputs[0])).neg()],
});
const atanOperator = operator({
  name: "atan",
  infer: inferFloating("atan"),
  gradient: (g, node) => [g.div(square(node.inputs[0]).add(1))],
});
const erfOperator = operator({
  name: "erf",
  infer: inferFloating("erf"),
  gradient: (g, node) => [g.mul(exp(neg(square(node.inputs[0])))).mul(2 / Math.sqrt(Math.PI))],
});
const sigmoidOperator = operator({
  name: "sigmoid",
  infer: inferFloating("sigmoid"),
  gradient: (g, node) => [g.mul(node).mul(sub(1, node))],
});
const tanhOperator = operator({
  name: "tanh",
  infer: inferFloating("tanh"),
  gradient: (g, node) => [g.mul(sub(1, node.mul(node)))],
});
const reluOperator = operator({
  name: "relu",
  infer: inferFloating("relu"),
  gradient: (g, node) => [where(less(full([], 0, node.dtype), node.inputs[0]), g, 0)],
});

/** -x */
export const neg = (x: Tensor): Tensor => negOperator([x], {});
/** |x| */
export const abs = (x: Tensor): Tensor => absOperator([x], {});
/** Sign: -1, 0 or 1 */
export const sign = (x: Tensor): Tensor => signOperator([x], {});
/** Largest integer that is at most x. */
export const floor = (x: Tensor): Tensor => floorOperator([x], {});
/** Smallest integer that is at least x. */
export const ceil = (x: Tensor): Tensor => ceilOperator([x], {});
/** Nearest integer; ties round to even. */
export const round = (x: Tensor): Tensor => roundOperator([x], {});
/** e^x */
export const exp = (x: Tensor): Tensor => expOperator([x], {});
/** Natural logarithm. */
export const log = (x: Tensor): Tensor => logOperator([x], {});
/** Square root. */
export const sqrt = (x: Tensor): Tensor => sqrtOperator([x], {});
/** Sine of x in radians. */
export const sin = (x: Tensor): Tensor => sinOperator([x], {});
/** Cosine of x in radians. */
export const cos = (x: Tensor): Tensor => cosOperator([x], {});
/** Tangent of x in radians. */
export const tan = (x: Tensor): Tensor => sin(x).div(cos(x));
/** Arc tangent, in radians. */
export const atan = (x: Tensor): Tensor => atanOperator([x], {});
/** The error function. */
export const erf = (x: Tensor): Tensor => erfOperator([x], {});
/** 1 / (1 + e^-x) */
export const sigmoid = (x: Tensor): Tensor => sigmoidOperator([x], {});
/** Hyperbolic tangent. */
export const tanh = (x: Tensor): Tensor => tanhOperator([x], {});
/** max(x, 0) */
export const relu = (x: Tensor): Tensor => reluOperator([x], {});

/** x^2 */
export const square = (x: Tensor): Tensor => mul(x, x);
/** 1 / x */
export const reciprocal = (x: Tensor): Tensor => full([], 1, x.dtype).div(x);
/** 1 / sqrt(x) */
export const rsqrt = (x: Tensor): Tensor => reciprocal(sqrt(x));
/** x sigmoid(x), also called swish. */
export const silu = (x: Tensor): Tensor => mul(x, sigmoid(x));
/** log(1 + e^x), numerically stable. */
export function softplus(x: Tensor): Tensor {
  // where instead of relu and abs: their gradient at 0 is 0, but softplus needs 1/2 there.
  const isNegative = x.less(0);
  const distance = where(isNegative, neg(x), x);
  return where(isNegative, 0, x).add(log(add(exp(neg(distance)), 1)));
}
/** x where it is positive, else slope * x; `slope` defaults to 0.01. */
export const leakyRelu = (x: Tensor, slope = 0.01): Tensor => where(x.less(0), x.mul(slope), x);
/** x where it is positive, else alpha (e^x - 1); `alpha` defaults to 1 (Clevert et al. 2015). */
export const elu = (x: Tensor, alpha = 1): Tensor =>
  where(
    x.less(0),
    exp(neg(relu(neg(x))))
      .sub(1)
      .mul(alpha),
    x,
  );

/**
 * GELU: x times the normal distribution's cumulative distribution function (Hendrycks & Gimpel 2016).
 * @param approximate "tanh" for the approximation of GPT-2
 */
export function gelu(x: Tensor, approximate: "none" | "tanh" = "none"): Tensor {
  const cdf =
    approximate === "tanh"
      ? tanh(x.add(pow(x, 3).mul(0.044715)).mul(Math.sqrt(2 / Math.PI)))
      : erf(x.mul(Math.SQRT1_2));
  return x.mul(0.5).mul(cdf.add(1));
}
