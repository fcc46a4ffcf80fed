import { abs, clamp, softplus, type Tensor, where } from "../tensor/index.ts";

/** Mean of (prediction - target)^2. */
export function mseLoss(prediction: Tensor, target: Tensor): Tensor {
  return prediction.sub(target).square().mean();
}

/** Mean of |prediction - target|. */
export function l1Loss(prediction: Tensor, target: Tensor): Tensor {
  return abs(prediction.sub(target)).mean();
}

/** Squared below a distance of delta, linear beyond (Huber 1964). */
export function huberLoss(prediction: Tensor, target: Tensor, delta = 1): Tensor {
  const distance = abs(prediction.sub(target));
  const inner = clamp(distance, 0, delta);
  return where(distance.less(delta), inner.square().mul(0.5), distance.sub(delta / 2).mul(delta)).mean();
}

/**
 * Mean binary cross entropy of scores before the sigmoid, without overflow.
 * @param target float, probabilities in [0, 1]
 */
export function bceWithLogitsLoss(logits: Tensor, target: Tensor): Tensor {
  return softplus(logits).sub(logits.mul(target)).mean();
}
