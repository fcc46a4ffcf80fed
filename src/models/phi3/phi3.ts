import { attention, Dropout, Embedding, init, Linear, Module, RMSNorm, type Weight } from "../../nn/index.ts";
import {
  and,
  checkpoint,
  concat,
  equal,
  less,
  lessEqual,
  matmul,
  type Parameter,
  readCondition,
  softmax,
  type Tensor,
  tensor,
  where,
} from "../../tensor/index.ts";
import type { Tokenizer } from "../../text/index.ts";
import { CausalLM, type DecoderInputs, type DecoderOutput, type KeyValueCache, type Placement } from "../causal-lm.ts";
import { type FromPretrainedOptions, loadModel } from "../load.ts";
import { type Phi3Config, type Phi3Sizes, parsePhi3Config, phi3Config } from "./config.ts";
import { rotation } from "./rotary.ts";

// Fields with parameters are named as in Hugging Face's files, so that parameter names match.

/** Tokens per block of the feed-forward part when saving memory. */
const tokensAtOnce = 512;

/** Inputs that all layers share. */
interface Context {
  batch: number;
  /** Tokens per sequence in this run. */
  length: number;
  rotate: (x: Tensor) => Tensor;
  /** Whether activations are recomputed in the backward pass. */
  saveMemory: boolean;
  /** Computes attention; query, key and value are [batch, heads, length, width]. */
  attend: (query: Tensor, key: Tensor, value: Tensor, layer: number) => Tensor;
}

/** Grouped-query attention with rotary position embeddings. */
export class Phi3Attention extends Module {
  readonly qkv_proj: Linear<Weight>;
  readonly o_proj: Linear<Weight>;
  readonly #config: Phi3Config;

  constructor(config: Phi3Config) {
    super();
    const { hiddenSize, numAttentionHeads: heads, numKeyValueHeads: groups } = config;
    this.#config = config;
    this.qkv_proj = projection(hiddenSize, (heads + 2 * groups) * (hiddenSize / heads), config);
    this.o_proj = projection(hiddenSize, hiddenSize, config);
  }

  /** @param x float32 [batch * length, hidden] */
  forward(x: Tensor, { batch, length, rotate, attend }: Context, layer: number): Tensor {
    const { hiddenSize, numAttentionHeads: heads, numKeyValueHeads: groups } = this.#config;
    const width = hiddenSize / heads;
    const split = (t: Tensor, n: number) => t.reshape([batch, length, n, width]).transpose([0, 2, 1, 3]);
    const qkv = this.qkv_proj.forward(x);
    const bounds = [0, heads, heads + groups, heads + 2 * groups].map((n) => n * width);
    const query = rotate(split(qkv.slice(1, bounds[0], bounds[1]), heads));
    const key = rotate(split(qkv.slice(1, bounds[1], bounds[2]), groups));
    const value = split(qkv.slice(1, bounds[2], bounds[3]), groups);
    const mixed = attend(query, key, value, layer)
      .transpose([0, 2, 1, 3])
      .reshape([batch * length, hiddenSize]);
    return this.o_proj.forward(mixed);
  }
}

/** The gated feed-forward block: down(up * silu(gate)). */
export class Phi3MLP extends Module {
  readonly gate_up_proj: Linear<Weight>;
  readonly down_proj: Linear<Weight>;

  constructor(config: Phi3Config) {
    super();
    this.gate_up_proj = projection(config.hiddenSize, 2 * config.intermediateSize, config);
    this.down_proj = projection(config.intermediateSize, config.hiddenSize, config);
  }

  /** @param x float32 [n, hidden] */
  forward(x: Tensor): Tensor {
    const gateUp = this.gate_up_proj.forward(x);
    const width = gateUp.shape[1] / 2;
    const gate = gateUp.slice(1, 0, width);
    const up = gateUp.slice(1, width, 2 * width);
    return this.down_proj.forward(gate.mul(gate.sigmoid()).mul(up));
  }
}

/** A decoder layer: attention and feed-forward blocks with pre-normalization and residual connections. */
export class Phi3DecoderLayer extends Module {
  readonly input_layernorm: RMSNorm;
  readonly self_attn: Phi3Attention;
  readonly resid_attn_dropout: Dropout;
  readonly post_attention_layernorm: RMSNorm;
  readonly mlp: Phi3MLP;
  readonly resid_mlp_dropout: Dropout;

