import { createHash } from "node:crypto";
import type { Tokenizer } from "../text/index.ts";
import { type Example, ignoreIndex, type TokenizedDataset } from "./batch.ts";
import { DataError, type Dataset, type Row } from "./dataset.ts";

/** A question and the answer to learn. */
export interface Instruction {
  prompt: string;
  completion: string;
}

/**
 * Instructions as chats: the prompt is the user's turn, the completion the assistant's, and only the completion (with
 * the end of its turn) is learned.
 * @param columns which columns of a row are the prompt and the completion
 * @param maxSeqLength examples longer than this are cut at the end
 * @throws DataError when a row's columns are no text, or its answer's tokens cannot be told from the template's
 */
export function tokenizeInstructions<R extends Row>(
  data: Dataset<R>,
  tokenizer: Tokenizer,
  columns: { prompt: keyof R & string; completion: keyof R & string; maxSeqLength?: number },
): TokenizedDataset {
  const examples = data.rows.map((row, i): Example => {
    const [prompt, completion] = [row[columns.prompt], row[columns.completion]];
    if (typeof prompt !== "string" || typeof completion !== "string") {
      const missing = typeof prompt === "string" ? columns.completion : columns.prompt;
      throw new DataError(
        `${data.name}, row ${i + 1}: ${missing} should be text, it is ${JSON.stringify(row[missing])}.`,
      );
    }
    const { ids, answers } = encodeRow(tokenizer, prompt, completion, `${data.name}, row ${i + 1}`);
    const inputIds = ids.slice(0, columns.maxSeqLength);
    const labels = new Array<number>(inputIds.length).fill(ignoreIndex);
    for (const { start, end } of answers) {
      for (let at = start; at < Math.min(end, inputIds.length); at++) labels[at] = inputIds[at];
    }
    return { inputIds, labels };
  });
  return { name: data.name, digest: digestOf(data.digest, tokenizer), examples };
}

function encodeRow(tokenizer: Tokenizer, prompt: string, completion: string, where: string) {
  try {
    return tokenizer.encodeChat(
      [
        { role: "user", content: prompt },
        { role: "assistant", content: completion },
      ],
      { answers: true },
    );
  } catch (error) {
    throw new DataError(`${where}: ${(error as Error).message}`);
  }
}

/**
 * Plain text cut into blocks of equal length, each text ended by the end-of-text token; every token is learned.
 * @param blockSize tokens in a block; what does not fill the last one is left out
 * @throws DataError when the texts do not fill one block
 */
export function tokenizeText(
  name: string,
  texts: readonly string[],
  tokenizer: Tokenizer,
  blockSize: number,
): TokenizedDataset {
  const end = tokenizer.eosTokenId === undefined ? [] : [tokenizer.eosTokenId];
  const hash = createHash("sha256");
  const ids: number[] = [];
  for (const text of texts) {
    hash.update(text);
    for (const id of tokenizer.encode(text)) ids.push(id);
    ids.push(...end);
  }
  const count = Math.floor(ids.length / blockSize);
  if (count === 0) {
    throw new DataError(`${name}: ${ids.length} tokens do not fill one block of ${blockSize}.`);
  }
  const examples = Array.from({ length: count }, (_, i): Example => {
    const block = ids.slice(i * blockSize, (i + 1) * blockSize);
    return { inputIds: block, labels: block };
  });
  return { name, digest: digestOf(hash.digest("hex"), tokenizer), examples };
}

/** Tokens depend on the text and on the tokenizer. */
function digestOf(data: string, tokenizer: Tokenizer): string {
  return createHash("sha256").update(data).update(tokenizer.digest()).digest("hex");
}
