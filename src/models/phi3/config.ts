import { type Static, Type } from "@sinclair/typebox";
import { Value } from "@sinclair/typebox/value";

const optionalNumber = Type.Optional(Type.Union([Type.Number(), Type.Null()]));

/** What we read of a `config.json`, in the published Phi-3 layout or as transformers 5 writes it. */
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
  pad_token_id: optionalNumber,
  bos_token_id: optionalNumber,
  eos_token_id: Type.Optional(Type.Union([Type.Number(), Type.Array(Type.Number()), Type.Null()])),
});

const LongRope = Type.Object({
  short_factor: Type.Array(Type.Number()),
  long_factor: Type.Array(Type.Number()),
});

/** A Phi-3 model's settings. Sizes are counts; names follow Hugging Face's. */
export interface Phi3Config {
  vocabSize: number;
  hiddenSize: number;
  intermediateSize: number;
  numHiddenLayers: number;
  numAttentionHeads: number;
  /** Fewer than the attention heads: grouped-query attention. */
  numKeyValueHeads: number;
  maxPositionEmbeddings: number;
  originalMaxPositionEmbeddings: number;
  rmsNormEps: number;
  ropeTheta: number;
  /** Share of each head that is rotated, in (0, 1]. */
  partialRotaryFactor: number;
  /** Stretches of the rotary frequencies for short and long sequences (LongRoPE, Ding et al. 2024). */
  longRope: { shortFactor: readonly number[]; longFactor: readonly number[] } | undefined;
  /** Positions a query sees, itself included; undefined for all. */
  slidingWindow: number | undefined;
  tieWordEmbeddings: boolean;
  initializerRange: number;
  padTokenId: number | undefined;
  bosTokenId: number | undefined;
  eosTokenIds: readonly number[];
}

/** A model's settings do not make sense, or its files are damaged. */
export class ModelError extends Error {
  override name = "ModelError";
}

/**
 * Read a parsed `config.json`.
 * @throws ModelError naming the field that is wrong
 */
export function parsePhi3Config(json: unknown): Phi3Config {
  const problem = Value.Errors(ConfigFile, json).First();
  if (problem) {
    const given = JSON.stringify(problem.value) ?? "nothing";
    throw new ModelError(`config.json: ${problem.path || "/"} is ${given}; ${problem.message.toLowerCase()}.`);
  }
  const file = json as Static<typeof ConfigFile>;
  const rope = file.rope_parameters ?? file.rope_scaling ?? {};
  const kind = rope.rope_type ?? rope.type ?? "default";
  if (kind !== "default" && kind !== "longrope" && kind !== "su") {
    throw new ModelError(`config.json: rotary scaling ${JSON.stringify(kind)} is not known; longrope is.`);
  }
  const long = kind === "default" ? undefined : Value.Parse(LongRope, rope);
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
    longRope: long && { shortFactor: long.short_factor, longFactor: long.long_factor },
    slidingWindow: file.sliding_window ?? undefined,
    tieWordEmbeddings: file.tie_word_embeddings ?? false,
    initializerRange: file.initializer_range ?? 0.02,
    padTokenId: file.pad_token_id ?? undefined,
    bosTokenId: file.bos_token_id ?? undefined,
    eosTokenIds: Array.isArray(eos) ? eos : [eos],
  });
}

/** The settings a new model must be told; the rest has defaults. */
export type Phi3Sizes = Pick<
  Phi3Config,
  "vocabSize" | "hiddenSize" | "intermediateSize" | "numHiddenLayers" | "numAttentionHeads"
>;

/**
 * Settings with defaults filled in and checked.
 * @throws ModelError when sizes do not divide as they must
 */
export function phi3Config(given: Phi3Sizes & Partial<Phi3Config>): Phi3Config {
  const max = given.maxPositionEmbeddings ?? 4096;
  const config: Phi3Config = {
    numKeyValueHeads: given.numAttentionHeads,
    maxPositionEmbeddings: max,
    originalMaxPositionEmbeddings: max,
    rmsNormEps: 1e-5,
    ropeTheta: 10_000,
    partialRotaryFactor: 1,
    longRope: undefined,
    slidingWindow: undefined,
    tieWordEmbeddings: false,
    initializerRange: 0.02,
    padTokenId: undefined,
    bosTokenId: undefined,
    eosTokenIds: [],
    ...given,
  };
  const { hiddenSize, numAttentionHeads: heads, numKeyValueHeads: groups } = config;
  if (hiddenSize % heads !== 0 || (hiddenSize / heads) % 2 !== 0) {
    throw new ModelError(`hiddenSize ${hiddenSize} must divide into ${heads} heads of an even width.`);
  }
  if (heads % groups !== 0) {
    throw new ModelError(`${heads} attention heads do not divide over ${groups} key/value heads.`);
  }
  return config;
}

/** The settings as a `config.json` that transformers reads. */
export function toConfigFile(config: Phi3Config): Record<string, unknown> {
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
      ? { type: "longrope", short_factor: config.longRope.shortFactor, long_factor: config.longRope.longFactor }
      : null,
    sliding_window: config.slidingWindow ?? null,
    tie_word_embeddings: config.tieWordEmbeddings,
    initializer_range: config.initializerRange,
    hidden_act: "silu",
    attention_bias: false,
    attention_dropout: 0,
    embd_pdrop: 0,
    resid_pdrop: 0,
    torch_dtype: "float32",
    use_cache: true,
    pad_token_id: config.padTokenId ?? null,
    bos_token_id: config.bosTokenId ?? null,
    eos_token_id: config.eosTokenIds.length === 1 ? config.eosTokenIds[0] : config.eosTokenIds,
  };
}