  constructor(config: Phi3Config) {
    super();
    this.input_layernorm = new RMSNorm(config.hiddenSize, config.rmsNormEps);
    this.self_attn = new Phi3Attention(config);
    this.resid_attn_dropout = new Dropout(config.residPdrop);
    this.post_attention_layernorm = new RMSNorm(config.hiddenSize, config.rmsNormEps);
    this.mlp = new Phi3MLP(config);
    this.resid_mlp_dropout = new Dropout(config.residPdrop);
  }

  /** @param residual float32 [batch * length, hidden] */
  forward(residual: Tensor, context: Context, layer: number): Tensor {
    const mixed = this.self_attn.forward(this.input_layernorm.forward(residual), context, layer);
    const x = residual.add(this.resid_attn_dropout.forward(mixed));
    const [rows] = x.shape;
    // The feed-forward block works per token and has the widest activations, so long rows are processed in blocks.
    if (!context.saveMemory || rows <= tokensAtOnce) return this.#feedForward(x);
    const count = Math.ceil(rows / tokensAtOnce);
    const size = Math.ceil(rows / count);
    const parts = Array.from({ length: count }, (_, i) => x.slice(0, i * size, Math.min(rows, (i + 1) * size)));
    return concat(
      parts.map((part) => checkpoint((t) => this.#feedForward(t))(part)),
      0,
    );
  }

  #feedForward(x: Tensor): Tensor {
    return x.add(this.resid_mlp_dropout.forward(this.mlp.forward(this.post_attention_layernorm.forward(x))));
  }
}

/** The decoder without its output layer: from token ids to hidden states. */
export class Phi3Model extends Module {
  readonly embed_tokens: Embedding;
  readonly embed_dropout: Dropout;
  readonly layers: readonly Phi3DecoderLayer[];
  readonly norm: RMSNorm;
  readonly #config: Phi3Config;
  #gradientCheckpointing = false;

  constructor(config: Phi3Config) {
    super();
    this.#config = config;
    this.embed_tokens = new Embedding(config.vocabSize, config.hiddenSize, { paddingIdx: config.padTokenId });
    setInitializer(this.embed_tokens.weight, config);
    this.embed_dropout = new Dropout(config.embdPdrop);
    this.layers = Array.from({ length: config.numHiddenLayers }, () => new Phi3DecoderLayer(config));
    this.norm = new RMSNorm(config.hiddenSize, config.rmsNormEps);
  }

