import { releaseParameters } from "../engine/index.ts";
import { assign, concat, gather, Parameter, Random, type Tensor, tensor, zeros } from "../tensor/index.ts";
import type { ChatMessage } from "../text/index.ts";
import type { CausalLM, KeyValues } from "./causal-lm.ts";
import { ModelError } from "./error.ts";
import { checkGenerateOptions } from "./generation-options.ts";

/** Options of text generation. Names follow transformers' `GenerationConfig`. */
export interface GenerateOptions {
  /** Maximum number of tokens to generate. Default 128. */
  maxNewTokens?: number;
  /** 0 always picks the most likely token; above 0, tokens are sampled from softmax(logits / temperature). Default 0. */
  temperature?: number;
  /** Sample only from the most likely tokens whose total probability reaches this, in (0, 1]. Default 1. */
  topP?: number;
  /** Sampling seed; the same seed gives the same text. Default 0. */
  seed?: number;
  /** Ids that end a text. Default: the model's and the tokenizer's ids for end of text and end of turn. */
  stopTokenIds?: readonly number[];
}

/** A generated continuation of a prompt. */
export interface Generation {
  /** The generated text, without special tokens. */
  text: string;
  /** The generated ids, including the one that ended the text. */
  ids: number[];
  /** Natural log of the probability of each generated id. */
  logProbs: number[];
}

interface Row {
  ids: number[];
  prompt: number;
  logProbs: number[];
  done: boolean;
  random: Random;
}

type Prompt = string | readonly ChatMessage[] | readonly number[];

/** Rounds a length up, so that few programs serve all prompts. */
const bucket = (n: number) => 2 ** Math.max(4, Math.ceil(Math.log2(n)));

/** Keys and values of each layer as parameters, which stay on the device between tokens. */
type Cache = { layers: { keys: Parameter; values: Parameter }[] };

/** Generates text with a cache of keys and values: after the prompt, each step computes one token per row. */
export class Generator {
  readonly #model: CausalLM;
  readonly #caches = new Map<string, Cache>();
  #queue: Promise<unknown> = Promise.resolve();

  constructor(model: CausalLM) {
    this.#model = model;
  }

  generate(prompts: readonly Prompt[], options: GenerateOptions): Promise<Generation[]> {
    // Generations share the caches, so they run one after the other.
    const result = this.#queue.then(() => this.#generate(prompts, options));
    this.#queue = result.catch(() => undefined);
    return result;
  }

  async #generate(prompts: readonly Prompt[], options: GenerateOptions): Promise<Generation[]> {
    checkGenerateOptions(options);
    const { maxNewTokens = 128, temperature = 0, topP = 1, seed = 0, stopTokenIds } = options;
    const { tokenizer, config } = this.#model;
    const stop = new Set(stopTokenIds ?? this.#model.stopTokenIds);
    const rows = prompts.map((prompt, i): Row => {
      const ids = this.#encode(prompt);
      if (ids.length === 0) throw new ModelError(`Prompt ${i} is empty.`);
      return { ids, prompt: ids.length, logProbs: [], done: false, random: new Random(seed, `generate/${i}`) };
    });
    const longest = rows.reduce((most, { ids }) => Math.max(most, ids.length), 0);
    if (longest + maxNewTokens > config.maxPositionEmbeddings) {
      throw new ModelError(
        `A prompt of ${longest} tokens plus ${maxNewTokens} new tokens exceeds the model's ${config.maxPositionEmbeddings} positions.`,
      );
    }
    if (rows.length === 0) return [];
    const capacity = Math.min(bucket(longest + maxNewTokens), config.maxPositionEmbeddings);
    const cache = this.#cache(rows.length, capacity);
    let fresh = true;
    for (let step = 0; step < maxNewTokens && rows.some(({ done }) => !done); step++) {
      const logits = fresh ? await this.#prefill(rows, cache, capacity) : await this.#next(rows, cache, capacity);
      for (const [i, row] of rows.entries()) {
        if (row.done) continue;
        const scores = logits.subarray(i * config.vocabSize, (i + 1) * config.vocabSize);
        const { id, logProb } = sample(scores, temperature, topP, row.random);
        row.ids.push(id);
        row.logProbs.push(logProb);
        row.done = stop.has(id);
      }
      // LongRoPE changes the rotation of all positions once a text exceeds the original length.
      const reach = Math.max(...rows.map(({ ids }) => ids.length));
      fresh = config.longRope !== undefined && reach === config.originalMaxPositionEmbeddings + 1;
    }
    await releaseParameters(cache.layers.flatMap(({ keys, values }) => [keys, values]));
    return rows.map(({ ids, prompt, logProbs }) => {
      const added = ids.slice(prompt);
      return { text: tokenizer.decode(added, { skipSpecialTokens: true }), ids: added, logProbs };
    });
  }

