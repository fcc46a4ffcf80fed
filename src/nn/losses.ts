import { abs, clamp, softplus, type Tensor, where } from "../tensor/index.ts";

/** Mean over all elements of (prediction - target)^2, a scalar. The two broadcast. */
export function mseLoss(prediction: Tensor, target: Tensor): Tensor {
  return prediction.sub(target).square().mean();
}

/** Mean over all elements of |prediction - target|, a scalar. The two broadcast. */
export function l1Loss(prediction: Tensor, target: Tensor): Tensor {
  return abs(prediction.sub(target)).mean();
}

/**
 * Mean over all elements of half the squared distance where that is below delta, and delta * (distance - delta / 2) beyond
 * (Huber 1964); a scalar.
 * @param delta above 0; default 1
 */
export function huberLoss(prediction: Tensor, target: Tensor, delta = 1): Tensor {
  const distance = abs(prediction.sub(target));
  const inner = clamp(distance, 0, delta);
  return where(distance.less(delta), inner.square().mul(0.5), distance.sub(delta / 2).mul(delta)).mean();
}

/**
 * Mean binary cross entropy of scores before the sigmoid, without overflow; a scalar.
 * @param logits any shape
 * @param target float, of the same shape: probabilities in [0, 1]
 */
export function bceWithLogitsLoss(logits: Tensor, target: Tensor): Tensor {
  return softplus(logits).sub(logits.mul(target)).mean();
}
