/** One turn of a chat. */
export interface ChatMessage {
  role: "system" | "user" | "assistant";
  content: string;
}

/** A tokenizer's files are missing or wrong, or a chat cannot be rendered. */
export class TokenizerError extends Error {
  override name = "TokenizerError";
}
