import {
  after,
  and,
  concat,
  customGradient,
  equal,
  less,
  lessEqual,
  matmul,
  ones,
  ShapeError,
  showShape,
  softmax,
  type Tensor,
  tensor,
  where,
} from "../tensor/index.ts";

/** Options of {@link attention}. */
export interface AttentionOptions {
  /** int32 [batch, length]: the document of each token; attention stays within a document. */
  segments: Tensor;
  /** Whether tokens attend only to themselves and earlier tokens. Default true. */
  causal?: boolean;
  /** Number of tokens that each token i attends to: i - slidingWindow + 1 to i. Default: all. */
  slidingWindow?: number;
  /** Factor on the scores. Default 1 / sqrt(width). */
  scale?: number;
  /** Maximum bytes of scores to compute them all at once. Default 64 MB. */
  wholeBytes?: number;
  /** Maximum bytes of scores per block of queries otherwise. Default 32 MB. */
  blockBytes?: number;
}

/** Maximum number of blocks, as each adds nodes to the program. Blocks exceed their size limit rather than this. */
const maxBlocks = 32;

/** Mask value: softmax gives 0 for it, and adding a score does not overflow. */
const maskValue = -1e30;

/** Positions from `start` to `end`, exclusive. */
type Range = readonly [start: number, end: number];

/**
 * Masked softmax attention (Vaswani et al. 2017), with keys and values shared by groups of heads (Ainslie et al. 2023). Long
 * sequences are computed in blocks of queries, whose scores are recomputed in the backward pass, so that not all scores are
 * in memory at once. There are at most 32 blocks; beyond that their size grows with the length.
 * @param query float32 [batch, heads, length, width]
 * @param key float32 [batch, groups, length, width]; heads is a multiple of groups
 * @param value as key
 * @returns float32 [batch, heads, length, width]
 * @throws ShapeError when the shapes do not fit, or a sliding window is combined with causal: false
 */
export function attention(query: Tensor, key: Tensor, value: Tensor, options: AttentionOptions): Tensor {
  check(query, key, value, options);
  const [batch, heads, length] = query.shape;
  const { slidingWindow = length, wholeBytes = 64e6, blockBytes = 32e6 } = options;
  if (batch * heads * length * length * 4 <= wholeBytes) return wholeAttention(query, key, value, options);
  const rows = blockRows(batch * heads * 4, length, slidingWindow, blockBytes);
  const causal = options.causal ?? true;
  const step = 8 * rows;
  const blocks = Array.from({ length: Math.ceil(length / rows) }, (_, i): Block => {
    const [start, end] = [i * rows, Math.min(length, (i + 1) * rows)];
    // Blocks have few different sizes, because freed memory cannot be reused for a slightly larger block.
    const first = Math.max(0, start - slidingWindow + 1);
    const keys: Range = [first - (first % step), Math.min(length, Math.ceil(end / step) * step)];
    return { queries: [start, end], keys: causal ? keys : [0, length] };
  });
  const scale = scaleOf(query, options);
  const maskOf = ({ queries, keys }: Block, segments: Tensor) => mask({ ...options, segments }, queries, keys);
  const apply = customGradient({
    // The last block has the most keys and is computed first: the others can reuse its memory.
    forward: (q, k, v, segments) =>
      joined(
        blocks
          .toReversed()
          .map((block) => grouped(slices(block, [q, k, v]), maskOf(block, segments), scale))
          .reverse(),
      ),
    backward: (g, _, q, k, v, segments) => [
      ...blockGradients(blocks, g, [q, k, v], { maskOf: (block) => maskOf(block, segments), scale }),
      undefined,
    ],
  });
  return apply(query, key, value, options.segments);
}

/** Queries and the keys that they attend to. */
interface Block {
  readonly queries: Range;
  readonly keys: Range;
}

const slices = ({ queries, keys }: Block, [q, k, v]: readonly Tensor[]) => [
  q.slice(2, ...queries),
  k.slice(2, ...keys),
  v.slice(2, ...keys),
];

const joined = (parts: readonly Tensor[]) => (parts.length === 1 ? parts[0] : concat(parts, 2));

