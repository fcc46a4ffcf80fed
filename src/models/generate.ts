import { concat, gather, input, Random, type Tensor, variable, zeros } from "../tensor/index.ts";
import type { ChatMessage } from "../text/index.ts";
import type { LanguageModel } from "./model.ts";
import { ModelError } from "./phi3/config.ts";
import { decode, decodeNext, type KeyValues, logitsOf } from "./phi3/network.ts";

/** How to continue a prompt. Names follow transformers' `GenerationConfig`. */
export interface GenerateOptions {
  /** Most tokens to add. Default 128. */
  maxNewTokens?: number;
  /** 0 takes the most likely token each time; above it, softmax(logits / temperature) is sampled. Default 0. */
  temperature?: number;
  /** Sample only from the most likely tokens that together reach this probability, in (0, 1]. Default 1. */
  topP?: number;
  /** Seed of the sampling; the same seed gives the same text. Default 0. */
  seed?: number;
  /** Ids that end a text. The tokenizer's end of text and end of turn when left out. */
  stopTokenIds?: readonly number[];
}

/** A continued prompt. */
export interface Generation {
  /** What was added, without special tokens. */
  text: string;
  /** Ids that were added, the one that ended it included. */
  ids: number[];
  /** Natural log of each id's probability. */
  logProbs: number[];
}

interface Row {
  ids: number[];
  prompt: number;
  logProbs: number[];
  done: boolean;
  random: Random;
}

/** Lengths are rounded up to these, so that few programs serve all prompts. */
const bucket = (n: number) => 2 ** Math.max(4, Math.ceil(Math.log2(n)));

/** Continues prompts with a cache of keys and values: after the prompt, a step computes one token a row. */
export class Generator {
  readonly #model: LanguageModel;
  #queue: Promise<unknown> = Promise.resolve();

  constructor(model: LanguageModel) {
    this.#model = model;
  }

  generate(
    prompts: readonly (string | readonly ChatMessage[] | readonly number[])[],
    options: GenerateOptions,
  ): Promise<Generation[]> {
    // The caches live in the model's state, so generations follow each other.
    const result = this.#queue.then(() => this.#generate(prompts, options));
    this.#queue = result.catch(() => undefined);
    return result;
  }

