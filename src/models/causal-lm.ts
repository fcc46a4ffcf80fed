import { type Adapter, type AdapterConfig, AdapterError, attach, detach } from "../adapters/index.ts";
import type { Batch } from "../data/index.ts";
import { formatCount } from "../display/index.ts";
import {
  type Engine,
  type EngineOptions,
  type ProgramFunction,
  program,
  readParameters,
  releaseParameters,
  settleParameters,
  sharedEngine,
} from "../engine/index.ts";
import {
  CompressedWeight,
  type Embedding,
  fullWeight,
  type Linear,
  linear,
  Module,
  projectedCrossEntropy,
  type Weight,
} from "../nn/index.ts";
import { compress, openQuantizer, type Quantization } from "../quantize/index.ts";
import { argmax, concat, crossEntropy, equal, Parameter, type Tensor, tensor, where } from "../tensor/index.ts";
import type { ChatMessage, Tokenizer } from "../text/index.ts";
import { loadAdapter, saveAdapter } from "./adapter-files.ts";
import { ModelError } from "./error.ts";
import { type GenerateOptions, type Generation, Generator } from "./generate.ts";
import type { Phi3Config } from "./phi3/config.ts";
import { type SaveModelOptions, saveModel } from "./save.ts";

/** Where a model runs: a device by name, or an existing engine. */
export interface Placement extends EngineOptions {
  engine?: Engine;
}

/** Inputs of a decoder: each an int32 tensor [batch, length]. */
export interface DecoderInputs {
  inputIds: Tensor;
  positions: Tensor;
  /** Document of each token: attention stays within a document; 0 marks padding. */
  segments: Tensor;
}

/** Keys and values of one layer, each [batch, key/value heads, length, head width]. */
export interface KeyValues {
  keys: Tensor;
  values: Tensor;
}

/** Keys and values of the previous tokens; `length` is the cache's capacity. */
export interface KeyValueCache {
  layers: readonly KeyValues[];
}

/** Outputs of a decoder. */
export interface DecoderOutput {
  /** Hidden states after the last norm, float32 [batch * length, hidden]. */
  states: Tensor;
  /** Keys and values of each layer; with a cache, the cache including the new token. */
  keyValues: KeyValues[];
}

/** Options of {@link CausalLM.forward}. */
export interface ForwardOptions {
  /** int32 [batch, length]. Default 0, 1, 2, ... */
  positions?: Tensor;
  /** int32 [batch, length]: 1 for tokens, 0 for padding, which is masked in attention. */
  attentionMask?: Tensor;
  /** int32 [batch, length]: documents of rows with several packed documents. Replaces the mask. */
  segments?: Tensor;
}

/** Per-token losses of a batch. */
export interface TokenLosses {
  /** -log p of each target, 0 for tokens without one; [batch * length]. */
  losses: Float32Array;
  /** Whether the most likely token was the target. */
  correct: Uint8Array;
}

/** A language model that predicts the next token: a decoder, an output layer and a tokenizer. */
export abstract class CausalLM extends Module {
  abstract readonly config: Phi3Config;
  readonly tokenizer: Tokenizer;
  readonly placement: Placement;
  /** Content of `generation_config.json`, such as the ids that end an answer. */
  generationConfig: Record<string, unknown> = {};
  /** Folder or hub id that the model was loaded from. */
  nameOrPath: string | undefined;
  /** Id of the tracked run that last trained these weights. */
  runId: string | undefined;
  /** Seed of the initial weights; undefined for a loaded model. */
  seed: number | undefined;
  readonly #adapters = new Map<string, Adapter>();
  #active: string | undefined;
  readonly #programs = new Map<string, ProgramFunction<readonly Tensor[], unknown>>();
  #generator: Generator | undefined;

  constructor(tokenizer: Tokenizer, placement: Placement) {
    super();
    this.tokenizer = tokenizer;
    this.placement = placement;
  }

  /** Builds the graph of the decoder. */
  abstract decode(inputs: DecoderInputs, cache?: KeyValueCache): DecoderOutput;

