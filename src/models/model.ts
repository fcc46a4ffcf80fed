import { readFile } from "node:fs/promises";
import { join } from "node:path";
import type { Batch } from "../data/index.ts";
import { type CompiledProgram, type Engine, type EngineOptions, type State, sharedEngine } from "../engine/index.ts";
import { initializeLora, isTarget, type LoraConfig, loraNames, mergeLora } from "../nn/index.ts";
import {
  argmax,
  crossEntropy,
  equal,
  type HostValue,
  input,
  type QuantizedWeight,
  Random,
  type Tensor,
  variable,
  where,
} from "../tensor/index.ts";
import { type ChatMessage, Tokenizer } from "../text/index.ts";
import { adapterFiles, parseAdapterConfig } from "./adapter.ts";
import { encodeSafetensors, type Files, readSafetensors, verifyFolder, writeFolder } from "./files/index.ts";
import { type GenerateOptions, type Generation, Generator } from "./generate.ts";
import {
  ModelError,
  type Phi3Config,
  type Phi3Sizes,
  parsePhi3Config,
  phi3Config,
  toConfigFile,
} from "./phi3/config.ts";
import { decode, logitsOf, type NetworkWeights, parameterShapes, projections } from "./phi3/network.ts";
import { type Quantization, quantizedNames, quantizedVariables, quantizeWeight, restoreWeight } from "./quantize.ts";

/** What a model runs on: a device by name, or an engine that is open already. */
export interface PlacementOptions extends EngineOptions {
  engine?: Engine;
}

const place = ({ engine, device, threads }: PlacementOptions): Promise<Engine> | Engine =>
  engine ?? sharedEngine({ ...(device ? { device } : {}), ...(threads ? { threads } : {}) });

/** A LoRA adapter's settings, the defaults of {@link LanguageModel.addAdapter} filled in. */
export type AdapterOptions = Partial<LoraConfig>;

/** Losses of a batch, token by token. */
export interface TokenLosses {
  /** -log p of each target, 0 where there is none; [batch * length]. */
  losses: Float32Array;
  /** Whether the most likely token was the target. */
  correct: Uint8Array;
}

/**
 * A causal language model of the Phi-3 family: its settings, tokenizer and weights, which live on the engine's device.
 *
 * @example
 * const model = await LanguageModel.load("models/phi-3-mini");
 * const [{ text }] = await model.generate(["What does Array.prototype.flat do?"]);
 */
export class LanguageModel {
  readonly config: Phi3Config;
  readonly tokenizer: Tokenizer;
  readonly engine: Engine;
  readonly state: State;
  /** The adapter in use, if any; its weights are trained while the model's own stay as they are. */
  adapter: LoraConfig | undefined;
  /** How the projections' frozen weights are kept; undefined for float32. See {@link LanguageModel.quantize}. */
  quantization: Quantization | undefined;
  /** Id of the tracked run that trained these weights last. */
  runId: string | undefined;
  /** Seed of the weights it began with; undefined for a model that was loaded. */
  seed: number | undefined;
  readonly #programs = new Map<string, Promise<CompiledProgram>>();
  #generator: Generator | undefined;

  private constructor(config: Phi3Config, tokenizer: Tokenizer, engine: Engine) {
    this.config = config;
    this.tokenizer = tokenizer;
    this.engine = engine;
    this.state = engine.createState();
  }

  /**
   * A new model with random weights: normal with deviation `initializerRange`, norms 1.
   * @param options.seed whole number; the same seed gives the same weights on every machine
   * @param options.device "auto" (the default), "cpu" or "webgpu"
   */
  static async create(
    options: {
      config: Omit<Phi3Sizes, "vocabSize"> & Partial<Phi3Config>;
      tokenizer: Tokenizer;
      seed: number;
    } & PlacementOptions,
  ): Promise<LanguageModel> {
    const { tokenizer } = options;
    const config = phi3Config({
      vocabSize: tokenizer.vocabSize,
      padTokenId: tokenizer.padTokenId,
      eosTokenIds: tokenizer.eosTokenId === undefined ? [] : [tokenizer.eosTokenId],
      ...options.config,
    });
    const model = new LanguageModel(config, tokenizer, await place(options));
    for (const [name, shape] of parameterShapes(config)) {
      const size = shape.reduce((a, b) => a * b, 1);
      const data = name.includes("norm.weight")
        ? new Float32Array(size).fill(1)
        : new Random(options.seed, `init/${name}`).normal(size, config.initializerRange);
      await model.state.write({ [name]: { dtype: "float32", shape, data } }, { transfer: true });
    }
    model.seed = options.seed;
    return model;
  }

