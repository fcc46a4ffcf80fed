import { and, equal, less, lessEqual, matmul, softmax, type Tensor, tensor, where } from "../tensor/index.ts";

/** Options of {@link attention}. */
export interface AttentionOptions {
  /** int32 [batch, length]: tokens see only those of their own segment. */
  segments: Tensor;
  /** Positions a query sees, itself included; all when left out. */
  slidingWindow?: number;
  /** Default 1 / sqrt(width). */
  scale?: number;
}

/** Causal scaled dot-product attention (Vaswani et al. 2017). */
export function attention(query: Tensor, key: Tensor, value: Tensor, options: AttentionOptions): Tensor {
  const [batch, heads, length, width] = query.shape;
  const index = tensor(Int32Array.from({ length }, (_, i) => i));
  const at = index.reshape([length, 1]);
  let visible = lessEqual(index, at);
  if (options.slidingWindow) visible = and(visible, less(at.sub(index), options.slidingWindow));
  const { segments } = options;
  visible = and(visible, equal(segments.reshape([batch, length, 1]), segments.reshape([batch, 1, length])));
  const mask = where(visible.reshape([batch, 1, length, length]), 0, -1e30);
  const times = heads / key.shape[1];
  const [keys, values] = [key, value].map((t) => repeatGroups(t, times));
  const scores = matmul(query, keys, { transposeB: true, scale: options.scale ?? 1 / Math.sqrt(width) }).add(mask);
  return softmax(scores).matmul(values);
}

function repeatGroups(x: Tensor, times: number): Tensor {
  if (times === 1) return x;
  const [batch, groups, length, width] = x.shape;
  return x
    .reshape([batch, groups, 1, length, width])
    .broadcastTo([batch, groups, times, length, width])
    .reshape([batch, groups * times, length, width]);
}
