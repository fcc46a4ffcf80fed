/**
 * `anneal/nn`: modules, layers, parameter initializers and losses.
 *
 * @packageDocumentation
 */
import "../engine/index.ts";

export {
  type AttentionOptions,
  attention,
  bceWithLogitsLoss,
  CompressedWeight,
  Conv1d,
  Conv2d,
  type ConvOptions,
  type CrossEntropyOptions,
  Dropout,
  Embedding,
  fullWeight,
  huberLoss,
  init,
  type Layer,
  LayerAdapter,
  LayerNorm,
  Linear,
  l1Loss,
  linear,
  Module,
  mseLoss,
  type Precision,
  projectedCrossEntropy,
  RMSNorm,
  Sequential,
  type Weight,
} from "../nn/index.ts";
export {
  assign,
  crossEntropy,
  type Initializer,
  Parameter,
  type ParameterOptions,
  parameter,
} from "../tensor/index.ts";
