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

/** What a model runs on: a device by name, or an engine that is open already. */
export interface Placement extends EngineOptions {
  engine?: Engine;
}

/** What a decoder reads: every tensor int32 [batch, length]. */
export interface DecoderInputs {
  inputIds: Tensor;
  positions: Tensor;
  /** Which document a token belongs to: tokens see only their own; 0 stands for padding. */
  segments: Tensor;
}

/** Keys and values of one layer, [batch, key/value heads, length, head width] each. */
export interface KeyValues {
  keys: Tensor;
  values: Tensor;
}

/** Keys and values of the tokens so far; `length` is the cache's capacity. */
export interface KeyValueCache {
  layers: readonly KeyValues[];
}

/** What a decoder gives. */
export interface DecoderOutput {
  /** After the last norm, float32 [batch * length, hidden]. */
  states: Tensor;
  /** Of each layer; with a cache, the cache with the new token in it. */
  keyValues: KeyValues[];
}

/** What {@link CausalLM.forward} may be told besides the ids. */
export interface ForwardOptions {
  /** int32 [batch, length]; 0, 1, 2, ... when left out. */
  positions?: Tensor;
  /** int32 [batch, length], 1 for tokens and 0 for padding, which no token sees. */
  attentionMask?: Tensor;
  /** int32 [batch, length]: documents packed into one row see only themselves. Takes the place of the mask. */
  segments?: Tensor;
}

/** Losses of a batch, token by token. */
export interface TokenLosses {
  /** -log p of each target, 0 where there is none; [batch * length]. */
  losses: Float32Array;
  /** Whether the most likely token was the target. */
  correct: Uint8Array;
}

/** A language model that predicts the next token: a decoder, an output layer, a tokenizer. */
export abstract class CausalLM extends Module {
  abstract readonly config: Phi3Config;
  readonly tokenizer: Tokenizer;
  readonly placement: Placement;
  /** The content of `generation_config.json`: which tokens end an answer, among others. */
  generationConfig: Record<string, unknown> = {};
  /** What the weights were read as: a folder or a hub id. */
  nameOrPath: string | undefined;
  /** Id of the tracked run that trained these weights last. */
  runId: string | undefined;
  /** Seed of the weights it began with; undefined for a model that was loaded. */
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

  /** Build the graph of the decoder. */
  abstract decode(inputs: DecoderInputs, cache?: KeyValueCache): DecoderOutput;

  /** The layers that are quantised. */
  abstract projections(): Map<string, Linear<Weight>>;

  /** Compute each layer's inner values again in the backward pass: less memory for about a third more time. */
  abstract gradientCheckpointing: boolean;

  protected abstract get inputEmbeddings(): Embedding;

  /** The output layer; undefined where it is the table of the embeddings. */
  abstract get outputEmbeddings(): Linear<Weight> | undefined;

  /** The engine that it runs on. */
  async engine(): Promise<Engine> {
    return this.placement.engine ?? sharedEngine(this.placement);
  }

  /**
   * Logits of every token, for use inside of a {@link program}.
   * @param inputIds int32 [batch, length]
   * @returns float32 [batch, length, vocabulary]
   */
  forward(inputIds: Tensor, options: ForwardOptions = {}): Tensor {
    const [batch, length] = inputIds.shape;
    const { states } = this.decode(withDefaults(inputIds, options));
    return this.project(states).reshape([batch, length, this.config.vocabSize]);
  }

  /**
   * Logits of hidden states.
   * @param states float32 [n, hidden]
   * @returns float32 [n, vocabulary]
   */
  project(states: Tensor): Tensor {
    return this.outputEmbeddings?.forward(states) ?? linear(states, this.inputEmbeddings.weight);
  }

  /**
   * -log p of each target, without ever holding all logits.
   * @param states float32 [n, hidden], from {@link CausalLM.decode}
   * @param targets int32 [n], -100 where there is none
   * @returns float32 [n]
   */
  tokenLoss(states: Tensor, targets: Tensor): Tensor {
    return projectedCrossEntropy(states, targets, (h) => this.project(h), this.config.vocabSize);
  }