/**
 * Returns the gradients of query, key and value, block by block from the last one. Each block depends on all three gradients
 * of the previous block; otherwise the runtime could keep the scores of all blocks in memory at once.
 *
 * With P the attention weights, O = P V and D the sum over the width of g * O, the gradient of the scores is
 * P * (g V^T - D) (Dao 2023, FlashAttention-2). D is appended to g as a column, and a column of ones to V, so that the
 * difference is one product.
 */
function blockGradients(
  blocks: readonly Block[],
  g: Tensor,
  [query, key, value]: readonly Tensor[],
  { maskOf, scale }: { maskOf: (block: Block) => Tensor; scale: number },
): [query: Tensor, key: Tensor, value: Tensor] {
  const [batch, groups, length, width] = value.shape;
  const withOnes = concat([value, ones([batch, groups, length, 1])], 3);
  const ofQueries: Tensor[] = [];
  /** For keys and values: the finished gradients, and the partial sum over the keys of the last block. */
  const sums = [1, 2].map((): { done: Tensor[]; open?: Tensor } => ({ done: [] }));
  let before: Range = [0, 0];
  for (const block of blocks.toReversed()) {
    const ready = [...ofQueries.slice(0, 1), ...sums.flatMap(({ open }) => (open ? [open] : []))];
    const cotangent = ready.reduce(after, g).slice(2, ...block.queries);
    const [q, k, v] = slices(
      block,
      [query, key, withOnes].map((t) => after(t, cotangent)),
    );
    const [heads, rows] = q.shape.slice(1);
    const together = (t: Tensor) => t.reshape([batch, groups, (heads / groups) * rows, t.shape[3]]);
    const [queries, cotangents] = [q, cotangent].map(together);
    const weights = together(weightsOf(q, k, maskOf(block), scale));
    const output = weights.matmul(v.slice(3, 0, width));
    const withSums = concat([cotangents, cotangents.mul(output).sum([3], true).neg()], 3);
    const ofScores = matmul(withSums, v, { transposeB: true }).mul(weights);
    const dq = matmul(ofScores, k, { scale }).reshape(q.shape);
    const others = [
      matmul(ofScores, queries, { transposeA: true, scale }),
      matmul(weights, cotangents, { transposeA: true }),
    ];
    ofQueries.unshift(dq);
    for (const [i, sum] of sums.entries()) {
      if (sum.open) addOpen(sum, sum.open, before, others[i], block.keys);
      else sum.open = others[i];
    }
    before = block.keys;
  }
  const [dk, dv] = sums.map(({ done, open }) => joined(open ? [open, ...done] : done));
  return [joined(ofQueries), dk, dv];
}

/** Adds the partial sum over the following block's keys to a block's part; both ends of its keys are not later. */
function addOpen(
  sum: { done: Tensor[]; open?: Tensor },
  open: Tensor,
  [start, end]: Range,
  part: Tensor,
  keys: Range,
): void {
  const middle = Math.max(start, keys[1]);
  if (middle < end) sum.done.unshift(open.slice(2, middle - start, end - start));
  if (middle === start) {
    sum.open = part;
    return;
  }
  const overlap = part.slice(2, start - keys[0], keys[1] - keys[0]).add(open.slice(2, 0, middle - start));
  sum.open = start === keys[0] ? overlap : concat([part.slice(2, 0, start - keys[0]), overlap], 2);
}

const scaleOf = (query: Tensor, { scale = 1 / Math.sqrt(query.shape[3]) }: AttentionOptions) => scale;

/** Returns the number of queries per block, a power of two. */
function blockRows(bytesPerScore: number, length: number, slidingWindow: number, blockBytes: number): number {
  const bytes = (rows: number) => bytesPerScore * rows * Math.min(length, slidingWindow - 1 + rows);
  let rows = 1;
  while (rows * maxBlocks < length || (rows < length && bytes(2 * rows) <= blockBytes)) rows *= 2;
  return rows;
}

