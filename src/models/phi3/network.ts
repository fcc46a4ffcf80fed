import { isTarget, type LoraConfig, linear, loraLinear, type Precision } from "../../nn/index.ts";
import {
  and,
  checkpoint,
  concat,
  equal,
  gather,
  less,
  lessEqual,
  matmul,
  type QuantizedWeight,
  rmsNorm,
  rotary,
  type Shape,
  softmax,
  stopGradient,
  type Tensor,
  tensor,
  where,
} from "../../tensor/index.ts";
import type { Phi3Config } from "./config.ts";

/** What the network reads: every tensor int32 [batch, length]. */
export interface NetworkInputs {
  inputIds: Tensor;
  positions: Tensor;
  /** Which document a token belongs to: tokens see only their own; 0 stands for padding. */
  segments: Tensor;
}

/** Keys and values of the tokens so far, [batch, key/value heads, length, head width] for each layer. */
export interface KeyValues {
  keys: Tensor;
  values: Tensor;
}

/** How the network gets at its weights, and what is put around its projections. */
export interface NetworkWeights {
  parameter(name: string): Tensor;
  /** The quantised form of a projection's weight, if that is how it is kept. */
  quantized(name: string): QuantizedWeight | undefined;
  lora?: LoraConfig;
  /** What the projections' products are computed in where their weights are trained; float32 when left out. */
  precision?: Precision;
  /** Compute a layer's inner values again in the backward pass. */
  gradientCheckpointing?: boolean;
}

/** Shapes of all parameters, by their names in a checkpoint, in the order of the network. */
export function parameterShapes(config: Phi3Config): Map<string, Shape> {
  const { vocabSize, hiddenSize: h, intermediateSize: m, numAttentionHeads: heads, numKeyValueHeads: groups } = config;
  const width = h / heads;
  const shapes = new Map<string, Shape>([["model.embed_tokens.weight", [vocabSize, h]]]);
  for (let i = 0; i < config.numHiddenLayers; i++) {
    const layer = `model.layers.${i}`;
    shapes.set(`${layer}.input_layernorm.weight`, [h]);
    shapes.set(`${layer}.self_attn.qkv_proj.weight`, [(heads + 2 * groups) * width, h]);
    shapes.set(`${layer}.self_attn.o_proj.weight`, [h, h]);
    shapes.set(`${layer}.post_attention_layernorm.weight`, [h]);
    shapes.set(`${layer}.mlp.gate_up_proj.weight`, [2 * m, h]);
    shapes.set(`${layer}.mlp.down_proj.weight`, [h, m]);
  }
  shapes.set("model.norm.weight", [h]);
  if (!config.tieWordEmbeddings) shapes.set("lm_head.weight", [vocabSize, h]);
  return shapes;
}

/** Names of the modules that are projections, and so may carry an adapter. */
export function projections(config: Phi3Config): string[] {
  return [...parameterShapes(config).keys()]
    .filter((name) => name.endsWith("_proj.weight"))
    .map((name) => name.slice(0, -".weight".length));
}

/**
 * The decoder over whole sequences (Phi-3 technical report; the layout of transformers' `Phi3ForCausalLM`).
 * @returns hidden states after the last norm, [batch * length, hidden], and each layer's keys and values
 */
export function decode(config: Phi3Config, weights: NetworkWeights, inputs: NetworkInputs) {
  const { positions, segments } = inputs;
  const [batch, length] = segments.shape;
  const index = tensor(Int32Array.from({ length }, (_, i) => i));
  const query = index.reshape([length, 1]);
  let visible = lessEqual(index, query);
  if (config.slidingWindow) visible = and(visible, less(query.sub(index), config.slidingWindow));
  visible = and(visible, equal(segments.reshape([batch, length, 1]), segments.reshape([batch, 1, length])));
  const mask = additive(visible.reshape([batch, 1, length, length]));
  return decoder(config, weights, inputs.inputIds, positions, length, mask, (_, current) => current);
}

/**
 * One more token for each row, whose keys and values join the cache.
 * @param inputIds int32 [batch, 1]
 * @param positions int32 [batch, 1], where in the cache each token goes
 * @param caches for each layer, [batch, key/value heads, capacity, head width]
 */
export function decodeNext(
  config: Phi3Config,
  weights: NetworkWeights,
  inputIds: Tensor,
  positions: Tensor,
  caches: readonly KeyValues[],
) {
  const [batch] = inputIds.shape;
  const capacity = caches[0].keys.shape[2];
  const index = tensor(Int32Array.from({ length: capacity }, (_, i) => i));
  let visible = lessEqual(index, positions);
  if (config.slidingWindow) visible = and(visible, less(positions.sub(index), config.slidingWindow));
  const mask = additive(visible.reshape([batch, 1, 1, capacity]));
  const here = equal(index, positions).reshape([batch, 1, capacity, 1]);
  return decoder(config, weights, inputIds, positions, capacity, mask, (layer, { keys, values }) => ({
    keys: where(here, keys, caches[layer].keys),
    values: where(here, values, caches[layer].values),
  }));
}

/** Large enough to leave nothing after softmax, small enough not to overflow with a score added. */
const hidden = -1e30;
const additive = (visible: Tensor) => where(visible, 0, hidden);