  #encode(prompt: Prompt): number[] {
    const { tokenizer } = this.#model;
    if (typeof prompt === "string") return tokenizer.encode(prompt);
    const isIds = (items: readonly (ChatMessage | number)[]): items is number[] => typeof items[0] === "number";
    if (isIds(prompt)) return [...prompt];
    const messages = prompt as readonly ChatMessage[];
    return tokenizer.encodeChat(messages, { addGenerationPrompt: true }).ids;
  }

  /** Returns an empty cache for a number of rows and a capacity. */
  #cache(batch: number, capacity: number): Cache {
    const { numHiddenLayers, numKeyValueHeads: groups, hiddenSize, numAttentionHeads } = this.#model.config;
    const shape = [batch, groups, capacity, hiddenSize / numAttentionHeads];
    const key = String(shape);
    const empty = () => new Float32Array(shape.reduce((a, b) => a * b, 1));
    const make = () => new Parameter(shape, empty, { requiresGrad: false });
    const cache = this.#caches.get(key) ?? {
      layers: Array.from({ length: numHiddenLayers }, () => ({ keys: make(), values: make() })),
    };
    this.#caches.set(key, cache);
    for (const { keys, values } of cache.layers) {
      keys.give(empty());
      values.give(empty());
    }
    return cache;
  }

  async #prefill(rows: readonly Row[], cache: Cache, capacity: number): Promise<Float32Array> {
    const model = this.#model;
    const batch = rows.length;
    const length = Math.min(bucket(Math.max(...rows.map(({ ids }) => ids.length))), capacity);
    const run = model.program(
      `reading prompts, ${batch} x ${length} tokens into ${capacity}`,
      (inputIds: Tensor, positions: Tensor, segments: Tensor, last: Tensor) => {
        const { states, keyValues } = model.decode({ inputIds, positions, segments });
        remember(cache, keyValues, capacity);
        return model.project(gather(states, last));
      },
    );
    const inputIds = new Int32Array(batch * length);
    const positions = new Int32Array(batch * length);
    const segments = new Int32Array(batch * length);
    const last = new Int32Array(batch);
    rows.forEach(({ ids }, r) => {
      inputIds.set(ids, r * length);
      // Padding comes after the text, where the causal mask hides it, and adds no positions beyond the text's.
      positions.set(
        Int32Array.from({ length: ids.length }, (_, i) => i),
        r * length,
      );
      segments.fill(1, r * length, r * length + ids.length);
      last[r] = r * length + ids.length - 1;
    });
    const shape = [batch, length];
    const logits = await run(tensor(inputIds, shape), tensor(positions, shape), tensor(segments, shape), last);
    return (await logits.data()) as Float32Array;
  }

  async #next(rows: readonly Row[], cache: Cache, capacity: number): Promise<Float32Array> {
    const model = this.#model;
    const batch = rows.length;
    const run = model.program(`generation of ${batch} texts in ${capacity}`, (inputIds: Tensor, positions: Tensor) => {
      const { states, keyValues } = model.decode({ inputIds, positions, segments: positions }, cache);
      remember(cache, keyValues, capacity);
      return model.project(states);
    });
    const inputIds = Int32Array.from(rows, ({ ids }) => ids[ids.length - 1]);
    const positions = Int32Array.from(rows, ({ ids }) => ids.length - 1);
    const logits = await run(tensor(inputIds, [batch, 1]), tensor(positions, [batch, 1]));
    return (await logits.data()) as Float32Array;
  }
}

function remember({ layers }: Cache, keyValues: readonly KeyValues[], capacity: number): void {
  for (const [i, { keys, values }] of keyValues.entries()) {
    assign(layers[i].keys, padTo(keys, capacity));
    assign(layers[i].values, padTo(values, capacity));
  }
}

function padTo(x: Tensor, capacity: number): Tensor {
  const [batch, heads, length, width] = x.shape;
  return length === capacity ? x : concat([x, zeros([batch, heads, capacity - length, width])], 2);
}

function sample(logits: Float32Array, temperature: number, topP: number, random: Random) {
  let best = 0;
  for (let i = 1; i < logits.length; i++) if (logits[i] > logits[best]) best = i;
  let total = 0;
  for (const logit of logits) total += Math.exp(logit - logits[best]);
  const logProb = (id: number) => logits[id] - logits[best] - Math.log(total);
  if (temperature === 0) return { id: best, logProb: logProb(best) };

  const order = Array.from(logits, (_, id) => id).sort((a, b) => logits[b] - logits[a]);
  const weights = order.map((id) => Math.exp((logits[id] - logits[best]) / temperature));
  const sum = weights.reduce((a, b) => a + b, 0);
  let count = 0;
  let mass = 0;
  while (count < weights.length && mass < topP * sum) mass += weights[count++];
  let draw = random.uniform() * mass;
  let chosen = 0;
  while (chosen < count - 1 && draw >= weights[chosen]) draw -= weights[chosen++];
  return { id: order[chosen], logProb: logProb(order[chosen]) };
}