/** Returns 0 where a query attends to a key, and a very low number elsewhere: [batch, 1, queries, keys]. */
function mask({ segments, causal = true, slidingWindow }: AttentionOptions, queries: Range, keys: Range): Tensor {
  const [batch] = segments.shape;
  const [rows, columns] = [queries, keys].map(([start, end]) => end - start);
  const positions = ([start, end]: Range) => tensor(Int32Array.from({ length: end - start }, (_, i) => start + i));
  const index = positions(keys);
  const query = positions(queries).reshape([rows, 1]);
  const sameDocument = equal(
    segments.slice(1, ...queries).reshape([batch, rows, 1]),
    segments.slice(1, ...keys).reshape([batch, 1, columns]),
  );
  let visible = sameDocument;
  if (causal) {
    const before = lessEqual(index, query);
    visible = and(slidingWindow ? and(before, less(query.sub(index), slidingWindow)) : before, sameDocument);
  }
  return where(visible.reshape([batch, 1, rows, columns]), 0, maskValue);
}

/** Computes all scores at once. */
function wholeAttention(query: Tensor, key: Tensor, value: Tensor, options: AttentionOptions): Tensor {
  const [, heads, length] = query.shape;
  const [keys, values] = [key, value].map((t) => repeatGroups(t, heads / t.shape[1]));
  const scores = matmul(query, keys, { transposeB: true, scale: scaleOf(query, options) });
  return softmax(scores.add(wholeMask(options, length))).matmul(values);
}

/** Masks of whole sequences, which all layers of a model share. */
const masks = new WeakMap<Tensor, Map<string, Tensor>>();

function wholeMask(options: AttentionOptions, length: number): Tensor {
  const key = `${options.causal ?? true} ${options.slidingWindow}`;
  const cached = masks.get(options.segments) ?? new Map<string, Tensor>();
  masks.set(options.segments, cached);
  const masked = cached.get(key) ?? mask(options, [0, length], [0, length]);
  cached.set(key, masked);
  return masked;
}

/** Copies keys or values for each head of their group. */
function repeatGroups(x: Tensor, times: number): Tensor {
  if (times === 1) return x;
  const [batch, groups, length, width] = x.shape;
  return x
    .reshape([batch, groups, 1, length, width])
    .broadcastTo([batch, groups, times, length, width])
    .reshape([batch, groups * times, length, width]);
}

/**
 * Returns the softmax of the scores, [batch, heads, rows, columns]. The queries of a group's heads are stacked as rows, so
 * that keys are not copied.
 */
function weightsOf(query: Tensor, key: Tensor, maskTensor: Tensor, scale: number): Tensor {
  const [batch, heads, rows, width] = query.shape;
  const [, groups, columns] = key.shape;
  const together = query.reshape([batch, groups, (heads / groups) * rows, width]);
  const scores = matmul(together, key, { transposeB: true, scale });
  return softmax(scores.reshape([batch, heads, rows, columns]).add(maskTensor));
}

/** Computes attention of one block's queries. */
function grouped([query, key, value]: readonly Tensor[], maskTensor: Tensor, scale: number): Tensor {
  const [batch, heads, rows] = query.shape;
  const [, groups, columns] = key.shape;
  const weights = weightsOf(query, key, maskTensor, scale).reshape([batch, groups, (heads / groups) * rows, columns]);
  return weights.matmul(value).reshape(query.shape);
}

function check(query: Tensor, key: Tensor, value: Tensor, { segments, causal, slidingWindow }: AttentionOptions): void {
  const [batch, heads, length, width] = query.shape;
  const groups = key.shape[1];
  const shared = showShape([batch, groups, length, width]);
  const fits =
    query.shape.length === 4 &&
    showShape(key.shape) === shared &&
    showShape(value.shape) === shared &&
    heads % groups === 0 &&
    showShape(segments.shape) === showShape([batch, length]);
  if (!fits) {
    throw new ShapeError(
      `attention: expected query [batch, heads, length, width], key and value [batch, groups, length, width] with heads a multiple of groups, and segments [batch, length]; got query ${showShape(query.shape)}, key ${showShape(key.shape)}, value ${showShape(value.shape)} and segments ${showShape(segments.shape)}`,
    );
  }
  if (slidingWindow !== undefined && (causal === false || !(slidingWindow >= 1))) {
    throw new ShapeError(
      `attention: slidingWindow is ${slidingWindow} and causal is ${causal ?? true}; slidingWindow must be at least 1 and needs causal attention`,
    );
  }
}