function decoder(
  config: Phi3Config,
  weights: NetworkWeights,
  inputIds: Tensor,
  positions: Tensor,
  reach: number,
  mask: Tensor,
  remember: (layer: number, current: KeyValues) => KeyValues,
) {
  const { parameter, quantized, lora, precision, gradientCheckpointing } = weights;
  const [batch, length] = inputIds.shape;
  const { hiddenSize, numAttentionHeads: heads, numKeyValueHeads: groups, intermediateSize } = config;
  const width = hiddenSize / heads;
  const rotate = rotation(config, positions, reach);
  const project = (x: Tensor, module: string) => {
    const weight = quantized(`${module}.weight`) ?? parameter(`${module}.weight`);
    return lora && isTarget(module, lora)
      ? loraLinear(x, weight, module, lora, parameter)
      : linear(x, weight, precision);
  };
  const split = (x: Tensor, n: number) => x.reshape([batch, length, n, width]).transpose([0, 2, 1, 3]);
  const norm = (x: Tensor, name: string) => rmsNorm(x, parameter(`${name}.weight`), config.rmsNormEps);

  const keyValues: KeyValues[] = [];
  const forward = (i: number, entering: Tensor): Tensor => {
    const layer = `model.layers.${i}`;
    let x = entering;
    const qkv = project(norm(x, `${layer}.input_layernorm`), `${layer}.self_attn.qkv_proj`);
    const cut = [0, heads, heads + groups, heads + 2 * groups].map((n) => n * width);
    const query = rotate(split(qkv.slice(1, cut[0], cut[1]), heads));
    const current = remember(i, {
      keys: rotate(split(qkv.slice(1, cut[1], cut[2]), groups)),
      values: split(qkv.slice(1, cut[2], cut[3]), groups),
    });
    keyValues.push(current);
    const [keys, values] = [current.keys, current.values].map((t) => repeatGroups(t, heads / groups));
    const scores = matmul(query, keys, { transposeB: true, scale: 1 / Math.sqrt(width) }).add(mask);
    const mixed = softmax(scores)
      .matmul(values)
      .transpose([0, 2, 1, 3])
      .reshape([batch * length, hiddenSize]);
    x = x.add(project(mixed, `${layer}.self_attn.o_proj`));

    const gateUp = project(norm(x, `${layer}.post_attention_layernorm`), `${layer}.mlp.gate_up_proj`);
    const gate = gateUp.slice(1, 0, intermediateSize);
    const up = gateUp.slice(1, intermediateSize, 2 * intermediateSize);
    return x.add(project(gate.mul(gate.sigmoid()).mul(up), `${layer}.mlp.down_proj`));
  };
  let x = embed(config, parameter("model.embed_tokens.weight"), inputIds.reshape([batch * length]));
  for (let i = 0; i < config.numHiddenLayers; i++) {
    x = gradientCheckpointing ? checkpoint((h) => forward(i, h))(x) : forward(i, x);
  }
  return { hidden: norm(x, "model.norm"), keyValues };
}

/** Rows of the embedding. The padding token's row gets no gradient (PyTorch's `padding_idx`), wherever it stands. */
function embed(config: Phi3Config, table: Tensor, ids: Tensor): Tensor {
  const rows = gather(table, ids);
  if (config.padTokenId === undefined) return rows;
  return where(equal(ids, config.padTokenId).reshape([ids.size, 1]), stopGradient(rows), rows);
}

/** Scores of every token of the vocabulary, [n, vocabulary]. */
export function logitsOf(config: Phi3Config, weights: NetworkWeights, states: Tensor): Tensor {
  return linear(states, weights.parameter(config.tieWordEmbeddings ? "model.embed_tokens.weight" : "lm_head.weight"));
}

/** Give each group of query heads its own copy of the keys or values it shares. */
function repeatGroups(x: Tensor, times: number): Tensor {
  if (times === 1) return x;
  const [batch, groups, length, width] = x.shape;
  return x
    .reshape([batch, groups, 1, length, width])
    .broadcastTo([batch, groups, times, length, width])
    .reshape([batch, groups * times, length, width]);
}

/** The rotary embedding for these positions, all below `reach`: rotates [batch, heads, length, width]. */
function rotation(config: Phi3Config, positions: Tensor, reach: number): (x: Tensor) => Tensor {
  const width = config.hiddenSize / config.numAttentionHeads;
  const rotated = Math.trunc(width * config.partialRotaryFactor);
  const { cos, sin } = rotaryTables(config, rotated, positions, reach);
  return (x) => {
    const part = rotary(x.slice(3, 0, rotated), positions, cos, sin);
    return rotated === width ? part : concat([part, x.slice(3, rotated, width)], 3);
  };
}

function rotaryTables(config: Phi3Config, rotated: number, positions: Tensor, reach: number) {
  const { longRope, maxPositionEmbeddings: max, originalMaxPositionEmbeddings: original } = config;
  if (!longRope) return tables(config, rotated, reach, []);
  // Both tables are scaled, also for short sequences: sqrt(1 + ln(max / original) / ln(original)).
  const scale = max > original ? Math.sqrt(1 + Math.log(max / original) / Math.log(original)) : 1;
  const short = tables(config, rotated, reach, longRope.shortFactor, scale);
  const long = tables(config, rotated, reach, longRope.longFactor, scale);
  const isLong = less(original, positions.max().add(1));
  return { cos: where(isLong, long.cos, short.cos), sin: where(isLong, long.sin, short.sin) };
}

function tables(config: Phi3Config, rotated: number, rows: number, stretch: readonly number[], scale = 1) {
  const half = rotated / 2;
  const [cos, sin] = [new Float32Array(rows * half), new Float32Array(rows * half)];
  for (let j = 0; j < half; j++) {
    const frequency = Math.fround(1 / (config.ropeTheta ** ((2 * j) / rotated) * (stretch[j] ?? 1)));
    for (let position = 0; position < rows; position++) {
      const angle = Math.fround(position * frequency);
      cos[position * half + j] = Math.cos(angle) * scale;
      sin[position * half + j] = Math.sin(angle) * scale;
    }
  }
  return { cos: tensor(cos, [rows, half]), sin: tensor(sin, [rows, half]) };
}
