import { type Static, Type } from "@sinclair/typebox";
import { Value } from "@sinclair/typebox/value";
import { ModelError } from "../error.ts";
import { rotatedWidth } from "./rotary.ts";

const optionalNumber = Type.Optional(Type.Union([Type.Number(), Type.Null()]));

/** The supported fields of a `config.json`, in the published Phi-3 layout or that of transformers 5. */
const ConfigFile = Type.Object({
  model_type: Type.Literal("phi3"),
  vocab_size: Type.Integer({ minimum: 1 }),
  hidden_size: Type.Integer({ minimum: 1 }),
  intermediate_size: Type.Integer({ minimum: 1 }),
  num_hidden_layers: Type.Integer({ minimum: 1 }),
  num_attention_heads: Type.Integer({ minimum: 1 }),
  num_key_value_heads: optionalNumber,
  max_position_embeddings: Type.Optional(Type.Integer({ minimum: 1 })),
  original_max_position_embeddings: optionalNumber,
  rms_norm_eps: Type.Optional(Type.Number()),
  rope_theta: Type.Optional(Type.Number()),
  rope_scaling: Type.Optional(Type.Union([Type.Record(Type.String(), Type.Unknown()), Type.Null()])),
  rope_parameters: Type.Optional(Type.Union([Type.Record(Type.String(), Type.Unknown()), Type.Null()])),
  partial_rotary_factor: optionalNumber,
  sliding_window: optionalNumber,
  tie_word_embeddings: Type.Optional(Type.Boolean()),
  initializer_range: Type.Optional(Type.Number()),
  hidden_act: Type.Optional(Type.Literal("silu")),
  attention_bias: Type.Optional(Type.Literal(false)),
  head_dim: optionalNumber,
  resid_pdrop: optionalNumber,
  embd_pdrop: optionalNumber,
  attention_dropout: optionalNumber,
  pad_token_id: optionalNumber,
  bos_token_id: optionalNumber,
  eos_token_id: Type.Optional(Type.Union([Type.Number(), Type.Array(Type.Number()), Type.Null()])),
});

const LongRope = Type.Object({
  short_factor: Type.Array(Type.Number()),
  long_factor: Type.Array(Type.Number()),
  attention_factor: optionalNumber,
});

/** Configuration of a Phi-3 model. Names follow Hugging Face's. */
export interface Phi3Config {
  vocabSize: number;
  hiddenSize: number;
  intermediateSize: number;
  numHiddenLayers: number;
  numAttentionHeads: number;
  /** Grouped-query attention when lower than numAttentionHeads. */
  numKeyValueHeads: number;
  maxPositionEmbeddings: number;
  originalMaxPositionEmbeddings: number;
  rmsNormEps: number;
  ropeTheta: number;
  /** Fraction of each head that is rotated, in (0, 1]. */
  partialRotaryFactor: number;
  /** Scaling factors of the rotary frequencies for short and long sequences (LongRoPE, Ding et al. 2024). */
  longRope:
    | { shortFactor: readonly number[]; longFactor: readonly number[]; attentionFactor?: number | undefined }
    | undefined;
  /** Number of positions that a query attends to, including itself; undefined for all. */
  slidingWindow: number | undefined;
  tieWordEmbeddings: boolean;
  initializerRange: number;
  /** Dropout on the outputs of attention and MLP, in [0, 1). */
  residPdrop: number;
  /** Dropout on the embeddings, in [0, 1). */
  embdPdrop: number;
  padTokenId: number | undefined;
  bosTokenId: number | undefined;
  eosTokenIds: readonly number[];
}

/** Messages for fields with values that are valid but not supported. */
const unsupported: Readonly<Record<string, string>> = {
  "/attention_bias": "projections with a bias are not supported.",
  "/hidden_act": 'only "silu" is supported.',
  "/model_type": 'only "phi3" is supported.',
};

/**
 * Parses the content of a `config.json`.
 * @throws ModelError naming the invalid field
 */
