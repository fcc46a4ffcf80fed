// The trainer is ours because no JavaScript package trains a tokenizer; the official one only runs them.

/** Options of a BPE training. */
export interface BpeOptions {
  /** Number of ids, the 256 bytes and the special tokens included. */
  vocabSize: number;
}

const specialTokens = ["<|endoftext|>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>"];

const chatTemplate =
  "{% for message in messages %}{{ '<|' + message['role'] + '|>\n' + message['content'] + '<|end|>\n' }}{% endfor %}" +
  "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% else %}{{ eos_token }}{% endif %}";

/** How byte-level tokenizers cut text into words before merging (GPT-2's rule, which `ByteLevel` in the file names). */
const words = /'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+/gu;

/** The printable character that stands for each byte in a byte-level vocabulary (GPT-2's table). */
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
 * Learn merges from texts, most frequent pair first; ties go to the pair with the smaller ids, so the result does not
 * depend on the order of a hash map.
 * @returns the content of `tokenizer.json` and `tokenizer_config.json`
 * @throws RangeError when the vocabulary has no room for the bytes and the special tokens
 */
export function trainBpe(texts: Iterable<string>, { vocabSize }: BpeOptions) {
  const smallest = 256 + specialTokens.length;
  if (!Number.isInteger(vocabSize) || vocabSize < smallest) {
    throw new RangeError(`vocabSize must be a whole number of ${smallest} or more, not ${vocabSize}`);
  }
  const tokens = byteCharacters();
  const wanted = vocabSize - specialTokens.length;
  const vocabulary = countWords(texts);
  const pairs = new PairCounts(vocabulary);
  const merges: [string, string][] = [];
  while (tokens.length < wanted) {
    const best = pairs.mostFrequent();
    if (!best) break; // The texts are too small for more.
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

/** How often each pair of neighbours stands in the words, kept up to date as pairs merge. */
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
    let most = 1; // A pair that stands once is not worth an id.
    for (const [pair, count] of this.#counts) {
      if (count > most || (count === most && best !== -1 && pair < best)) {
        best = pair;
        most = count;
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
