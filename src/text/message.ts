/** One turn of a chat. */
export interface ChatMessage {
  role: "system" | "user" | "assistant";
  content: string;
}

/** Thrown when a tokenizer's files are missing or invalid, or a chat cannot be rendered. */
export class TokenizerError extends Error {
  override name = "TokenizerError";
}
