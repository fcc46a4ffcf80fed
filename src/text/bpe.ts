// Implemented here because no JavaScript package trains tokenizers; the official one only runs them.

/** Options of BPE training. */
export interface BpeOptions {
  /** Number of ids, including the 256 bytes and the special tokens. */
  vocabSize: number;
}

const specialTokens = ["<|endoftext|>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>"];

const chatTemplate =
  "{% for message in messages %}{{ '<|' + message['role'] + '|>\n' + message['content'] + '<|end|>\n' }}{% endfor %}" +
  "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% else %}{{ eos_token }}{% endif %}";

/** Splits text into words before merging, by GPT-2's rule (`ByteLevel` in the file). */
const words = /'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+/gu;

/** Returns the printable character for each byte in a byte-level vocabulary (GPT-2's table). */
function byteCharacters(): string[] {
  const printable = (b: number) => (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
  let next = 256;
  return Array.from({ length: 256 }, (_, b) => String.fromCodePoint(printable(b) ? b : next++));
}

interface Word {
  ids: number[];
  count: number;
}

/**
 * Learns merges from texts, most frequent pair first. Ties go to the pair with the smaller ids, so that the result is
 * deterministic.
 * @returns the contents of `tokenizer.json` and `tokenizer_config.json`
 * @throws RangeError when the vocabulary is too small for the bytes and the special tokens
 */
export function trainBpe(texts: Iterable<string>, { vocabSize }: BpeOptions) {
  const smallest = 256 + specialTokens.length;
  if (!Number.isInteger(vocabSize) || vocabSize < smallest) {
    throw new RangeError(`vocabSize must be an integer of at least ${smallest}, not ${vocabSize}`);
  }
  const tokens = byteCharacters();
  const targetSize = vocabSize - specialTokens.length;
  const vocabulary = countWords(texts);
  const pairs = new PairCounts(vocabulary);
  const merges: [string, string][] = [];
  while (tokens.length < targetSize) {
    const best = pairs.mostFrequent();
    if (!best) break; // The texts have no more pairs to merge.
    const [left, right] = best;
    merges.push([tokens[left], tokens[right]]);
    pairs.merge(left, right, tokens.length);
    tokens.push(tokens[left] + tokens[right]);
  }
  const added = specialTokens.map((content, i) => ({
    id: tokens.length + i,
    content,
    single_word: false,
    lstrip: false,
    rstrip: false,
    normalized: false,
    special: true,
  }));
  return {
    tokenizer: {
      version: "1.0",
      truncation: null,
      padding: null,
      added_tokens: added,
      normalizer: null,
      pre_tokenizer: { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: true },
      post_processor: null,
      decoder: { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: true },
      model: {
        type: "BPE",
        dropout: null,
        unk_token: null,
        continuing_subword_prefix: null,
        end_of_word_suffix: null,
        fuse_unk: false,
        byte_fallback: false,
        ignore_merges: false,
        vocab: Object.fromEntries([...tokens, ...specialTokens].map((token, id) => [token, id])),
        merges,
      },
    },
    config: {
      tokenizer_class: "PreTrainedTokenizerFast",
      eos_token: "<|endoftext|>",
      pad_token: "<|endoftext|>",
      bos_token: null,
      unk_token: null,
      model_max_length: 4096,
      clean_up_tokenization_spaces: false,
      chat_template: chatTemplate,
    },
  };
}

function countWords(texts: Iterable<string>): Word[] {
  const counts = new Map<string, number>();
  for (const text of texts) for (const [word] of text.matchAll(words)) counts.set(word, (counts.get(word) ?? 0) + 1);
  const encoder = new TextEncoder();
  return [...counts].map(([word, count]) => ({ ids: [...encoder.encode(word)], count }));
}

/** Counts adjacent pairs in the words, updated as pairs are merged. */
class PairCounts {
  readonly #words: Word[];
  readonly #counts = new Map<number, number>();
  readonly #where = new Map<number, Set<number>>();

  constructor(words: Word[]) {
    this.#words = words;
    for (const i of words.keys()) this.#count(i, 1);
  }

  mostFrequent(): [number, number] | undefined {
    let best = -1;
    let highest = 1; // A pair that occurs once is not merged.
    for (const [pair, count] of this.#counts) {
      if (count > highest || (count === highest && best !== -1 && pair < best)) {
        best = pair;
        highest = count;
      }
    }
    return best === -1 ? undefined : [Math.floor(best / pairBase), best % pairBase];
  }

  merge(left: number, right: number, id: number): void {
    const pair = left * pairBase + right;
    for (const i of this.#where.get(pair) ?? []) {
      this.#count(i, -1);
      const { ids } = this.#words[i];
      const merged: number[] = [];
      for (let j = 0; j < ids.length; j++) {
        const hit = ids[j] === left && ids[j + 1] === right;
        merged.push(hit ? id : ids[j]);
        if (hit) j++;
      }
      this.#words[i].ids = merged;
      this.#count(i, 1);
    }
    this.#counts.delete(pair);
    this.#where.delete(pair);
  }

  #count(word: number, sign: 1 | -1): void {
    const { ids, count } = this.#words[word];
    for (let j = 0; j + 1 < ids.length; j++) {
      const pair = ids[j] * pairBase + ids[j + 1];
      this.#counts.set(pair, (this.#counts.get(pair) ?? 0) + sign * count);
      if (sign === -1) continue;
      const places = this.#where.get(pair) ?? new Set();
      this.#where.set(pair, places.add(word));
    }
  }
}

const pairBase = 2 ** 20;
