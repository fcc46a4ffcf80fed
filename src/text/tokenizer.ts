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
 * Converts text to token ids and back, and renders chats. Reads and writes Hugging Face's `tokenizer.json`,
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
   * Loads a tokenizer from a folder. Its chat template is in `chat_template.jinja`, or else in `tokenizer_config.json`; of
   * several named ones, "default" is used.
   * @throws TokenizerError when a file is missing or not valid JSON
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
        throw new TokenizerError(`${path} is not valid JSON: ${(error as Error).message}`);
      }
    };
    const template = await readFile(join(folder, "chat_template.jinja"), "utf8").catch(() => undefined);
    return new Tokenizer(await read("tokenizer.json"), await read("tokenizer_config.json"), template);
  }

  /**
   * Trains a byte-level BPE tokenizer (Sennrich et al. 2016) with the special tokens and chat template of Phi-3. The result is
   * determined by the texts and their order.
   */
  static train(texts: Iterable<string>, options: BpeOptions): Tokenizer {
    const { tokenizer, config } = trainBpe(texts, options);
    return new Tokenizer(tokenizer, config);
  }

  /** Number of ids, including special tokens. */
  get vocabSize(): number {
    let largest = -1;
    for (const id of this.#inner.get_vocab(true).values()) largest = Math.max(largest, id);
    return largest + 1;
  }

  /** Returns the id of a token, such as `<|end|>`. */
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

  /** Ids that end an answer: end of text, and end of a turn. */
  get stopTokenIds(): number[] {
    return [this.eosTokenId, this.tokenId("<|end|>")].filter((id) => id !== undefined);
  }

  /**
   * Encodes a text.
   * @param options.addSpecialTokens add the special tokens around a text, such as a beginning-of-text token
   * @param options.allowSpecial false encodes the text of special tokens, such as `<|end|>`, as ordinary text; use it for
   * user input
   */
  encode(text: string, options: { addSpecialTokens?: boolean; allowSpecial?: boolean } = {}): number[] {
    if (options.allowSpecial === false && !options.addSpecialTokens) {
      return this.#plainTokenizer().encode([{ text, template: false }]);
    }
    if (options.allowSpecial === false) {
      throw new TokenizerError("addSpecialTokens cannot be combined with allowSpecial: false.");
    }
    return this.#inner.encode(text, { add_special_tokens: options.addSpecialTokens ?? false }).ids;
  }

  /**
   * Encodes a chat in the format that the model was trained on. Only the chat template can produce special tokens: a message
   * with the text `<|end|>` stays text. Otherwise the ids are those of {@link Tokenizer.renderChat}'s text.
   * @param options.addGenerationPrompt end with the beginning of the assistant's turn
   * @param options.answers return the spans of the assistant's answers, including the tokens that end its turns
   * @throws TokenizerError when the tokenizer has no chat template, or the answers' tokens cannot be determined
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
   * Renders a chat as text in the format that the model was trained on.
   * @param options.addGenerationPrompt end with the beginning of the assistant's turn
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
        ? `None of this tokenizer's chat templates (${names.join(", ")}) is named default.`
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

  /** Returns the contents of the files, by name. */
  files(): Record<string, string> {
    return {
      "tokenizer.json": JSON.stringify(this.#files.tokenizer, null, 1),
      "tokenizer_config.json": JSON.stringify(this.#files.config, null, 1),
      ...(this.#files.template === undefined ? {} : { "chat_template.jinja": this.#files.template }),
    };
  }

  /** Returns the SHA-256 of the files. */
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

/** Returns the template of a `tokenizer_config.json`: a string, or the default one of a list. */
function templateOf(value: unknown): string | undefined {
  if (typeof value === "string") return value;
  if (!Array.isArray(value)) return undefined;
  const chosen = value.find((one: Json | null) => one?.name === "default") as Json | undefined;
  return typeof chosen?.template === "string" ? chosen.template : undefined;
}

/** Prevents the byte decoder from dropping U+FEFF, which it would at the start of each run of bytes. */
function keepByteOrderMarks(decoder: unknown): void {
  if (typeof decoder !== "function" && typeof decoder !== "object") return;
  const parts = decoder as { text_decoder?: InstanceType<typeof TextDecoder>; decoders?: unknown[] } | null;
  if (parts?.text_decoder) parts.text_decoder = new TextDecoder("utf-8", { ignoreBOM: true });
  for (const part of parts?.decoders ?? []) keepByteOrderMarks(part);
}