  /** Returns the layers that are quantized, by name. */
  abstract projections(): Map<string, Linear<Weight>>;

  /** Recompute each layer's activations in the backward pass: less memory for about a third more time. */
  abstract gradientCheckpointing: boolean;

  protected abstract get inputEmbeddings(): Embedding;

  /** The output layer; undefined when it shares the embeddings' weight. */
  abstract get outputEmbeddings(): Linear<Weight> | undefined;

  /** Returns the engine that the model runs on. */
  async engine(): Promise<Engine> {
    return this.placement.engine ?? sharedEngine(this.placement);
  }

  /**
   * Returns the logits of every token. Call it inside a {@link program}.
   * @param inputIds int32 [batch, length]
   * @returns float32 [batch, length, vocabulary]
   */
  forward(inputIds: Tensor, options: ForwardOptions = {}): Tensor {
    const [batch, length] = inputIds.shape;
    const { states } = this.decode(withDefaults(inputIds, options));
    return this.project(states).reshape([batch, length, this.config.vocabSize]);
  }

  /**
   * Returns the logits of hidden states.
   * @param states float32 [n, hidden]
   * @returns float32 [n, vocabulary]
   */
  project(states: Tensor): Tensor {
    return this.outputEmbeddings?.forward(states) ?? linear(states, this.inputEmbeddings.weight);
  }

  /**
   * Returns -log p of each target, without holding all logits in memory at once.
   * @param states float32 [n, hidden], from {@link CausalLM.decode}
   * @param targets int32 [n], -100 for no target
   * @returns float32 [n]
   */
  tokenLoss(states: Tensor, targets: Tensor): Tensor {
    return projectedCrossEntropy(states, targets, (h) => this.project(h), this.config.vocabSize);
  }

  /**
   * Computes the logits of sequences; shorter ones are padded at the end.
   * @returns float32 [sequences, longest, vocabulary]
   */
  async logits(sequences: readonly (readonly number[])[]): Promise<Tensor> {
    const length = sequences.reduce((longest, { length: n }) => Math.max(longest, n), 0);
    this.#checkIds(sequences, length);
    const shape = [sequences.length, length];
    const [ids, mask] = [new Int32Array(shape[0] * length), new Int32Array(shape[0] * length)];
    for (const [row, sequence] of sequences.entries()) {
      ids.set(sequence, row * length);
      mask.fill(1, row * length, row * length + sequence.length);
    }
    const run = this.program(`logits ${shape}`, (inputIds: Tensor, attentionMask: Tensor) =>
      this.forward(inputIds, { attentionMask }),
    );
    return run(tensor(ids, shape), tensor(mask, shape));
  }

