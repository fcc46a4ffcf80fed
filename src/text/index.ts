export type { BpeOptions } from "./bpe.ts";
export { type ChatMessage, Tokenizer, TokenizerError } from "./tokenizer.ts";
