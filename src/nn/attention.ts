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
  /** int32 [batch, length]: which document a token belongs to; tokens see only their own. */
  segments: Tensor;
  /** Whether tokens see none after themselves; true when left out. */
  causal?: boolean;
  /** How many tokens each sees, itself included: one at i sees i - slidingWindow + 1 to i. All when left out. */
  slidingWindow?: number;
  /** Multiplies the scores; 1 / sqrt(width) when left out. */
  scale?: number;
  /** Bytes of scores up to which they are computed in one piece; 64 MB when left out. */
  wholeBytes?: number;
  /** Bytes of scores for one block of queries where they are not; 32 MB when left out. */
  blockBytes?: number;
}

/** Blocks are made larger than they should be rather than more than this: each is a part of the program of its own. */
const mostBlocks = 32;

/** Large enough to leave nothing after softmax, small enough not to overflow with a score added. */
const hidden = -1e30;

/** From one position up to another, which is left out. */
type Range = readonly [start: number, end: number];

/**
 * Softmax attention of each query over the keys that it may see (Vaswani et al. 2017), with keys and values shared by
 * groups of heads (Ainslie et al. 2023). Long sequences are worked through in blocks of queries, whose scores are
 * computed again in the backward pass, so not all of them are held at once. There are at
 * most 32 blocks: beyond that they grow with the length.
 * @param query float32 [batch, heads, length, width]
 * @param key float32 [batch, groups, length, width]; heads is a multiple of groups
 * @param value as key
 * @returns float32 [batch, heads, length, width]
 * @throws ShapeError when the shapes do not fit, or a sliding window is asked for where causal is false
 */
