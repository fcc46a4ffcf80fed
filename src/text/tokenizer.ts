import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { Template } from "@huggingface/jinja";
import { Tokenizer as HuggingFaceTokenizer } from "@huggingface/tokenizers";
import { type BpeOptions, trainBpe } from "./bpe.ts";
import { type EncodedChat, encodeChat } from "./chat.ts";
import { type ChatMessage, TokenizerError } from "./message.ts";
import { PlainTokenizer } from "./plain.ts";

type Json = Record<string, unknown>;

/**
 * Text to token ids and back, and chats to text. Reads and writes Hugging Face's `tokenizer.json`,
 * `tokenizer_config.json` and `chat_template.jinja`.
 *
 * @example
 * const tokenizer = await Tokenizer.load("models/phi-3-mini");
 * tokenizer.decode(tokenizer.encode("Hello")); // "Hello"
 */
export class Tokenizer {
  readonly #files: { tokenizer: Json; config: Json; template: string | undefined };
  readonly #inner: HuggingFaceTokenizer;
  readonly #template: Template | undefined;
  #plain: PlainTokenizer | undefined;

  private constructor(tokenizer: Json, config: Json, template?: string) {
    this.#files = { tokenizer, config, template };
    this.#inner = new HuggingFaceTokenizer(tokenizer, config);
    keepByteOrderMarks(this.#inner.decoder);
    const source = template ?? templateOf(config.chat_template);
    this.#template = source === undefined ? undefined : new Template(source);
  }

  /**
   * Read a tokenizer from a folder. Its chat template is in `chat_template.jinja`, or else in `tokenizer_config.json`; of
   * several named ones, "default" is taken.
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
    const template = await readFile(join(folder, "chat_template.jinja"), "utf8").catch(() => undefined);
    return new Tokenizer(await read("tokenizer.json"), await read("tokenizer_config.json"), template);
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
    let largest = -1;
    for (const id of this.#inner.get_vocab(true).values()) largest = Math.max(largest, id);
    return largest + 1;
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

  /**
   * Ids of a text.
   * @param options.addSpecialTokens add what the tokenizer puts around texts, such as a token for their beginning
   * @param options.allowSpecial false reads the text of special tokens, such as `<|end|>`, as any other text; for what
   * users type
   */
  encode(text: string, options: { addSpecialTokens?: boolean; allowSpecial?: boolean } = {}): number[] {
    if (options.allowSpecial === false && !options.addSpecialTokens) {
      return this.#plainTokenizer().encode([{ text, template: false }]);
    }
    if (options.allowSpecial === false) {
      throw new TokenizerError("addSpecialTokens and allowSpecial: false do not go together.");
    }
    return this.#inner.encode(text, { add_special_tokens: options.addSpecialTokens ?? false }).ids;
  }

  /**
   * Ids of a chat as the model was trained to read it. Special tokens are those of the chat template alone: a message that
   * says `<|end|>` stays text. For other messages the ids are those of {@link Tokenizer.renderChat}'s text.
   * @param options.addGenerationPrompt end with the opening of the assistant's turn
   * @param options.answers find which ids are the assistant's answers, with the tokens that end its turns
   * @throws TokenizerError when the tokenizer has no chat template, or the answers cannot be told from the rest
   */
  encodeChat(
    messages: readonly ChatMessage[],
    options: { addGenerationPrompt?: boolean; answers?: boolean } = {},
  ): EncodedChat {
    return encodeChat(
      messages,
      this.#chatTemplate(),
      this.#templateValues(options.addGenerationPrompt),
      this.#plainTokenizer(),
      options.answers ?? false,
    );
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
    return this.#chatTemplate().render({ ...this.#templateValues(options.addGenerationPrompt), messages });
  }

  #chatTemplate(): Template {
    if (this.#template) return this.#template;
    const { chat_template: named } = this.#files.config;
    const names = Array.isArray(named) ? named.map((one: Json | null) => String(one?.name)) : [];
    throw new TokenizerError(
      names.length > 0
        ? `Of this tokenizer's chat templates (${names.join(", ")}) none is named default.`
        : "This tokenizer has no chat template, neither in chat_template.jinja nor in tokenizer_config.json.",
    );
  }

  #templateValues(addGenerationPrompt = false) {
    return {
      add_generation_prompt: addGenerationPrompt,
      eos_token: this.#text("eos_token") ?? "",
      bos_token: this.#text("bos_token") ?? "",
    };
  }

  #plainTokenizer(): PlainTokenizer {
    this.#plain ??= new PlainTokenizer(this.#files.tokenizer, this.#files.config);
    return this.#plain;
  }

  /** The files, by name. */
  files(): Record<string, string> {
    return {
      "tokenizer.json": JSON.stringify(this.#files.tokenizer, null, 1),
      "tokenizer_config.json": JSON.stringify(this.#files.config, null, 1),
      ...(this.#files.template === undefined ? {} : { "chat_template.jinja": this.#files.template }),
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

/** The template in a `tokenizer_config.json`: a text, or the default one of a list. */
function templateOf(value: unknown): string | undefined {
  if (typeof value === "string") return value;
  if (!Array.isArray(value)) return undefined;
  const chosen = value.find((one: Json | null) => one?.name === "default") as Json | undefined;
  return typeof chosen?.template === "string" ? chosen.template : undefined;
}

/** The decoder of bytes drops U+FEFF, as a text's first character; here each run of bytes is a text to it. */
function keepByteOrderMarks(decoder: unknown): void {
  if (typeof decoder !== "function" && typeof decoder !== "object") return;
  const parts = decoder as { text_decoder?: InstanceType<typeof TextDecoder>; decoders?: unknown[] } | null;
  if (parts?.text_decoder) parts.text_decoder = new TextDecoder("utf-8", { ignoreBOM: true });
  for (const part of parts?.decoders ?? []) keepByteOrderMarks(part);
}
