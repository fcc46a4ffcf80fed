import { checkpoint, concat, crossEntropy, type Tensor } from "../tensor/index.ts";

/** Most bytes that the logits of one piece take. */
const limit = 2 ** 25;

/**
 * `crossEntropy(project(states), targets)` in pieces of rows: the logits of a piece are computed again in the backward
 * pass, and those of all rows are never held together. In one piece where they take less than 32 MB.
 * @param states float32 [n, hidden]
 * @param targets int32 [n], -100 where there is nothing to predict
 * @param project the output layer: [rows, hidden] to [rows, vocabulary]
 * @param options.maxBytes most bytes of logits in one piece
 * @returns float32 [n]
 */
export function projectedCrossEntropy(
  states: Tensor,
  targets: Tensor,
  project: (states: Tensor) => Tensor,
  vocabulary: number,
  { maxBytes = limit }: { maxBytes?: number } = {},
): Tensor {
  const [n] = states.shape;
  const rows = Math.max(1, Math.floor(maxBytes / (4 * vocabulary)));
  if (n <= rows) return crossEntropy(project(states), targets);
  const pieces = Array.from({ length: Math.ceil(n / rows) }, (_, i) => {
    const [start, end] = [i * rows, Math.min((i + 1) * rows, n)];
    const wanted = targets.slice(0, start, end);
    return checkpoint((h) => crossEntropy(project(h), wanted))(states.slice(0, start, end));
  });
  return concat(pieces, 0);
}
