export type { Attributes } from "./attributes.ts";
export { isFloating } from "./broadcast.ts";
export {
  avgPool1d,
  avgPool2d,
  type ConvolutionOptions,
  conv1d,
  conv2d,
  convTranspose2d,
  maxPool1d,
  maxPool2d,
  type PoolOptions,
  type Spatial,
} from "./convolution.ts";
export { after, type CustomFunction, checkpoint, customGradient } from "./custom.ts";
export * from "./einsum.ts";
export * from "./elementwise.ts";
export { cotangentsOf, grad, topological, valueAndGrad, vjp } from "./grad.ts";
export * from "./half.ts";
export * from "./indexing.ts";
export {
  arange,
  eye,
  full,
  hostArray,
  input,
  linspace,
  ones,
  tensor,
  typedArray,
  variable,
  zeros,
} from "./leaf.ts";
export * from "./logic.ts";
export * from "./matmul.ts";
export * from "./neural.ts";
export { dynamicLevels, nf4Block, nf4Group, nf4Levels } from "./nf4.ts";
export {
  dropout,
  randomBernoulli,
  randomInteger,
  randomNormal,
  randomUniform,
  type Seed,
} from "./noise.ts";
export { type Operator, type OperatorName, ShapeError, showShape } from "./operator.ts";
export { type Initializer, Parameter, type ParameterOptions, parameter } from "./parameter.ts";
export {
  dequantize,
  type Int8Weight,
  type Nf4Weight,
  type QuantizedWeight,
  quantize,
  quantizedMatmul,
  switchback,
} from "./quantized.ts";
export * from "./random.ts";
export { activeRecording, assign, type ProgramRun, type Recording, readCondition, record } from "./recording.ts";
export * from "./reduce.ts";
export * from "./shaping.ts";
export {
  type DType,
  type HostValue,
  type NestedArray,
  type Shape,
  setEvaluator,
  Tensor,
  type TensorData,
  type TensorLike,
} from "./tensor.ts";
export * from "./unary.ts";
export * from "./views.ts";