export function attention(query: Tensor, key: Tensor, value: Tensor, options: AttentionOptions): Tensor {
  check(query, key, value, options);
  const [batch, heads, length] = query.shape;
  const { slidingWindow = length, wholeBytes = 64e6, blockBytes = 32e6 } = options;
  if (batch * heads * length * length * 4 <= wholeBytes) return whole(query, key, value, options);
  const rows = blockRows(batch * heads * 4, length, slidingWindow, blockBytes);
  const causal = options.causal ?? true;
  const step = 8 * rows;
  const blocks = Array.from({ length: Math.ceil(length / rows) }, (_, i): Block => {
    const [start, end] = [i * rows, Math.min(length, (i + 1) * rows)];
    // A few sizes for all blocks: memory that one leaves is of no use for another that is a little larger.
    const first = Math.max(0, start - slidingWindow + 1);
    const keys: Range = [first - (first % step), Math.min(length, Math.ceil(end / step) * step)];
    return { queries: [start, end], keys: causal ? keys : [0, length] };
  });
  const scale = scaleOf(query, options);
  const maskOf = ({ queries, keys }: Block, segments: Tensor) => mask({ ...options, segments }, queries, keys);
  const apply = customGradient({
    // The last block, which has most keys, comes first: what it leaves is large enough for the others.
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

/** Queries and the keys that they are compared with. */
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
 * Gradients of query, key and value, one block after the other from the last one on. Each block waits for all three
 * gradients of the block before it: whichever the runtime computed last would keep the scores of every block until then.
 *
 * With P the weights, O = P V and D the sum over the width of g * O, the gradient of the scores is P * (g V^T - D) (Dao
 * 2023, FlashAttention-2). D is one more column of g, against a column of ones beside V: the difference is one product.
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
  /** For keys and for values: what is finished, and the sum so far over the keys of the last block. */
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
    const read = weights.matmul(v.slice(3, 0, width));
    const withSums = concat([cotangents, cotangents.mul(read).sum([3], true).neg()], 3);
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

/** Add the sum over the keys of the block after to a block's part: both ends of its keys lie no later. */
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
  const own = part.slice(2, start - keys[0], keys[1] - keys[0]).add(open.slice(2, 0, middle - start));
  sum.open = start === keys[0] ? own : concat([part.slice(2, 0, start - keys[0]), own], 2);
}

const scaleOf = (query: Tensor, { scale = 1 / Math.sqrt(query.shape[3]) }: AttentionOptions) => scale;

/** Queries in one block: a power of two. */
function blockRows(bytesPerScore: number, length: number, slidingWindow: number, blockBytes: number): number {
  const bytes = (rows: number) => bytesPerScore * rows * Math.min(length, slidingWindow - 1 + rows);
  let rows = 1;
  while (rows * mostBlocks < length || (rows < length && bytes(2 * rows) <= blockBytes)) rows *= 2;
  return rows;
}

/** 0 where a query sees a key, a very low number elsewhere: [batch, 1, queries, keys]. */
function mask({ segments, causal = true, slidingWindow }: AttentionOptions, queries: Range, keys: Range): Tensor {
  const [batch] = segments.shape;
  const [rows, columns] = [queries, keys].map(([start, end]) => end - start);
  const positions = ([start, end]: Range) => tensor(Int32Array.from({ length: end - start }, (_, i) => start + i));
  const index = positions(keys);
  const query = positions(queries).reshape([rows, 1]);
  const own = equal(
    segments.slice(1, ...queries).reshape([batch, rows, 1]),
    segments.slice(1, ...keys).reshape([batch, 1, columns]),
  );
  let visible = own;
  if (causal) {
    const before = lessEqual(index, query);
    visible = and(slidingWindow ? and(before, less(query.sub(index), slidingWindow)) : before, own);
  }
  return where(visible.reshape([batch, 1, rows, columns]), 0, hidden);
}

/** All scores at once. */
function whole(query: Tensor, key: Tensor, value: Tensor, options: AttentionOptions): Tensor {
  const [, heads, length] = query.shape;
  const [keys, values] = [key, value].map((t) => repeatGroups(t, heads / t.shape[1]));
  const scores = matmul(query, keys, { transposeB: true, scale: scaleOf(query, options) });
  return softmax(scores.add(wholeMask(options, length))).matmul(values);
}

/** Masks of whole sequences: every layer of a model has the same one. */
const masks = new WeakMap<Tensor, Map<string, Tensor>>();

function wholeMask(options: AttentionOptions, length: number): Tensor {
  const key = `${options.causal ?? true} ${options.slidingWindow}`;
  const known = masks.get(options.segments) ?? new Map<string, Tensor>();
  masks.set(options.segments, known);
  const shown = known.get(key) ?? mask(options, [0, length], [0, length]);
  known.set(key, shown);
  return shown;
}

/** Give each head of a group its own copy of the keys or values. */
function repeatGroups(x: Tensor, times: number): Tensor {
  if (times === 1) return x;
  const [batch, groups, length, width] = x.shape;
  return x
    .reshape([batch, groups, 1, length, width])
    .broadcastTo([batch, groups, times, length, width])
    .reshape([batch, groups * times, length, width]);
}

/**
 * Softmax of the scores, [batch, heads, rows, columns]. The queries of a group's heads are put below each other, so that
 * keys are not copied.
 */
function weightsOf(query: Tensor, key: Tensor, shown: Tensor, scale: number): Tensor {
  const [batch, heads, rows, width] = query.shape;
  const [, groups, columns] = key.shape;
  const together = query.reshape([batch, groups, (heads / groups) * rows, width]);
  const scores = matmul(together, key, { transposeB: true, scale });
  return softmax(scores.reshape([batch, heads, rows, columns]).add(shown));
}

/** What the queries of one block read. */
function grouped([query, key, value]: readonly Tensor[], shown: Tensor, scale: number): Tensor {
  const [batch, heads, rows] = query.shape;
  const [, groups, columns] = key.shape;
  const weights = weightsOf(query, key, shown, scale).reshape([batch, groups, (heads / groups) * rows, columns]);
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
      `attention: query ${showShape(query.shape)} should be [batch, heads, length, width], key ${showShape(key.shape)} and value ${showShape(value.shape)} [batch, groups, length, width] with heads a multiple of groups, segments ${showShape(segments.shape)} [batch, length]`,
    );
  }
  if (slidingWindow !== undefined && (causal === false || !(slidingWindow >= 1))) {
    throw new ShapeError(
      `attention: slidingWindow is ${slidingWindow} and causal ${causal ?? true}; a window must be 1 or more, and needs causal attention`,
    );
  }
}