  async #generate(
    prompts: readonly (string | readonly ChatMessage[] | readonly number[])[],
    { maxNewTokens = 128, temperature = 0, topP = 1, seed = 0, stopTokenIds }: GenerateOptions,
  ): Promise<Generation[]> {
    const { tokenizer, config } = this.#model;
    const stop = new Set(stopTokenIds ?? tokenizer.stopTokenIds);
    const rows = prompts.map((prompt, i): Row => {
      const ids = this.#encode(prompt);
      if (ids.length === 0) throw new ModelError(`Prompt ${i} is empty.`);
      return { ids, prompt: ids.length, logProbs: [], done: false, random: new Random(seed, `generate/${i}`) };
    });
    const longest = Math.max(0, ...rows.map(({ ids }) => ids.length));
    if (longest + maxNewTokens > config.maxPositionEmbeddings) {
      throw new ModelError(
        `A prompt of ${longest} tokens and ${maxNewTokens} new ones exceed the model's ${config.maxPositionEmbeddings} positions.`,
      );
    }
    const capacity = Math.min(bucket(longest + maxNewTokens), config.maxPositionEmbeddings);
    let fresh = true;
    for (let step = 0; step < maxNewTokens && rows.some(({ done }) => !done); step++) {
      const logits = fresh ? await this.#prefill(rows, capacity) : await this.#next(rows, capacity);
      for (const [i, row] of rows.entries()) {
        if (row.done) continue;
        const scores = logits.subarray(i * config.vocabSize, (i + 1) * config.vocabSize);
        const { id, logProb } = choose(scores, temperature, topP, row.random);
        row.ids.push(id);
        row.logProbs.push(logProb);
        row.done = stop.has(id);
      }
      // LongRoPE turns all positions by other angles once a text outgrows the original length.
      const reach = Math.max(...rows.map(({ ids }) => ids.length));
      fresh = config.longRope !== undefined && reach === config.originalMaxPositionEmbeddings + 1;
    }
    await this.#model.state.remove(this.#cacheNames());
    return rows.map(({ ids, prompt, logProbs }) => {
      const added = ids.slice(prompt);
      return { text: tokenizer.decode(added, { skipSpecialTokens: true }), ids: added, logProbs };
    });
  }

  #encode(prompt: string | readonly ChatMessage[] | readonly number[]): number[] {
    const { tokenizer } = this.#model;
    if (typeof prompt === "string") return tokenizer.encode(prompt);
    const isIds = (items: readonly (ChatMessage | number)[]): items is number[] => typeof items[0] === "number";
    if (isIds(prompt)) return [...prompt];
    const messages = prompt as readonly ChatMessage[];
    return tokenizer.encodeChat(messages, { addGenerationPrompt: true }).ids;
  }

  async #prefill(rows: readonly Row[], capacity: number): Promise<Float32Array> {
    const model = this.#model;
    const batch = rows.length;
    const length = Math.min(bucket(Math.max(...rows.map(({ ids }) => ids.length))), capacity);
    const program = await model.program(`prefill ${batch}x${length} into ${capacity}`, () => {
      const weights = model.networkWeights();
      const shape = [batch, length];
      const { hidden, keyValues } = decode(model.config, weights, {
        inputIds: input("inputIds", shape, "int32"),
        positions: input("positions", shape, "int32"),
        segments: input("segments", shape, "int32"),
      });
      const last = gather(hidden, input("last", [batch], "int32"));
      return {
        name: `reading prompts, ${batch} x ${length} tokens`,
        outputs: { logits: logitsOf(model.config, weights, last) },
        updates: cacheUpdates(keyValues, capacity),
      };
    });
    const inputIds = new Int32Array(batch * length);
    const positions = new Int32Array(batch * length);
    const segments = new Int32Array(batch * length);
    const last = new Int32Array(batch);
    rows.forEach(({ ids }, r) => {
      inputIds.set(ids, r * length);
      // Padding follows the text, where no token of it looks, and takes no position beyond the text's own.
      positions.set(
        ids.map((_, i) => i),
        r * length,
      );
      segments.fill(1, r * length, r * length + ids.length);
      last[r] = r * length + ids.length - 1;
    });
    const { logits } = await program.run({ inputIds, positions, segments, last }, model.state);
    return logits as Float32Array;
  }

  async #next(rows: readonly Row[], capacity: number): Promise<Float32Array> {
    const model = this.#model;
    const batch = rows.length;
    const program = await model.program(`next ${batch} in ${capacity}`, () => {
      const weights = model.networkWeights();
      const { hiddenSize, numAttentionHeads, numKeyValueHeads, numHiddenLayers } = model.config;
      const shape = [batch, numKeyValueHeads, capacity, hiddenSize / numAttentionHeads];
      const caches = Array.from({ length: numHiddenLayers }, (_, layer): KeyValues => {
        return { keys: variable(cacheName(layer, "keys"), shape), values: variable(cacheName(layer, "values"), shape) };
      });
      const inputIds = input("inputIds", [batch, 1], "int32");
      const positions = input("positions", [batch, 1], "int32");
      const { hidden, keyValues } = decodeNext(model.config, weights, inputIds, positions, caches);
      return {
        name: `generation of ${batch} texts`,
        outputs: { logits: logitsOf(model.config, weights, hidden) },
        updates: cacheUpdates(keyValues, capacity),
      };
    });
    const inputIds = Int32Array.from(rows, ({ ids }) => ids[ids.length - 1]);
    const positions = Int32Array.from(rows, ({ ids }) => ids.length - 1);
    const { logits } = await program.run({ inputIds, positions }, model.state);
    return logits as Float32Array;
  }

  #cacheNames(): string[] {
    return Array.from({ length: this.#model.config.numHiddenLayers }, (_, layer) => [
      cacheName(layer, "keys"),
      cacheName(layer, "values"),
    ]).flat();
  }
}

const cacheName = (layer: number, kind: "keys" | "values") => `cache.${layer}.${kind}`;

function cacheUpdates(keyValues: readonly KeyValues[], capacity: number): Record<string, Tensor> {
  const updates: Record<string, Tensor> = {};
  keyValues.forEach(({ keys, values }, layer) => {
    updates[cacheName(layer, "keys")] = padTo(keys, capacity);
    updates[cacheName(layer, "values")] = padTo(values, capacity);
  });
  return updates;
}

function padTo(x: Tensor, capacity: number): Tensor {
  const [batch, heads, length, width] = x.shape;
  return length === capacity ? x : concat([x, zeros([batch, heads, capacity - length, width])], 2);
}

function choose(logits: Float32Array, temperature: number, topP: number, random: Random) {
  let best = 0;
  for (let i = 1; i < logits.length; i++) if (logits[i] > logits[best]) best = i;
  let total = 0;
  for (const logit of logits) total += Math.exp(logit - logits[best]);
  const logProb = (id: number) => logits[id] - logits[best] - Math.log(total);
  if (temperature === 0) return { id: best, logProb: logProb(best) };

  const order = Array.from(logits, (_, id) => id).sort((a, b) => logits[b] - logits[a]);
  const weights = order.map((id) => Math.exp((logits[id] - logits[best]) / temperature));
  const sum = weights.reduce((a, b) => a + b, 0);
  let kept = 0;
  let mass = 0;
  while (kept < weights.length && mass < topP * sum) mass += weights[kept++];
  let draw = random.uniform() * mass;
  let chosen = 0;
  while (chosen < kept - 1 && draw >= weights[chosen]) draw -= weights[chosen++];
  return { id: order[chosen], logProb: logProb(order[chosen]) };
}
