import type { None } from "./attributes.ts";
import { full, tensor } from "./leaf.ts";
import { operator, ShapeError, showShape } from "./operator.ts";
import { sumTo } from "./reduce.ts";
import type { DType, Shape, Tensor, TensorLike } from "./tensor.ts";

export interface ElementwiseAttributes {
  add: None;
  sub: None;
  mul: None;
  div: None;
  maximum: None;
  minimum: None;
  neg: None;
  exp: None;
  log: None;
  sqrt: None;
  sigmoid: None;
  tanh: None;
  relu: None;
  equal: None;
  less: None;
  lessEqual: None;
  and: None;
  not: None;
  where: None;
  cast: { readonly dtype: DType };
  stopGradient: None;
}

/** The shape two operands broadcast to (NumPy's rule). */
export function broadcastShapes(name: string, a: Shape, b: Shape): Shape {
  const rank = Math.max(a.length, b.length);
  const result: number[] = [];
  for (let i = 0; i < rank; i++) {
    const x = a[a.length - rank + i] ?? 1;
    const y = b[b.length - rank + i] ?? 1;
    if (x !== y && x !== 1 && y !== 1) {
      throw new ShapeError(`${name}: shapes ${showShape(a)} and ${showShape(b)} do not broadcast`);
    }
    result.push(x === 1 ? y : x);
  }
  return result;
}

function inferBinary(name: string, result?: DType) {
  return ([a, b]: readonly Tensor[]) => {
    if (a.dtype !== b.dtype) throw new ShapeError(`${name}: dtypes ${a.dtype} and ${b.dtype} differ; cast one of them`);
    return { shape: broadcastShapes(name, a.shape, b.shape), dtype: result ?? a.dtype };
  };
}

const inferUnary = ([x]: readonly Tensor[]) => ({ shape: x.shape, dtype: x.dtype });

/** Sum each cotangent down to the shape of its operand, undoing the broadcast. */
const unbroadcast = (node: Tensor, ...cotangents: readonly Tensor[]) =>
  cotangents.map((g, i) => sumTo(g, node.inputs[i].shape));

const addOperator = operator({
  name: "add",
  infer: inferBinary("add"),
  gradient: (g, node) => unbroadcast(node, g, g),
});
const subOperator = operator({
  name: "sub",
  infer: inferBinary("sub"),
  gradient: (g, node) => unbroadcast(node, g, neg(g)),
});
const mulOperator = operator({
  name: "mul",
  infer: inferBinary("mul"),
  gradient: (g, node) => unbroadcast(node, g.mul(node.inputs[1]), g.mul(node.inputs[0])),
});
const divOperator = operator({
  name: "div",
  infer: inferBinary("div"),
  gradient: (g, node) => {
    const [, b] = node.inputs;
    return unbroadcast(node, g.div(b), g.mul(node).div(b).neg());
  },
});
const maximumOperator = operator({
  name: "maximum",
  infer: inferBinary("maximum"),
  // At a tie each side takes half, as PyTorch does.
  gradient: (g, node) => {
    const [a, b] = node.inputs;
    const share = where(equal(a, b), 0.5, 1);
    const wins = where(less(a, b), 0, 1).mul(share);
    const loses = where(less(b, a), 0, 1).mul(share);
    return unbroadcast(node, g.mul(wins), g.mul(loses));
  },
});
const minimumOperator = operator({
  name: "minimum",
  infer: inferBinary("minimum"),
  gradient: (g, node) => {
    const [a, b] = node.inputs;
    const share = where(equal(a, b), 0.5, 1);
    return unbroadcast(node, g.mul(where(less(b, a), 0, 1).mul(share)), g.mul(where(less(a, b), 0, 1).mul(share)));
  },
});

const negOperator = operator({ name: "neg", infer: inferUnary, gradient: (g) => [neg(g)] });
const expOperator = operator({ name: "exp", infer: inferUnary, gradient: (g, node) => [g.mul(node)] });
const logOperator = operator({ name: "log", infer: inferUnary, gradient: (g, node) => [g.div(node.inputs[0])] });
const sqrtOperator = operator({ name: "sqrt", infer: inferUnary, gradient: (g, node) => [g.div(node).mul(0.5)] });
const sigmoidOperator = operator({
  name: "sigmoid",
  infer: inferUnary,
  gradient: (g, node) => [g.mul(node).mul(sub(1, node))],
});
const tanhOperator = operator({
  name: "tanh",
  infer: inferUnary,
  gradient: (g, node) => [g.mul(sub(1, node.mul(node)))],
});
const reluOperator = operator({
  name: "relu",
  infer: inferUnary,
  gradient: (g, node) => [where(less(tensor(0), node.inputs[0]), g, 0)],
});

