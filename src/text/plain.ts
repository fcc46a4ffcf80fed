import { Tokenizer as HuggingFaceTokenizer } from "@huggingface/tokenizers";

type Json = Record<string, unknown>;

/** A piece of text. */
export interface Piece {
  text: string;
  /** Whether the chat template produced it, so that special tokens are recognized. */
  template: boolean;
}

interface AddedToken {
  id: number;
  content: string;
  special?: boolean;
}

/** Tokens that look like special tokens, though some files do not mark them as special (Phi-3's `</s>`). */
const looksSpecial = /^(<\|.+\|>|<\/?s>)$/;

/**
 * Encodes text in which special tokens are recognized only in some pieces. It wraps the same tokenizer with its special tokens
 * renamed to names that do not occur in text; pieces that may contain special tokens are renamed accordingly. Word
 * boundaries and whitespace handling are therefore unchanged.
 */
export class PlainTokenizer {
  readonly #inner: HuggingFaceTokenizer;
  readonly #names: ReadonlyMap<string, string>;
  readonly #pattern: RegExp | undefined;

  constructor(tokenizer: Json, config: Json) {
    const named = new Set(
      ["bos_token", "eos_token", "pad_token", "unk_token", "sep_token", "cls_token", "mask_token"].map((key) =>
        contentOf(config[key]),
      ),
    );
    const added = (tokenizer.added_tokens ?? []) as AddedToken[];
    const isSpecial = ({ content, special }: AddedToken) => special || named.has(content) || looksSpecial.test(content);
    const name = ({ id }: AddedToken) => `\u{F5A3E}${id}\u{F5A3F}`;
    const specials = added.filter(isSpecial);
    this.#names = new Map(specials.map((token) => [token.content, name(token)]));
    const longestFirst = [...this.#names.keys()]
      .filter((content) => content !== "")
      .sort((a, b) => b.length - a.length);
    this.#pattern = longestFirst.length > 0 ? new RegExp(longestFirst.map(escapePattern).join("|"), "gu") : undefined;
    const renamed = added.map((token) => (isSpecial(token) ? { ...token, content: name(token) } : token));
    this.#inner = new HuggingFaceTokenizer({ ...tokenizer, added_tokens: renamed }, config);
  }

  /** Whether a text contains the text of a special token. */
  hasSpecial(text: string): boolean {
    return this.specialsOf(text).length > 0;
  }

  /** Returns the special tokens in a text of the template, with their ends. */
  specialsOf(text: string): { content: string; end: number }[] {
    if (!this.#pattern) return [];
    return Array.from(text.matchAll(this.#pattern), (match) => {
      return { content: match[0], end: match.index + match[0].length };
    });
  }

  encode(pieces: readonly Piece[]): number[] {
    const text = pieces.map(({ text, template }) => {
      // Removes the renaming characters from the text.
      const cleaned = text.replace(/[\u{F5A3E}\u{F5A3F}]/gu, "\uFFFD");
      if (!template || !this.#pattern) return cleaned;
      return cleaned.replace(this.#pattern, (content) => this.#names.get(content) ?? content);
    });
    return this.#inner.encode(text.join(""), { add_special_tokens: false }).ids;
  }
}

const escapePattern = (text: string) => text.replace(/[\\^$.*+?()[\]{}|/]/g, "\\$&");

function contentOf(value: unknown): string | undefined {
  if (typeof value === "string") return value;
  return typeof value === "object" && value !== null && "content" in value ? String(value.content) : undefined;
}

/** Formats a text for a message, on one line. */
export const show = (text: string) => JSON.stringify(text);