  #checkIds(sequences: readonly (readonly number[])[], length: number): void {
    const { maxPositionEmbeddings, vocabSize } = this.config;
    if (length === 0) throw new ModelError("logits needs at least one token id.");
    if (length > maxPositionEmbeddings) {
      throw new ModelError(`${length} tokens exceed the model's ${maxPositionEmbeddings} positions.`);
    }
    const wrong = sequences.flat().find((id) => !Number.isInteger(id) || id < 0 || id >= vocabSize);
    if (wrong !== undefined) throw new ModelError(`${wrong} is not a token id: ids are from 0 to ${vocabSize - 1}.`);
  }

  /** Computes the loss and correctness of each target of a batch. */
  async tokenLosses(batch: Batch): Promise<TokenLosses> {
    const shape = [batch.batch, batch.length];
    const run = this.program(
      `losses ${shape}`,
      (inputIds: Tensor, positions: Tensor, segments: Tensor, targets: Tensor) => {
        const { states } = this.decode({ inputIds, positions, segments });
        const flat = targets.reshape([targets.size]);
        // In blocks: the logits of all tokens may be larger than the model.
        const rows = Math.max(1, Math.floor(2 ** 25 / (4 * this.config.vocabSize)));
        const starts = Array.from({ length: Math.ceil(flat.size / rows) }, (_, i) => i * rows);
        const pieces = starts.map((start) => {
          const end = Math.min(start + rows, flat.size);
          const [logits, expected] = [this.project(states.slice(0, start, end)), flat.slice(0, start, end)];
          return { losses: crossEntropy(logits, expected), correct: where(equal(argmax(logits), expected), 1, 0) };
        });
        return {
          losses: concat(
            pieces.map(({ losses }) => losses),
            0,
          ),
          correct: concat(
            pieces.map(({ correct }) => correct),
            0,
          ).cast("bool"),
        };
      },
    );
    const inputs = [batch.inputIds, batch.positions, batch.segments, batch.targets];
    const [ids, positions, segments, targets] = inputs.map((values) => tensor(values, shape));
    const { losses, correct } = await run(ids, positions, segments, targets);
    return { losses: (await losses.data()) as Float32Array, correct: (await correct.data()) as Uint8Array };
  }

  /** Ids that end an answer: the model's own, and the tokenizer's end of turn. */
  get stopTokenIds(): number[] {
    const configured = this.generationConfig.eos_token_id ?? [];
    const ids = (Array.isArray(configured) ? configured : [configured]).filter(
      (id): id is number => typeof id === "number",
    );
    return [...new Set([...ids, ...this.config.eosTokenIds, ...this.tokenizer.stopTokenIds])];
  }

  /**
   * Generates continuations of prompts: texts, token ids, or chats, which are formatted by the tokenizer's template.
   * @returns one generation per prompt, in order
   */
  async generate(
    prompts: readonly (string | readonly ChatMessage[] | readonly number[])[],
    options: GenerateOptions = {},
  ): Promise<Generation[]> {
    this.#generator ??= new Generator(this);
    return this.#generator.generate(prompts, options);
  }

  /** Returns a compiled program of this model from its cache, or adds it. */
  program<A extends readonly Tensor[], R>(key: string, fn: (...args: A) => R): ProgramFunction<A, R> {
    const cached = this.#programs.get(key) ?? program(fn, { ...this.placement, name: key });
    this.#programs.set(key, cached as ProgramFunction<readonly Tensor[], unknown>);
    return cached as ProgramFunction<A, R>;
  }

  /** Counts the model's parameters, including adapters, and those that are trained. */
  override countParameters(): { total: number; trainable: number } {
    const { total, trainable } = super.countParameters();
    // A compressed matrix counts as its original number of parameters.
    let missing = 0;
    for (const { weight } of this.projections().values()) {
      if (!(weight instanceof CompressedWeight)) continue;
      missing += weight.shape[0] * weight.shape[1] - weight.parameters().reduce((sum, { size }) => sum + size, 0);
    }
    return { total: total + missing, trainable };
  }

  override initialize(seed: number): this {
    this.seed = seed;
    return super.initialize(seed);
  }

  /** The model's adapters, by name. */
  get adapters(): ReadonlyMap<string, Adapter> {
    return this.#adapters;
  }

  /** Name of the active adapter, if any. */
  get activeAdapter(): string | undefined {
    return this.#active;
  }

  /** How the projections are quantized, if they are. */
  get quantization(): string | undefined {
    for (const { weight } of this.projections().values()) {
      if (weight instanceof CompressedWeight) return weight.kind;
    }
    return undefined;
  }

  /**
   * Quantizes the projections' weights, for training an adapter on them. Saving and merging then use the rounded weights.
   * To load a quantized model from files, use the option `quantization`, which never holds the whole model in memory.
   * @param kind "nf4" (QLoRA) or "int8"
   * @throws ModelError on device "webgpu", or when the model is already quantized differently
   */
  async quantize(kind: Quantization): Promise<void> {
    if (this.quantization === kind) return;
    if (this.quantization) throw new ModelError(`The model is already quantized as ${this.quantization}.`);
    const engine = await this.engine();
    checkQuantizable(kind, engine);
    const quantizer = openQuantizer(1);
    try {
      for (const layer of this.projections().values()) {
        const weight = layer.weight as Parameter;
        const [{ data }] = await readParameters([weight]);
        const compressed = await compress(kind, weight.shape, data as Float32Array, quantizer);
        layer.weight = compressed;
        await settleParameters(engine, compressed.parameters());
        await releaseParameters([weight]);
      }
    } finally {
      await quantizer.close();
    }
    this.namedParameters();
    this.setAdapter(this.#active);
  }

  /**
   * Adds a new adapter to the model and activates it. It does not change the model's output until it is trained; training
   * updates only the adapter.
   * @param options.name name of the adapter. Default "default"
   * @param options.seed seed of its initialization. Default 0
   * @throws AdapterError when the configuration does not fit the model
   */
  async addAdapter(config: AdapterConfig, { name = "default", seed = 0 } = {}): Promise<void> {
    this.#checkName(name);
    const adapter = attach(this, name, config, this.outputName());
    try {
      for (const [path, { layer, part }] of adapter.parts) await config.start(part, path, layer, seed);
    } catch (error) {
      detach(name, adapter);
      throw error;
    }
    this.#use(name, adapter);
  }

  /**
   * Loads an adapter from a folder in PEFT's layout and activates it.
   * @param options.name name of the adapter. Default "default"
   * @throws AdapterError or ModelError when it does not fit the model
   */
  async loadAdapter(folder: string, { name = "default" } = {}): Promise<void> {
    this.#checkName(name);
    this.#use(name, await loadAdapter(this, folder, name));
  }

  #checkName(name: string): void {
    if (this.#adapters.has(name)) {
      throw new AdapterError(
        `The model already has an adapter named ${name}: choose another name, or remove it with deleteAdapter("${name}") or mergeAndUnload().`,
      );
    }
  }

  #use(name: string, adapter: Adapter): void {
    for (const { part } of adapter.parts.values()) part.train(this.training);
    this.namedParameters();
    this.#adapters.set(name, adapter);
    this.setAdapter(name);
  }

  /**
   * Sets the active adapter, which is also the one that is trained; undefined for none.
   * @throws AdapterError when there is no adapter of that name
   */
  setAdapter(name: string | undefined): void {
    const chosen = name === undefined ? undefined : this.#adapter(name);
    for (const parameter of this.parameters()) parameter.requiresGrad = chosen === undefined;
    for (const { weight } of this.projections().values()) {
      if (weight instanceof CompressedWeight) weight.requiresGrad(false);
    }
    for (const { parts } of this.#adapters.values()) {
      for (const { layer } of parts.values()) layer.activeAdapters = [];
    }
    for (const { layer, part } of chosen?.parts.values() ?? []) {
      layer.activeAdapters = [name as string];
      part.requiresGrad(true);
    }
    this.#active = name;
  }

  #adapter(name: string): Adapter {
    const adapter = this.#adapters.get(name);
    if (adapter) return adapter;
    const available = [...this.#adapters.keys()].join(", ") || "none";
    throw new AdapterError(`The model has no adapter named ${name}; it has: ${available}.`);
  }

  /** Removes an adapter and frees its weights. */
  async deleteAdapter(name: string): Promise<void> {
    const adapter = this.#adapter(name);
    if (this.#active === name) this.setAdapter(undefined);
    detach(name, adapter);
    this.#adapters.delete(name);
    await releaseParameters([...adapter.parts.values()].flatMap(({ part }) => part.parameters()));
  }

  /**
   * Merges the active adapter into the weights and removes all adapters. Quantized layers with an adapter become float32.
   * Works layer by layer, on the engine.
   */
  async mergeAndUnload(): Promise<void> {
    await mergeAdapter(this);
    for (const name of [...this.#adapters.keys()]) await this.deleteAdapter(name);
    this.setAdapter(undefined);
  }

  /** Returns the name of the output layer among the modules. */
  outputName(): string | undefined {
    const output = this.outputEmbeddings;
    return [...this.namedModules()].find(([, module]) => module === output)?.[0];
  }

  /**
   * Saves the model, with the active adapter merged, to a folder that transformers and `fromPretrained` can load. Works
   * tensor by tensor, without a second copy of the model in memory.
   * @throws ModelError when the folder has files that Anneal did not write, or cannot be written
   */
  async save(folder: string, options: SaveModelOptions = {}): Promise<void> {
    await saveModel(this, folder, options);
  }

  /**
   * Saves an adapter in PEFT's layout.
   * @param options.name name of the adapter; default: the active one
   * @param options.files other small files for the folder, by name
   */
  async saveAdapter(
    folder: string,
    { name = this.#active, files = {} }: { name?: string | undefined; files?: Readonly<Record<string, string>> } = {},
  ): Promise<void> {
    if (name === undefined) throw new AdapterError("The model has no active adapter to save.");
    await saveAdapter(folder, this.#adapter(name), this.nameOrPath ?? "", files);
  }

  /** The description that `console.log` and a cell show. */
  [Symbol.for("nodejs.util.inspect.custom")](): string {
    const { numHiddenLayers, hiddenSize, vocabSize } = this.config;
    const { total, trainable } = this.countParameters();
    const parts = [
      `${numHiddenLayers} layers of width ${hiddenSize}, ${vocabSize} tokens`,
      `${formatCount(total)} parameters, ${formatCount(trainable)} trained`,
      ...(this.quantization ? [this.quantization] : []),
      ...(this.#active === undefined ? [] : [`adapter ${this.#active}`]),
    ];
    return `${this.constructor.name}${this.nameOrPath ? ` ${this.nameOrPath}` : ""}: ${parts.join(" · ")}`;
  }

  /** Frees the weights and programs on the device. */
  async release(): Promise<void> {
    const programs = [...this.#programs.values()];
    this.#programs.clear();
    for (const compiled of programs) await compiled.release();
    await releaseParameters(this.parameters());
  }
}

/** @throws ModelError when this quantization is not supported on the engine's device */
export function checkQuantizable(kind: Quantization, { device }: Engine): void {
  if (kind !== "nf4" && kind !== "int8") {
    throw new ModelError(`quantization must be "nf4" or "int8", not ${JSON.stringify(kind)}.`);
  }
  if (device.name === "webgpu") {
    throw new ModelError(`quantization "${kind}" runs on device "cpu" only; this model is on webgpu.`);
  }
}

/** Fills in positions and segments. */
function withDefaults(inputIds: Tensor, { positions, attentionMask, segments }: ForwardOptions): DecoderInputs {
  const [batch, length] = inputIds.shape;
  const indices = Int32Array.from({ length: batch * length }, (_, i) => i % length);
  return {
    inputIds,
    positions: positions ?? tensor(indices, [batch, length]),
    segments: segments ?? attentionMask ?? tensor(new Int32Array(batch * length).fill(1), [batch, length]),
  };
}

/** Replaces the weight of each layer that has the active adapter by the merged weight. */
async function mergeAdapter(model: CausalLM): Promise<void> {
  const adapter = model.activeAdapter === undefined ? undefined : model.adapters.get(model.activeAdapter);
  const widened = new Set<string>();
  for (const [path, { layer, part }] of adapter?.parts ?? []) {
    const { weight } = layer;
    const merged = await part.merge(fullWeight(weight)).data();
    const dtype = weight instanceof Parameter ? weight.dtype : "float32";
    if (weight instanceof CompressedWeight) widened.add(weight.kind);
    const replacement = new Parameter(weight.shape, () => merged, { dtype });
    replacement.give(merged);
    replacement.path = `${path}.weight`;
    layer.weight = replacement;
    await releaseParameters(weight instanceof Parameter ? [weight] : weight.parameters());
  }
  if (widened.size === 0) return;
  const rounding = widened.has("int8")
    ? " Training in int8 also rounded the activations, which the merged layers no longer do: evaluate the model again."
    : "";
  process.stderr.write(`The merged layers are now float32; they were ${[...widened].join(" and ")}.${rounding}\n`);
}