  /**
   * Read a model from a folder in Hugging Face's layout.
   * @param options.adapter folder of a LoRA adapter in PEFT's layout, put on top
   * @param options.device "auto" (the default), "cpu" or "webgpu"
   * @param options.quantization "int8" keeps the projections in 8 bits, for training an adapter on them
   * @throws ModelError when a file is missing, cut short, or does not fit the settings
   */
  static async load(
    folder: string,
    options: { adapter?: string; tokenizer?: Tokenizer; quantization?: Quantization } & PlacementOptions = {},
  ): Promise<LanguageModel> {
    await verifyFolder(folder);
    const config = parsePhi3Config(await readJson(join(folder, "config.json")));
    const tokenizer = options.tokenizer ?? (await Tokenizer.load(folder));
    const model = new LanguageModel(config, tokenizer, await place(options));
    const tensors = await readSafetensors(join(folder, "model.safetensors"));
    await model.setWeights(tensors);
    if (options.quantization) await model.quantize(options.quantization);
    if (options.adapter !== undefined) await model.loadAdapter(options.adapter);
    return model;
  }

  /** Shapes of all parameters, the adapter's included, by name. */
  parameterShapes(): Map<string, readonly number[]> {
    const shapes = parameterShapes(this.config);
    if (!this.adapter) return shapes;
    for (const module of this.adaptedModules()) {
      const [out, width] = shapes.get(`${module}.weight`) as number[];
      const names = loraNames(module);
      shapes.set(names.a, [this.adapter.r, width]);
      shapes.set(names.b, [out, this.adapter.r]);
      if (this.adapter.useDora) shapes.set(names.magnitude, [out]);
    }
    return shapes;
  }

  /** Names of the parameters that training changes: the adapter's if there is one, else all. */
  trainableNames(): string[] {
    const all = [...this.parameterShapes().keys()];
    return this.adapter ? all.filter((name) => name.startsWith("base_model.")) : all;
  }

  /** How many numbers the model has, and how many of them training changes. */
  countParameters(): { total: number; trainable: number } {
    const shapes = this.parameterShapes();
    const count = (names: Iterable<string>) =>
      [...names].reduce((sum, name) => sum + (shapes.get(name) ?? []).reduce((a, b) => a * b, 1), 0);
    return { total: count(shapes.keys()), trainable: count(this.trainableNames()) };
  }

  /** Projections that carry the adapter. */
  adaptedModules(): string[] {
    const { adapter } = this;
    return adapter ? projections(this.config).filter((module) => isTarget(module, adapter)) : [];
  }

  /**
   * Put a new LoRA adapter on the projections. The model's answers do not change until it is trained.
   * @param options PEFT's names; r 16, loraAlpha 32, all four projections when left out
   */
  async addAdapter(options: AdapterOptions = {}, seed = 0): Promise<void> {
    if (this.adapter) throw new ModelError("The model has an adapter already; merge() it first.");
    const config = checkLora({
      r: 16,
      loraAlpha: 32,
      targetModules: ["qkv_proj", "o_proj", "gate_up_proj", "down_proj"],
      ...options,
    });
    const modules = projections(this.config).filter((module) => isTarget(module, config));
    if (modules.length === 0) {
      throw new ModelError(
        `No projection is named ${config.targetModules.join(" or ")}; there are qkv_proj, o_proj, gate_up_proj and down_proj.`,
      );
    }
    const weights = await this.weights(modules.map((module) => `${module}.weight`));
    for (const module of modules) {
      await this.state.write(initializeLora(module, weights[`${module}.weight`], config, seed));
    }
    this.adapter = config;
    await this.#forgetPrograms();
  }

