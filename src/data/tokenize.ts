import { createHash } from "node:crypto";
import type { Tokenizer } from "../text/index.ts";
import type { Example, TokenizedDataset } from "./batch.ts";
import { DataError } from "./dataset.ts";

/**
 * Tokenizes plain text into blocks of equal length. Each text ends with the end-of-text token; every token is trained.
 * @param blockSize tokens per block; an incomplete last block is dropped
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
    throw new DataError(`${name}: ${ids.length} tokens are too few for one block of ${blockSize}.`);
  }
  const examples = Array.from({ length: count }, (_, i): Example => {
    const block = ids.slice(i * blockSize, (i + 1) * blockSize);
    return { inputIds: block, labels: block };
  });
  return { name, digest: digestOf(hash.digest("hex"), tokenizer), examples };
}

/** Returns a digest of the text and the tokenizer. */
function digestOf(data: string, tokenizer: Tokenizer): string {
  return createHash("sha256").update(data).update(tokenizer.digest()).digest("hex");
}
