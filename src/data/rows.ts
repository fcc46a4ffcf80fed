import { createHash } from "node:crypto";
import type { ChatMessage, Tokenizer } from "../text/index.ts";
import { type Example, ignoreIndex, type TokenizedDataset } from "./batch.ts";
import { DataError, Dataset, type Row } from "./dataset.ts";

/** Data for training or evaluation: rows, or tokens. */
export type TrainingData = Dataset | readonly Row[] | TokenizedDataset;

/** Whether data is already tokenized. */
export const isTokenized = (data: TrainingData): data is TokenizedDataset => "examples" in data;

/** Returns rows as a data set with a name and a digest. A data set is returned unchanged. */
export function asDataset(data: Dataset | readonly Row[], name = "rows"): Dataset {
  return data instanceof Dataset ? data : Dataset.from(name, data);
}

/**
 * Tokenizes rows. The format is detected by the columns:
 * - `messages`: a chat; the assistant's turns are trained
 * - `prompt` and `completion` (TRL), or `instruction`, `input` and `output` (Alpaca): one question and its answer
 * - `text`: every token is trained
 *
 * Tokenized data is returned unchanged.
 * @throws DataError naming the data set and the invalid row
 */
export function tokenizeRows(data: TrainingData, tokenizer: Tokenizer): TokenizedDataset {
  if (isTokenized(data)) return data;
  const dataset = asDataset(data);
  const examples = dataset.rows.map((row, i): Example => {
    try {
      return tokenizeRow(row, tokenizer);
    } catch (error) {
      throw new DataError(`${dataset.name}, row ${i + 1}: ${(error as Error).message}`);
    }
  });
  const digest = createHash("sha256").update(dataset.digest).update(tokenizer.digest()).digest("hex");
  return { name: dataset.name, digest, examples };
}

function tokenizeRow(row: Row, tokenizer: Tokenizer): Example {
  const chat = chatOf(row);
  if (chat) {
    const { ids, answers } = tokenizer.encodeChat(chat, { answers: true });
    const labels = new Array<number>(ids.length).fill(ignoreIndex);
    for (const { start, end } of answers) for (let at = start; at < end; at++) labels[at] = ids[at];
    return { inputIds: ids, labels };
  }
  if (typeof row.text === "string") {
    const end = tokenizer.eosTokenId === undefined ? [] : [tokenizer.eosTokenId];
    const ids = [...tokenizer.encode(row.text), ...end];
    return { inputIds: ids, labels: ids };
  }
  const columns = Object.keys(row).join(", ") || "none";
  throw new DataError(
    `its columns (${columns}) have no supported format: use messages, prompt and completion, instruction and output, or text.`,
  );
}

/**
 * Converts a row to a chat that ends with the answer; undefined when the row is not a chat.
 * @throws DataError when a turn is not text, or has an unknown role
 */
export function chatOf(row: Row): ChatMessage[] | undefined {
  if (Array.isArray(row.messages)) return checkMessages("messages", row.messages);
  if ("prompt" in row && "completion" in row) {
    return [...turns("prompt", row.prompt, "user"), ...turns("completion", row.completion, "assistant")];
  }
  if ("instruction" in row && "output" in row) {
    const input = typeof row.input === "string" && row.input !== "" ? `\n\n${row.input}` : "";
    const [question] = turns("instruction", row.instruction, "user");
    return [{ ...question, content: question.content + input }, ...turns("output", row.output, "assistant")];
  }
  return undefined;
}

function turns(column: string, value: unknown, role: ChatMessage["role"]): ChatMessage[] {
  if (typeof value === "string") return [{ role, content: value }];
  if (Array.isArray(value)) return checkMessages(column, value);
  throw new DataError(`${column} must be text, not ${JSON.stringify(value) ?? "missing"}.`);
}

const roles: readonly unknown[] = ["system", "user", "assistant"];

function checkMessages(column: string, messages: readonly unknown[]): ChatMessage[] {
  if (messages.length === 0) throw new DataError(`${column} is empty.`);
  return messages.map((message, i) => {
    const { role, content } = Object(message) as Record<string, unknown>;
    if (!roles.includes(role) || typeof content !== "string") {
      throw new DataError(
        `${column}[${i}] must be { role: "system" | "user" | "assistant", content: text }, not ${JSON.stringify(message)?.slice(0, 80)}.`,
      );
    }
    return { role: role as ChatMessage["role"], content };
  });
}
