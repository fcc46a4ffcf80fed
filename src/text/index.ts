export type { BpeOptions } from "./bpe.ts";
export type { AnswerSpan, EncodedChat } from "./chat.ts";
export { type ChatMessage, TokenizerError } from "./message.ts";
export { Tokenizer } from "./tokenizer.ts";