export function parsePhi3Config(json: unknown): Phi3Config {
  const problem = Value.Errors(ConfigFile, json).First();
  if (problem) {
    const actual = JSON.stringify(problem.value) ?? "nothing";
    const remedy = unsupported[problem.path] ?? `${problem.message.toLowerCase()}.`;
    throw new ModelError(`config.json: ${problem.path || "/"} is ${actual}; ${remedy}`);
  }
  const file = json as Static<typeof ConfigFile>;
  const width = file.hidden_size / file.num_attention_heads;
  if (typeof file.head_dim === "number" && file.head_dim !== width) {
    throw new ModelError(
      `config.json: head_dim is ${file.head_dim}; only heads of hidden_size / num_attention_heads = ${width} are supported.`,
    );
  }
  if ((file.attention_dropout ?? 0) > 0) {
    throw new ModelError(
      `config.json: attention_dropout is ${file.attention_dropout}; dropout in attention is not supported. Set it to 0 to use the model without it.`,
    );
  }
  // The two layouts use different fields: the one with a non-default type takes precedence.
  const candidates = [file.rope_parameters, file.rope_scaling].filter((one) => one !== undefined && one !== null);
  const kindOf = (one: Record<string, unknown>) => one.rope_type ?? one.type ?? "default";
  const rope = candidates.find((one) => kindOf(one) !== "default") ?? candidates[0] ?? {};
  const kind = kindOf(rope);
  if (kind !== "default" && kind !== "longrope" && kind !== "su") {
    throw new ModelError(`config.json: rotary scaling ${JSON.stringify(kind)} is not supported; only "longrope" is.`);
  }
  const wrong = kind === "default" ? undefined : Value.Errors(LongRope, rope).First();
  if (wrong) {
    throw new ModelError(
      `config.json: rope_scaling${wrong.path} is ${JSON.stringify(wrong.value)?.slice(0, 80)}; ${wrong.message.toLowerCase()}.`,
    );
  }
  const long = kind === "default" ? undefined : (rope as Static<typeof LongRope>);
  const number = (value: unknown, fallback: number) => (typeof value === "number" ? value : fallback);
  const max = file.max_position_embeddings ?? 4096;
  const eos = file.eos_token_id ?? [];
  return phi3Config({
    vocabSize: file.vocab_size,
    hiddenSize: file.hidden_size,
    intermediateSize: file.intermediate_size,
    numHiddenLayers: file.num_hidden_layers,
    numAttentionHeads: file.num_attention_heads,
    numKeyValueHeads: file.num_key_value_heads ?? file.num_attention_heads,
    maxPositionEmbeddings: max,
    originalMaxPositionEmbeddings: number(
      file.original_max_position_embeddings,
      number(rope.original_max_position_embeddings, max),
    ),
    rmsNormEps: file.rms_norm_eps ?? 1e-5,
    ropeTheta: number(rope.rope_theta, file.rope_theta ?? 10_000),
    partialRotaryFactor: number(file.partial_rotary_factor, number(rope.partial_rotary_factor, 1)),
    longRope: long && {
      shortFactor: long.short_factor,
      longFactor: long.long_factor,
      ...(typeof long.attention_factor === "number" ? { attentionFactor: long.attention_factor } : {}),
    },
    slidingWindow: file.sliding_window ?? undefined,
    tieWordEmbeddings: file.tie_word_embeddings ?? false,
    initializerRange: file.initializer_range ?? 0.02,
    residPdrop: file.resid_pdrop ?? 0,
    embdPdrop: file.embd_pdrop ?? 0,
    padTokenId: file.pad_token_id ?? undefined,
    bosTokenId: file.bos_token_id ?? undefined,
    eosTokenIds: Array.isArray(eos) ? eos : [eos],
  });
}

/** The required settings of a new model; all others have defaults. */
export type Phi3Sizes = Pick<
  Phi3Config,
  "vocabSize" | "hiddenSize" | "intermediateSize" | "numHiddenLayers" | "numAttentionHeads"
>;

/**
 * Fills in the defaults of a configuration and validates it.
 * @throws ModelError when sizes are not divisible as required
 */
export function phi3Config(settings: Phi3Sizes & Partial<Phi3Config>): Phi3Config {
  const max = settings.maxPositionEmbeddings ?? 4096;
  const config: Phi3Config = {
    numKeyValueHeads: settings.numAttentionHeads,
    maxPositionEmbeddings: max,
    originalMaxPositionEmbeddings: max,
    rmsNormEps: 1e-5,
    ropeTheta: 10_000,
    partialRotaryFactor: 1,
    longRope: undefined,
    slidingWindow: undefined,
    tieWordEmbeddings: false,
    initializerRange: 0.02,
    residPdrop: 0,
    embdPdrop: 0,
    padTokenId: undefined,
    bosTokenId: undefined,
    eosTokenIds: [],
    ...settings,
  };
  const { hiddenSize, numAttentionHeads: heads, numKeyValueHeads: groups } = config;
  if (hiddenSize % heads !== 0 || (hiddenSize / heads) % 2 !== 0) {
    throw new ModelError(`hiddenSize ${hiddenSize} must be divisible into ${heads} heads of an even width.`);
  }
  if (heads % groups !== 0) {
    throw new ModelError(`${heads} attention heads cannot be divided evenly among ${groups} key/value heads.`);
  }
  if (config.longRope) {
    const needed = rotatedWidth(config) / 2;
    for (const [name, factors] of [
      ["short_factor", config.longRope.shortFactor],
      ["long_factor", config.longRope.longFactor],
    ] as const) {
      if (factors.length === needed) continue;
      throw new ModelError(`config.json: ${name} has ${factors.length} factors; this head width needs ${needed}.`);
    }
  }
  return config;
}

/**
 * Converts the configuration to a `config.json` for transformers.
 * @param dtype dtype of the saved weights
 */
export function toConfigFile(config: Phi3Config, dtype = "float32"): Record<string, unknown> {
  return {
    architectures: ["Phi3ForCausalLM"],
    model_type: "phi3",
    vocab_size: config.vocabSize,
    hidden_size: config.hiddenSize,
    intermediate_size: config.intermediateSize,
    num_hidden_layers: config.numHiddenLayers,
    num_attention_heads: config.numAttentionHeads,
    num_key_value_heads: config.numKeyValueHeads,
    max_position_embeddings: config.maxPositionEmbeddings,
    original_max_position_embeddings: config.originalMaxPositionEmbeddings,
    rms_norm_eps: config.rmsNormEps,
    rope_theta: config.ropeTheta,
    partial_rotary_factor: config.partialRotaryFactor,
    rope_scaling: config.longRope
      ? {
          type: "longrope",
          short_factor: config.longRope.shortFactor,
          long_factor: config.longRope.longFactor,
          ...(config.longRope.attentionFactor === undefined
            ? {}
            : { attention_factor: config.longRope.attentionFactor }),
        }
      : null,
    sliding_window: config.slidingWindow ?? null,
    tie_word_embeddings: config.tieWordEmbeddings,
    initializer_range: config.initializerRange,
    hidden_act: "silu",
    attention_bias: false,
    attention_dropout: 0,
    embd_pdrop: config.embdPdrop,
    resid_pdrop: config.residPdrop,
    torch_dtype: dtype,
    use_cache: true,
    pad_token_id: config.padTokenId ?? null,
    bos_token_id: config.bosTokenId ?? null,
    eos_token_id: config.eosTokenIds.length === 1 ? config.eosTokenIds[0] : config.eosTokenIds,
  };
}