  /** Recompute each layer's activations in the backward pass: less memory for about a third more time. */
  get gradientCheckpointing(): boolean {
    return readCondition(() => this.#gradientCheckpointing);
  }

  set gradientCheckpointing(value: boolean) {
    this.#gradientCheckpointing = value;
  }

  forward({ inputIds, positions, segments }: DecoderInputs, cache?: KeyValueCache): DecoderOutput {
    const [batch, length] = inputIds.shape;
    const keyValues: DecoderOutput["keyValues"] = [];
    const reach = cache ? cache.layers[0].keys.shape[2] : length;
    const { slidingWindow } = this.#config;
    const cached = cache ? cachedAttention(cache, positions, slidingWindow) : undefined;
    const recompute = this.gradientCheckpointing && !cache;
    const context: Context = {
      batch,
      length,
      saveMemory: recompute,
      rotate: rotation(this.#config, positions, reach),
      attend: (query, key, value, layer) => {
        if (cached) {
          const { keys, values } = cached.remember(layer, key, value);
          keyValues[layer] = { keys, values };
          return cached.attend(query, keys, values);
        }
        keyValues[layer] = { keys: key, values: value };
        return attention(query, key, value, { segments, ...(slidingWindow ? { slidingWindow } : {}) });
      },
    };
    const embedded = this.embed_tokens.forward(inputIds.reshape([batch * length]));
    let x = this.embed_dropout.forward(embedded);
    for (const [i, layer] of this.layers.entries()) {
      x = recompute ? checkpoint((h) => layer.forward(h, context, i))(x) : layer.forward(x, context, i);
    }
    return { states: this.norm.forward(x), keyValues };
  }
}

/**
 * Returns attention of one new token per row over a cache of keys and values.
 * @param positions int32 [batch, 1]: position of each token in the cache
 */
function cachedAttention(cache: KeyValueCache, positions: Tensor, slidingWindow: number | undefined) {
  const [batch] = positions.shape;
  const [, groups, capacity, width] = cache.layers[0].keys.shape;
  const index = tensor(Int32Array.from({ length: capacity }, (_, i) => i));
  let visible = lessEqual(index, positions);
  if (slidingWindow) visible = and(visible, less(positions.sub(index), slidingWindow));
  const mask = where(visible.reshape([batch, 1, 1, capacity]), 0, -1e30);
  const here = equal(index, positions).reshape([batch, 1, capacity, 1]);
  return {
    remember: (layer: number, key: Tensor, value: Tensor) => ({
      keys: where(here, key, cache.layers[layer].keys),
      values: where(here, value, cache.layers[layer].values),
    }),
    attend: (query: Tensor, keys: Tensor, values: Tensor) => {
      // The heads of a group become rows, so that they share its keys without copies.
      const rows = query.reshape([batch, groups, query.shape[1] / groups, width]);
      const scores = matmul(rows, keys, { transposeB: true, scale: 1 / Math.sqrt(width) }).add(mask);
      return softmax(scores).matmul(values).reshape(query.shape);
    },
  };
}

/**
 * Phi-3 with its output layer (Phi-3 technical report; transformers' class of the same name): mini, medium and 3.5-mini.
 *
 * @example
 * const model = await Phi3ForCausalLM.fromPretrained("microsoft/Phi-3-mini-4k-instruct");
 * const [{ text }] = await model.generate(["What does Array.prototype.flat do?"]);
 */
export class Phi3ForCausalLM extends CausalLM {
  readonly config: Phi3Config;
  readonly model: Phi3Model;
  /** Undefined when the embeddings are tied: the output layer then uses their weight. */
  readonly lm_head?: Linear<Weight>;

  /**
   * Creates a model without values; `initialize(seed)` initializes them. Use `fromPretrained` to load a model.
   * @param sizes settings that differ from the defaults; vocabulary size and special tokens default to the tokenizer's
   */
  constructor(
    sizes: Omit<Phi3Sizes, "vocabSize"> & Partial<Phi3Config>,
    tokenizer: Tokenizer,
    placement: Placement = {},
  ) {
    super(tokenizer, placement);
    this.config = phi3Config({
      vocabSize: tokenizer.vocabSize,
      padTokenId: tokenizer.padTokenId,
      eosTokenIds: tokenizer.eosTokenId === undefined ? [] : [tokenizer.eosTokenId],
      ...sizes,
    });
    this.model = new Phi3Model(this.config);
    if (!this.config.tieWordEmbeddings) {
      this.lm_head = projection(this.config.hiddenSize, this.config.vocabSize, this.config);
    }
    this.namedParameters();
  }

  /**
   * Loads a model from a folder in Hugging Face's layout, or from the hub by its id.
   * @throws ModelError when a file is missing, damaged, or does not fit the configuration
   */
  static async fromPretrained(idOrFolder: string, options: FromPretrainedOptions = {}): Promise<Phi3ForCausalLM> {
    const { engine, device, threads } = options;
    const placement = { ...(engine ? { engine } : {}), ...(device ? { device } : {}), ...(threads ? { threads } : {}) };
    return loadModel(idOrFolder, options, (json, tokenizer) => {
      return new Phi3ForCausalLM(parsePhi3Config(json), tokenizer, placement);
    });
  }

  decode(inputs: DecoderInputs, cache?: KeyValueCache): DecoderOutput {
    return this.model.forward(inputs, cache);
  }

  get gradientCheckpointing(): boolean {
    return this.model.gradientCheckpointing;
  }

  set gradientCheckpointing(value: boolean) {
    this.model.gradientCheckpointing = value;
  }

  protected get inputEmbeddings(): Embedding {
    return this.model.embed_tokens;
  }

  get outputEmbeddings(): Linear<Weight> | undefined {
    return this.lm_head;
  }

  /** Returns the projections: the layers that are quantized, and the default targets of adapters. */
  projections(): Map<string, Linear<Weight>> {
    const layers = new Map<string, Linear<Weight>>();
    for (const [name, module] of this.namedModules()) {
      if (module instanceof Linear && name.endsWith("_proj")) layers.set(name, module);
    }
    return layers;
  }
}

function projection(inFeatures: number, outFeatures: number, config: Phi3Config): Linear<Weight> {
  const layer = new Linear<Weight>(inFeatures, outFeatures, { bias: false });
  setInitializer(layer.weight as Parameter, config);
  return layer;
}

/** Sets normal initialization with standard deviation `initializerRange`. */
function setInitializer(parameter: Parameter, { initializerRange }: Phi3Config): void {
  parameter.initializer = init.normal(initializerRange);
}