  /**
   * Compute the logits of sequences; shorter ones are padded at the end.
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
    if (length === 0) throw new ModelError("There are no token ids to compute logits of.");
    if (length > maxPositionEmbeddings) {
      throw new ModelError(`${length} tokens exceed the model's ${maxPositionEmbeddings} positions.`);
    }
    const wrong = sequences.flat().find((id) => !Number.isInteger(id) || id < 0 || id >= vocabSize);
    if (wrong !== undefined) throw new ModelError(`${wrong} is no token id: they go from 0 to ${vocabSize - 1}.`);
  }

  /** Loss and correctness of each target of a batch, without training. */
  async tokenLosses(batch: Batch): Promise<TokenLosses> {
    const shape = [batch.batch, batch.length];
    const run = this.program(
      `losses ${shape}`,
      (inputIds: Tensor, positions: Tensor, segments: Tensor, targets: Tensor) => {
        const { states } = this.decode({ inputIds, positions, segments });
        const flat = targets.reshape([targets.size]);
        // In pieces: the logits of all tokens may be larger than the model.
        const rows = Math.max(1, Math.floor(2 ** 25 / (4 * this.config.vocabSize)));
        const starts = Array.from({ length: Math.ceil(flat.size / rows) }, (_, i) => i * rows);
        const pieces = starts.map((start) => {
          const end = Math.min(start + rows, flat.size);
          const [logits, wanted] = [this.project(states.slice(0, start, end)), flat.slice(0, start, end)];
          return { losses: crossEntropy(logits, wanted), correct: where(equal(argmax(logits), wanted), 1, 0) };
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
    const given = [batch.inputIds, batch.positions, batch.segments, batch.targets];
    const [ids, positions, segments, targets] = given.map((values) => tensor(values, shape));
    const { losses, correct } = await run(ids, positions, segments, targets);
    return { losses: (await losses.data()) as Float32Array, correct: (await correct.data()) as Uint8Array };
  }

  /** Ids at which an answer ends: the model's own, and the tokenizer's end of a turn. */
  get stopTokenIds(): number[] {
    const own = this.generationConfig.eos_token_id ?? [];
    const listed = (Array.isArray(own) ? own : [own]).filter((id): id is number => typeof id === "number");
    return [...new Set([...listed, ...this.config.eosTokenIds, ...this.tokenizer.stopTokenIds])];
  }

  /**
   * Continue prompts: text as it is, or chats by the tokenizer's template.
   * @returns one generation for each prompt, in order
   */
  async generate(
    prompts: readonly (string | readonly ChatMessage[] | readonly number[])[],
    options: GenerateOptions = {},
  ): Promise<Generation[]> {
    this.#generator ??= new Generator(this);
    return this.#generator.generate(prompts, options);
  }

  /** A program of this model that is compiled once and kept. */
  program<A extends readonly Tensor[], R>(key: string, fn: (...args: A) => R): ProgramFunction<A, R> {
    const known = this.#programs.get(key) ?? program(fn, { ...this.placement, name: key });
    this.#programs.set(key, known as ProgramFunction<readonly Tensor[], unknown>);
    return known as ProgramFunction<A, R>;
  }

  /** How many numbers the model has, its adapters' included, and how many of them are trained. */
  override countParameters(): { total: number; trainable: number } {
    const { total, trainable } = super.countParameters();
    // A compressed matrix stands for as many numbers as it had.
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

  /** The adapters on this model, by name. */
  get adapters(): ReadonlyMap<string, Adapter> {
    return this.#adapters;
  }

  /** The name of the adapter in use; undefined when the model answers without one. */
  get activeAdapter(): string | undefined {
    return this.#active;
  }

  /** How the projections are compressed; undefined for those that are not. */
  get quantization(): string | undefined {
    for (const { weight } of this.projections().values()) {
      if (weight instanceof CompressedWeight) return weight.kind;
    }
    return undefined;
  }

  /**
   * Keep the projections' weights in fewer bits, for training an adapter on them. What is saved or merged later are the
   * rounded weights. A model that is read from files is better loaded with `quantization`, which never holds the whole.
   * @param kind "nf4" (QLoRA) or "int8"
   * @throws ModelError on device "webgpu", or when it is quantised otherwise already
   */
  async quantize(kind: Quantization): Promise<void> {
    if (this.quantization === kind) return;
    if (this.quantization) throw new ModelError(`The model is quantised already: as ${this.quantization}.`);
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
   * Put a new adapter on the model and use it. The answers do not change until it is trained; training changes the adapter
   * alone.
   * @param options.name of the adapter. Default "default"
   * @param options.seed of its first values. Default 0
   * @throws AdapterError when the settings do not fit the model
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
   * Read an adapter from a folder in PEFT's layout, and use it.
   * @param options.name of the adapter. Default "default"
   * @throws AdapterError or ModelError when it does not fit the model
   */
  async loadAdapter(folder: string, { name = "default" } = {}): Promise<void> {
    this.#checkName(name);
    this.#use(name, await loadAdapter(this, folder, name));
  }

  #checkName(name: string): void {
    if (this.#adapters.has(name)) {
      throw new AdapterError(
        `The model has an adapter named ${name} already: give the new one another name, or take it off by deleteAdapter("${name}") or mergeAndUnload().`,
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
   * Choose the adapter in use; undefined for none. What it is trained with is what is in use.
   * @throws AdapterError when there is none of that name
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
    const found = this.#adapters.get(name);
    if (found) return found;
    const known = [...this.#adapters.keys()].join(", ") || "none";
    throw new AdapterError(`The model has no adapter named ${name}; it has ${known}.`);
  }

  /** Take an adapter off and free its weights. */
  async deleteAdapter(name: string): Promise<void> {
    const adapter = this.#adapter(name);
    if (this.#active === name) this.setAdapter(undefined);
    detach(name, adapter);
    this.#adapters.delete(name);
    await releaseParameters([...adapter.parts.values()].flatMap(({ part }) => part.parameters()));
  }

  /**
   * Fold the adapter in use into the weights and take all adapters off: the model is an ordinary one again. A quantised
   * layer that carries it becomes float32. Works layer by layer, on the engine.
   */
  async mergeAndUnload(): Promise<void> {
    await mergeAdapter(this);
    for (const name of [...this.#adapters.keys()]) await this.deleteAdapter(name);
    this.setAdapter(undefined);
  }

  /** Name of the output layer among the modules. */
  outputName(): string | undefined {
    const output = this.outputEmbeddings;
    return [...this.namedModules()].find(([, module]) => module === output)?.[0];
  }

  /**
   * Write the model to a folder that transformers and `fromPretrained` read, with the adapter in use folded in. Tensor by
   * tensor: nothing is held twice.
   * @throws ModelError when the folder holds anything that Anneal did not write, or cannot be written
   */
  async save(folder: string, options: SaveModelOptions = {}): Promise<void> {
    await saveModel(this, folder, options);
  }

  /**
   * Write an adapter alone, in PEFT's layout.
   * @param options.name which; the one in use when left out
   * @param options.files other small files for the folder, by name
   */
  async saveAdapter(
    folder: string,
    { name = this.#active, files = {} }: { name?: string | undefined; files?: Readonly<Record<string, string>> } = {},
  ): Promise<void> {
    if (name === undefined) throw new AdapterError("The model uses no adapter that could be saved.");
    await saveAdapter(folder, this.#adapter(name), this.nameOrPath ?? "", files);
  }

  /** What `console.log` and a cell show. */
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

  /** Free the weights and programs on the device. */
  async release(): Promise<void> {
    const programs = [...this.#programs.values()];
    this.#programs.clear();
    for (const one of programs) await one.release();
    await releaseParameters(this.parameters());
  }
}

/** @throws ModelError when weights of this kind cannot be used there */
export function checkQuantizable(kind: Quantization, { device }: Engine): void {
  if (kind !== "nf4" && kind !== "int8") {
    throw new ModelError(`quantization must be "nf4" or "int8", not ${JSON.stringify(kind)}.`);
  }
  if (device.name === "webgpu") {
    throw new ModelError(`quantization "${kind}" runs on device "cpu" only; this model is on webgpu.`);
  }
}

/** Positions and segments filled in. */
function withDefaults(inputIds: Tensor, { positions, attentionMask, segments }: ForwardOptions): DecoderInputs {
  const [batch, length] = inputIds.shape;
  const counted = Int32Array.from({ length: batch * length }, (_, i) => i % length);
  return {
    inputIds,
    positions: positions ?? tensor(counted, [batch, length]),
    segments: segments ?? attentionMask ?? tensor(new Int32Array(batch * length).fill(1), [batch, length]),
  };
}

/** Give each layer that carries the adapter in use the weight that does the same without it. */
async function mergeAdapter(model: CausalLM): Promise<void> {
  const adapter = model.activeAdapter === undefined ? undefined : model.adapters.get(model.activeAdapter);
  const widened = new Set<string>();
  for (const [path, { layer, part }] of adapter?.parts ?? []) {
    const { weight } = layer;
    const merged = await part.merge(fullWeight(weight)).data();
    const dtype = weight instanceof Parameter ? weight.dtype : "float32";
    if (weight instanceof CompressedWeight) widened.add(weight.kind);
    const fresh = new Parameter(weight.shape, () => merged, { dtype });
    fresh.give(merged);
    fresh.path = `${path}.weight`;
    layer.weight = fresh;
    await releaseParameters(weight instanceof Parameter ? [weight] : weight.parameters());
  }
  if (widened.size === 0) return;
  const rounding = widened.has("int8")
    ? " In int8 the activations were rounded in training as well, which the merged layers no longer do: measure the model again."
    : "";
  process.stderr.write(
    `The merged layers are in float32 now; they were kept in ${[...widened].join(" and ")}.${rounding}\n`,
  );
}
