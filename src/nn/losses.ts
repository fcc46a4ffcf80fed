import { abs, clamp, softplus, type Tensor, where } from "../tensor/index.ts";

/** Mean squared error, a scalar: the mean of (prediction - target)^2. The two are broadcast. */
export function mseLoss(prediction: Tensor, target: Tensor): Tensor {
  return prediction.sub(target).square().mean();
}

/** Mean absolute error, a scalar: the mean of |prediction - target|. The two are broadcast. */
export function l1Loss(prediction: Tensor, target: Tensor): Tensor {
  return abs(prediction.sub(target)).mean();
}

/**
 * Huber loss (Huber 1964), a scalar: the mean of half the squared distance where that distance is below delta, else of
 * delta * (distance - delta / 2).
 * @param delta above 0; default 1
 */
export function huberLoss(prediction: Tensor, target: Tensor, delta = 1): Tensor {
  const distance = abs(prediction.sub(target));
  const inner = clamp(distance, 0, delta);
  return where(distance.less(delta), inner.square().mul(0.5), distance.sub(delta / 2).mul(delta)).mean();
}

/**
 * Mean binary cross entropy of logits, a scalar. Numerically stable.
 * @param logits any shape
 * @param target float, of the same shape: probabilities in [0, 1]
 */
export function bceWithLogitsLoss(logits: Tensor, target: Tensor): Tensor {
  return softplus(logits).sub(logits.mul(target)).mean();
}
