import { Tokenizer as HuggingFaceTokenizer } from "@huggingface/tokenizers";

type Json = Record<string, unknown>;

/** A piece of text, and whether special tokens are recognised in it. */
export interface Piece {
  text: string;
  /** The template wrote it: special tokens are meant as such. */
  template: boolean;
}

interface AddedToken {
  id: number;
  content: string;
  special?: boolean;
}

/** Tokens that steer a model by their looks, though some files do not call them special (Phi-3's `</s>`). */
const looksSpecial = /^(<\|.+\|>|<\/?s>)$/;

/**
 * Encodes text in which special tokens are recognised in some pieces only. It is the same tokenizer, whose special tokens go
 * by names that no text holds; in the pieces where they are meant, they are renamed. So words are cut, and white space is
 * stripped, as ever.
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

  /** Whether a text holds what is a special token elsewhere. */
  hasSpecial(text: string): boolean {
    return this.specialsOf(text).length > 0;
  }

  /** The special tokens in a text of the template, and where each ends. */
  specialsOf(text: string): { content: string; end: number }[] {
    if (!this.#pattern) return [];
    return Array.from(text.matchAll(this.#pattern), (match) => {
      return { content: match[0], end: match.index + match[0].length };
    });
  }

  encode(pieces: readonly Piece[]): number[] {
    const text = pieces.map(({ text, template }) => {
      // Who types the names that tokens have here gets text without them.
      const own = text.replace(/[\u{F5A3E}\u{F5A3F}]/gu, "\uFFFD");
      if (!template || !this.#pattern) return own;
      return own.replace(this.#pattern, (content) => this.#names.get(content) ?? content);
    });
    return this.#inner.encode(text.join(""), { add_special_tokens: false }).ids;
  }
}

const escapePattern = (text: string) => text.replace(/[\\^$.*+?()[\]{}|/]/g, "\\$&");

function contentOf(value: unknown): string | undefined {
  if (typeof value === "string") return value;
  return typeof value === "object" && value !== null && "content" in value ? String(value.content) : undefined;
}

/** A text for a message, on one line. */
export const show = (text: string) => JSON.stringify(text);