  /**
   * Read a LoRA adapter from a folder in PEFT's layout.
   * @throws ModelError when it does not fit the model
   */
  async loadAdapter(folder: string): Promise<void> {
    if (this.adapter) throw new ModelError("The model has an adapter already; merge() it first.");
    await verifyFolder(folder);
    this.adapter = parseAdapterConfig(await readJson(join(folder, "adapter_config.json")));
    await this.#forgetPrograms();
    try {
      await this.setWeights(await readSafetensors(join(folder, "adapter_model.safetensors")), this.trainableNames());
    } catch (error) {
      this.adapter = undefined;
      throw error;
    }
  }

  /**
   * Keep the projections' weights in 8 bits, a scale a row: half of their memory, and products some three times as fast
   * on processors that multiply bytes (VNNI, Arm's dot products). They can then no longer be trained themselves, only an
   * adapter on top (QLoRA, Dettmers et al. 2023); what is saved or merged later are the rounded weights.
   * @throws ModelError on a device other than the CPU
   */
  async quantize(quantization: Quantization = "int8"): Promise<void> {
    if (quantization !== "int8") throw new ModelError(`quantization must be "int8", not "${String(quantization)}".`);
    if (this.quantization) return;
    if (this.engine.device.name !== "cpu") {
      throw new ModelError(
        `quantization "int8" runs on device "cpu" only; this model is on ${this.engine.device.name}.`,
      );
    }
    for (const name of this.#projectionWeights()) {
      const { [name]: weight } = await this.state.read([name]);
      await this.state.write(quantizeWeight(name, weight), { transfer: true });
      await this.state.remove([name]);
    }
    this.quantization = quantization;
    await this.#forgetPrograms();
  }

