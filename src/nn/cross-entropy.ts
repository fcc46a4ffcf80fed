import { checkpoint, concat, crossEntropy, ShapeError, showShape, type Tensor } from "../tensor/index.ts";
import { linear } from "./linear.ts";

/** Options of {@link projectedCrossEntropy} and {@link linearCrossEntropy}. */
export interface CrossEntropyOptions {
  /** Maximum bytes of logits in memory at once. Default 32 MB. */
  blockBytes?: number;
}

/**
 * Cross entropy of an output layer's logits, without holding all logits in memory: large numbers of rows are computed in
 * blocks, and recomputed in the backward pass.
 * @param states float32 [n, hidden]
 * @param targets int32 [n], each in [0, vocabulary), or -100 for a loss of zero
 * @param project the output layer: [rows, hidden] to [rows, vocabulary]
 * @returns float32 [n]
 * @throws ShapeError when the shapes do not fit
 */
export function projectedCrossEntropy(
  states: Tensor,
  targets: Tensor,
  project: (states: Tensor) => Tensor,
  vocabulary: number,
  { blockBytes = 32e6 }: CrossEntropyOptions = {},
): Tensor {
  const [n] = states.shape;
  if (showShape(targets.shape) !== showShape([n])) {
    throw new ShapeError(
      `cross entropy: expected states [n, hidden] and targets [n]; got ${showShape(states.shape)} and ${showShape(targets.shape)}`,
    );
  }
  const losses = (rows: Tensor, labels: Tensor) => crossEntropy(project(rows), labels);
  if (n * vocabulary * 4 <= blockBytes) return losses(states, targets);
  const rows = Math.max(1, Math.floor(blockBytes / (vocabulary * 4)));
  const blocks = Array.from({ length: Math.ceil(n / rows) }, (_, i) => {
    const [start, end] = [i * rows, Math.min(n, (i + 1) * rows)];
    return checkpoint(losses)(states.slice(0, start, end), targets.slice(0, start, end));
  });
  return blocks.length === 1 ? blocks[0] : concat(blocks, 0);
}

/**
 * {@link projectedCrossEntropy} with a matrix as output layer: crossEntropy(states weight^T, targets).
 * @param weight [vocabulary, hidden], float32 or a dtype that is cast to float32
 */
export function linearCrossEntropy(
  states: Tensor,
  weight: Tensor,
  targets: Tensor,
  options: CrossEntropyOptions = {},
): Tensor {
  return projectedCrossEntropy(states, targets, (h) => linear(h, weight), weight.shape[0], options);
}
