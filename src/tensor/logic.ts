import type { None } from "./attributes.ts";
import { broadcastShapes, inferBinary, pair } from "./broadcast.ts";
import { operator, ShapeError } from "./operator.ts";
import { sumTo } from "./reduce.ts";
import type { Tensor, TensorLike } from "./tensor.ts";
import { abs } from "./unary.ts";

export interface LogicAttributes {
  equal: None;
  less: None;
  lessEqual: None;
  and: None;
  or: None;
  not: None;
  isNan: None;
  where: None;
}

function inferLogical(name: string) {
  const infer = inferBinary(name, "bool");
  return (inputs: readonly Tensor[]) => {
    for (const { dtype } of inputs) {
      if (dtype !== "bool") throw new ShapeError(`${name}: expected bool, not ${dtype}; compare first`);
    }
    return infer(inputs);
  };
}

const equalOperator = operator({ name: "equal", infer: inferBinary("equal", "bool") });
const lessOperator = operator({ name: "less", infer: inferBinary("less", "bool") });
const lessEqualOperator = operator({ name: "lessEqual", infer: inferBinary("lessEqual", "bool") });
const andOperator = operator({ name: "and", infer: inferLogical("and") });
const orOperator = operator({ name: "or", infer: inferLogical("or") });
const notOperator = operator({
  name: "not",
  infer: ([x]) => {
    if (x.dtype !== "bool") throw new ShapeError(`not: expected bool, not ${x.dtype}; compare first`);
    return { shape: x.shape, dtype: x.dtype };
  },
});
const isNanOperator = operator({ name: "isNan", infer: ([x]) => ({ shape: x.shape, dtype: "bool" }) });

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

/** Elementwise a = b, as bool. */
export const equal = (a: TensorLike, b: TensorLike): Tensor => equalOperator(pair(a, b), {});
/** Elementwise a != b, as bool. */
export const notEqual = (a: TensorLike, b: TensorLike): Tensor => not(equal(a, b));
/** Elementwise a < b, as bool. */
export const less = (a: TensorLike, b: TensorLike): Tensor => lessOperator(pair(a, b), {});
/** Elementwise a <= b, as bool. */
export const lessEqual = (a: TensorLike, b: TensorLike): Tensor => lessEqualOperator(pair(a, b), {});
/** Elementwise a > b, as bool. */
export const greater = (a: TensorLike, b: TensorLike): Tensor => less(b, a);
/** Elementwise a >= b, as bool. */
export const greaterEqual = (a: TensorLike, b: TensorLike): Tensor => lessEqual(b, a);
/** Logical and of two bool tensors. */
export const and = (a: Tensor, b: Tensor): Tensor => andOperator([a, b], {});
/** Logical or of two bool tensors. */
export const or = (a: Tensor, b: Tensor): Tensor => orOperator([a, b], {});
/** Exclusive or of two bool tensors. */
export const xor = (a: Tensor, b: Tensor): Tensor => and(or(a, b), not(and(a, b)));
/** Logical not of a bool tensor. */
export const not = (x: Tensor): Tensor => notOperator([x], {});
/** Whether each element is NaN. */
export const isNan = (x: Tensor): Tensor => isNanOperator([x], {});
/** Whether each element is positive or negative infinity. */
export const isInfinite = (x: Tensor): Tensor => equal(abs(x), Number.POSITIVE_INFINITY);

/** Elements of a where the condition is true, else of b. */
export function where(condition: Tensor, a: TensorLike, b: TensorLike): Tensor {
  const [x, y] = pair(a, b);
  if (x.dtype === "bool" && y.dtype === "bool") return or(and(condition, x), and(not(condition), y));
  return whereOperator([condition, x, y], {});
}
