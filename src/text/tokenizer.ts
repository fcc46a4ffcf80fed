import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { Template } from "@huggingface/jinja";
import { Tokenizer as HuggingFaceTokenizer } from "@huggingface/tokenizers";
import { type BpeOptions, trainBpe } from "./bpe.ts";

/** One turn of a chat. */
export interface ChatMessage {
  role: "system" | "user" | "assistant";
  content: string;
}

/** A tokenizer's files are missing or wrong, or a chat cannot be rendered. */
export class TokenizerError extends Error {
  override name = "TokenizerError";
}

type Json = Record<string, unknown>;

/**
 * Text to token ids and back, and chats to text. Reads and writes Hugging Face's `tokenizer.json` and
 * `tokenizer_config.json`.
 *
 * @example
 * const tokenizer = await Tokenizer.load("models/phi-3-mini");
 * tokenizer.decode(tokenizer.encode("Hello")); // "Hello"
 */
export class Tokenizer {
  readonly #files: { tokenizer: Json; config: Json };
  readonly #inner: HuggingFaceTokenizer;
  readonly #template: Template | undefined;

  private constructor(tokenizer: Json, config: Json) {
    this.#files = { tokenizer, config };
    this.#inner = new HuggingFaceTokenizer(tokenizer, config);
    this.#template = typeof config.chat_template === "string" ? new Template(config.chat_template) : undefined;
  }

  /**
   * Read a tokenizer from a folder.
   * @throws TokenizerError when a file is missing or no JSON
   */
  static async load(folder: string): Promise<Tokenizer> {
    const read = async (name: string): Promise<Json> => {
      const path = join(folder, name);
      const text = await readFile(path, "utf8").catch(() => {
        throw new TokenizerError(`There is no ${name} in ${folder}; a model folder needs one.`);
      });
      try {
        return JSON.parse(text) as Json;
      } catch (error) {
        throw new TokenizerError(`${path} is no JSON: ${(error as Error).message}`);
      }
    };
    return new Tokenizer(await read("tokenizer.json"), await read("tokenizer_config.json"));
  }

  /**
   * Train a byte-level BPE tokenizer (Sennrich et al. 2016) with the special tokens and chat template of Phi-3.
   * The same texts in the same order give the same tokenizer.
   */
  static train(texts: Iterable<string>, options: BpeOptions): Tokenizer {
    const { tokenizer, config } = trainBpe(texts, options);
    return new Tokenizer(tokenizer, config);
  }

  /** Number of ids, special tokens included. */
  get vocabSize(): number {
    return Math.max(...this.#inner.get_vocab(true).values()) + 1;
  }

  /** The id of one token, such as `<|end|>`. */
  tokenId(token: string): number | undefined {
    return this.#inner.token_to_id(token);
  }

  get eosTokenId(): number | undefined {
    return this.#special("eos_token");
  }

  get padTokenId(): number | undefined {
    return this.#special("pad_token");
  }

  get bosTokenId(): number | undefined {
    return this.#special("bos_token");
  }

  /** Ids at which an answer ends: the end of the text, and the end of a chat's turn. */
  get stopTokenIds(): number[] {
    return [this.eosTokenId, this.tokenId("<|end|>")].filter((id) => id !== undefined);
  }

  encode(text: string, options: { addSpecialTokens?: boolean } = {}): number[] {
    return this.#inner.encode(text, { add_special_tokens: options.addSpecialTokens ?? false }).ids;
  }

  decode(ids: ArrayLike<number>, options: { skipSpecialTokens?: boolean } = {}): string {
    if (ids.length === 0) return "";
    return this.#inner.decode(Array.from(ids), {
      skip_special_tokens: options.skipSpecialTokens ?? false,
      clean_up_tokenization_spaces: false,
    });
  }

  /**
   * A chat as the model was trained to read it.
   * @param options.addGenerationPrompt end with the opening of the assistant's turn
   * @throws TokenizerError when the tokenizer has no chat template
   */
  renderChat(messages: readonly ChatMessage[], options: { addGenerationPrompt?: boolean } = {}): string {
    if (!this.#template) throw new TokenizerError("This tokenizer has no chat template in its tokenizer_config.json.");
    return this.#template.render({
      messages,
      add_generation_prompt: options.addGenerationPrompt ?? false,
      eos_token: this.#text("eos_token") ?? "",
      bos_token: this.#text("bos_token") ?? "",
    });
  }

  /** The two files, by name. */
  files(): Record<string, string> {
    return {
      "tokenizer.json": JSON.stringify(this.#files.tokenizer, null, 1),
      "tokenizer_config.json": JSON.stringify(this.#files.config, null, 1),
    };
  }

  /** SHA-256 of the files. */
  digest(): string {
    const hash = createHash("sha256");
    for (const content of Object.values(this.files())) hash.update(content);
    return hash.digest("hex");
  }

  #text(key: string): string | undefined {
    const value = this.#files.config[key];
    if (typeof value === "string") return value;
    return typeof value === "object" && value !== null && "content" in value ? String(value.content) : undefined;
  }

  #special(key: string): number | undefined {
    const text = this.#text(key);
    return text === undefined ? undefined : this.#inner.token_to_id(text);
  }
}