const equalOperator = operator({ name: "equal", infer: inferBinary("equal", "bool") });
const lessOperator = operator({ name: "less", infer: inferBinary("less", "bool") });
const lessEqualOperator = operator({ name: "lessEqual", infer: inferBinary("lessEqual", "bool") });
const andOperator = operator({ name: "and", infer: inferBinary("and", "bool") });
const notOperator = operator({ name: "not", infer: inferUnary });

const whereOperator = operator({
  name: "where",
  infer: ([condition, a, b]) => {
    if (condition.dtype !== "bool") throw new ShapeError(`where: the condition must be bool, not ${condition.dtype}`);
    if (a.dtype !== b.dtype) throw new ShapeError(`where: dtypes ${a.dtype} and ${b.dtype} differ; cast one of them`);
    const shape = broadcastShapes("where", condition.shape, broadcastShapes("where", a.shape, b.shape));
    return { shape, dtype: a.dtype };
  },
  gradient: (g, node) => {
    const [condition, a, b] = node.inputs;
    return [undefined, sumTo(where(condition, g, 0), a.shape), sumTo(where(condition, 0, g), b.shape)];
  },
});

const castOperator = operator({
  name: "cast",
  infer: ([x], { dtype }) => ({ shape: x.shape, dtype }),
  gradient: (g, node) => [node.dtype === "float32" && node.inputs[0].dtype === "float32" ? g : undefined],
});

const stopGradientOperator = operator({ name: "stopGradient", infer: inferUnary, gradient: () => [undefined] });

/** A number becomes a scalar of the dtype of what it meets. */
function pair(a: TensorLike, b: TensorLike): readonly [Tensor, Tensor] {
  const dtype = typeof a !== "number" ? a.dtype : typeof b !== "number" ? b.dtype : "float32";
  const lift = (x: TensorLike) => (typeof x === "number" ? full([], x, dtype) : x);
  return [lift(a), lift(b)];
}

/** a + b */
export const add = (a: TensorLike, b: TensorLike): Tensor => addOperator(pair(a, b), {});
/** a - b */
export const sub = (a: TensorLike, b: TensorLike): Tensor => subOperator(pair(a, b), {});
/** a * b */
export const mul = (a: TensorLike, b: TensorLike): Tensor => mulOperator(pair(a, b), {});
/** a / b */
export const div = (a: TensorLike, b: TensorLike): Tensor => divOperator(pair(a, b), {});
/** The larger of each pair of elements. */
export const maximum = (a: TensorLike, b: TensorLike): Tensor => maximumOperator(pair(a, b), {});
/** The smaller of each pair of elements. */
export const minimum = (a: TensorLike, b: TensorLike): Tensor => minimumOperator(pair(a, b), {});
/** -x */
export const neg = (x: Tensor): Tensor => negOperator([x], {});
/** e to the power x */
export const exp = (x: Tensor): Tensor => expOperator([x], {});
/** Natural logarithm. */
export const log = (x: Tensor): Tensor => logOperator([x], {});
/** Square root. */
export const sqrt = (x: Tensor): Tensor => sqrtOperator([x], {});
/** 1 / (1 + e^-x) */
export const sigmoid = (x: Tensor): Tensor => sigmoidOperator([x], {});
/** Hyperbolic tangent. */
export const tanh = (x: Tensor): Tensor => tanhOperator([x], {});
/** max(x, 0) */
export const relu = (x: Tensor): Tensor => reluOperator([x], {});
/** Where a = b, as bool. */
export const equal = (a: TensorLike, b: TensorLike): Tensor => equalOperator(pair(a, b), {});
/** Where a < b, as bool. */
export const less = (a: TensorLike, b: TensorLike): Tensor => lessOperator(pair(a, b), {});
/** Where a <= b, as bool. */
export const lessEqual = (a: TensorLike, b: TensorLike): Tensor => lessEqualOperator(pair(a, b), {});
/** Logical and of two bools. */
export const and = (a: Tensor, b: Tensor): Tensor => andOperator([a, b], {});
/** Logical not of a bool. */
export const not = (x: Tensor): Tensor => notOperator([x], {});
/** Elements of a where the condition holds, else of b. */
export const where = (condition: Tensor, a: TensorLike, b: TensorLike): Tensor =>
  whereOperator([condition, ...pair(a, b)], {});
/** Convert to another dtype. */
export const cast = (x: Tensor, dtype: DType): Tensor => (x.dtype === dtype ? x : castOperator([x], { dtype }));
/** The same value, through which no gradient flows. */
export const stopGradient = (x: Tensor): Tensor => stopGradientOperator([x], {});