  #projectionWeights(): string[] {
    return projections(this.config).map((module) => `${module}.weight`);
  }

  /** Fold the adapter into the weights; the model then is an ordinary one again, in float32. */
  async merge(): Promise<void> {
    await this.state.write(await this.mergedWeights());
    await this.state.remove(this.adapter ? this.trainableNames() : []);
    if (this.quantization) {
      await this.state.remove(this.#projectionWeights().flatMap((name) => Object.values(quantizedNames(name))));
    }
    this.adapter = undefined;
    this.quantization = undefined;
    await this.#forgetPrograms();
  }

  /** The weights with the adapter folded in; the model itself stays as it is. */
  async mergedWeights(): Promise<Record<string, HostValue>> {
    const values = await this.weights();
    const result = Object.fromEntries(Object.entries(values).filter(([name]) => !name.startsWith("base_model.")));
    for (const module of this.adaptedModules()) {
      const name = `${module}.weight`;
      if (this.adapter) result[name] = mergeLora(module, values[name], this.adapter, values);
    }
    return result;
  }

  /** A copy of the parameters, in float32 whatever they are kept as. */
  async weights(names: readonly string[] = [...this.parameterShapes().keys()]): Promise<Record<string, HostValue>> {
    const quantized = new Set(this.quantization ? this.#projectionWeights() : []);
    const values = await this.state.read(names.filter((name) => !quantized.has(name)));
    const result: Record<string, HostValue> = {};
    for (const name of names) {
      const { values: bytes, scale } = quantizedNames(name);
      result[name] = quantized.has(name) ? restoreWeight(name, await this.state.read([bytes, scale])) : values[name];
    }
    return result;
  }

  /**
   * Replace parameters.
   * @throws ModelError when one is missing or has another shape than the settings say
   */
  async setWeights(
    values: Readonly<Record<string, HostValue>>,
    names: readonly string[] = [...parameterShapes(this.config).keys()],
  ): Promise<void> {
    const shapes = this.parameterShapes();
    const chosen: Record<string, HostValue> = {};
    for (const name of names) {
      const value = values[name];
      const shape = shapes.get(name);
      if (!value) throw new ModelError(`The weights lack ${name}.`);
      if (String(value.shape) !== String(shape)) {
        throw new ModelError(`${name} has shape [${value.shape}]; the settings ask for [${shape}].`);
      }
      if (this.quantization && this.#projectionWeights().includes(name)) {
        Object.assign(chosen, quantizeWeight(name, value));
      } else {
        chosen[name] = value;
      }
    }
    await this.state.write(chosen);
  }

  /** The model's files in Hugging Face's layout, the adapter folded in. */
  async files(): Promise<Files> {
    return {
      "config.json": JSON.stringify(toConfigFile(this.config), null, 2),
      "model.safetensors": encodeSafetensors(await this.mergedWeights()),
      ...this.tokenizer.files(),
    };
  }

  /** The adapter's files in PEFT's layout. */
  async adapterFiles(baseModel = ""): Promise<Files> {
    if (!this.adapter) throw new ModelError("The model has no adapter.");
    return adapterFiles(this.adapter, baseModel, await this.weights(this.trainableNames()));
  }

  /** Write the model to a folder that transformers, ONNX exporters and {@link LanguageModel.load} read. */
  async save(folder: string): Promise<void> {
    await writeFolder(folder, await this.files());
  }

  /** How the network gets at the weights while a program is built. */
  networkWeights(): NetworkWeights {
    const shapes = this.parameterShapes();
    const leaves = new Map<string, Tensor>();
    const parameter = (name: string): Tensor => {
      const shape = shapes.get(name);
      if (!shape) throw new ModelError(`The model has no parameter ${name}.`);
      const leaf = leaves.get(name) ?? variable(name, shape);
      leaves.set(name, leaf);
      return leaf;
    };
    const projected = new Set(this.quantization ? this.#projectionWeights() : []);
    const bytes = new Map<string, QuantizedWeight>();
    const quantized = (name: string): QuantizedWeight | undefined => {
      if (!projected.has(name)) return undefined;
      const weight = bytes.get(name) ?? quantizedVariables(name, shapes.get(name) ?? []);
      bytes.set(name, weight);
      return weight;
    };
    return { parameter, quantized, lora: this.adapter };
  }

  /** Loss and correctness of each target of a batch, without training. */
  async tokenLosses(batch: Batch): Promise<TokenLosses> {
    const program = await this.program(`losses ${batch.batch}x${batch.length}`, () => {
      const { logits, targets } = this.buildLogits(batch.batch, batch.length);
      const correct = where(equal(argmax(logits), targets), 1, 0).cast("bool");
      return {
        name: `the losses of ${batch.batch} x ${batch.length} tokens`,
        outputs: { losses: crossEntropy(logits, targets), correct },
      };
    });
    const { losses, correct } = await program.run(batchInputs(batch), this.state);
    return { losses: losses as Float32Array, correct: correct as Uint8Array };
  }

  /** The network over a batch, as graph: logits [batch * length, vocabulary] and the targets' input. */
  buildLogits(batch: number, length: number, weights = this.networkWeights()) {
    const shape = [batch, length];
    const states = decode(this.config, weights, {
      inputIds: input("inputIds", shape, "int32"),
      positions: input("positions", shape, "int32"),
      segments: input("segments", shape, "int32"),
    });
    return {
      logits: logitsOf(this.config, weights, states.hidden),
      targets: input("targets", [batch * length], "int32"),
    };
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

  /** A program of this model, compiled at its first use and kept until the adapter changes. */
  async program(key: string, build: () => Parameters<Engine["compile"]>[0]): Promise<CompiledProgram> {
    const known = this.#programs.get(key);
    if (known) return known;
    const compiled = this.engine.compile(build());
    this.#programs.set(key, compiled);
    return compiled;
  }

  /** Free the weights and programs on the device. */
  async release(): Promise<void> {
    await this.#forgetPrograms();
    await this.state.release();
  }

  async #forgetPrograms(): Promise<void> {
    const programs = [...this.#programs.values()];
    this.#programs.clear();
    for (const program of programs) await (await program).release();
  }
}

/** A batch as the inputs of a program built by {@link LanguageModel.buildLogits}. */
export function batchInputs({ inputIds, positions, segments, targets }: Batch) {
  return { inputIds, positions, segments, targets };
}

function checkLora(config: LoraConfig): LoraConfig {
  if (!Number.isInteger(config.r) || config.r < 1) throw new ModelError(`LoRA's r must be 1 or more, not ${config.r}.`);
  if (!(config.loraAlpha > 0)) throw new ModelError(`loraAlpha must be above 0, not ${config.loraAlpha}.`);
  return config;
}

async function readJson(path: string): Promise<unknown> {
  const text = await readFile(path, "utf8").catch(() => {
    throw new ModelError(`There is no file ${path}.`);
  });
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new ModelError(`${path} is no JSON: ${(error as Error).message}`);
  }
}
