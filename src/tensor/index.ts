export type { Attributes } from "./attributes.ts";
export * from "./elementwise.ts";
export * from "./grad.ts";
export * from "./indexing.ts";
export * from "./leaf.ts";
export * from "./matmul.ts";
export * from "./neural.ts";
export { type Operator, type OperatorName, ShapeError, showShape } from "./operator.ts";
export * from "./random.ts";
export * from "./reduce.ts";
export * from "./shaping.ts";
export {
  type DType,
  type HostValue,
  type Shape,
  setEvaluator,
  Tensor,
  type TensorData,
  type TensorLike,
} from "./tensor.ts";
