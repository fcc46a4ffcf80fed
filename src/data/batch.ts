import { Random } from "../tensor/index.ts";

/** A tokenized example. Labels are the tokens to train, and -100 elsewhere (in the prompt). */
export interface Example {
  readonly inputIds: readonly number[];
  readonly labels: readonly number[];
}

/** Rows of tokens for one forward pass; each array is [batch * length], row-major. */
export interface Batch {
  readonly batch: number;
  readonly length: number;
  readonly inputIds: Int32Array<ArrayBuffer>;
  /** Position of each token in its document. */
  readonly positions: Int32Array<ArrayBuffer>;
  /** Document of each token, from 1 in each row; 0 for padding. */
  readonly segments: Int32Array<ArrayBuffer>;
  /** Token to predict at each position: the label of the next one, or -100. */
  readonly targets: Int32Array<ArrayBuffer>;
  /** Number of targets other than -100. */
  readonly tokens: number;
}

/** Returns the number of tokens in the longest example; 0 if there is none. */
export function longestOf(examples: readonly Example[]): number {
  return examples.reduce((longest, { inputIds }) => Math.max(longest, inputIds.length), 0);
}

/** Label of tokens that are not trained. */
export const ignoreIndex = -100;

/**
 * Collates rows of documents into a batch. A row with several documents is packed: attention stays within a document, and
 * positions restart.
 * @param rows documents of each row
 * @param length tokens per row; longer rows are truncated
 * @param padTokenId padding token
 */
export function collate(rows: readonly (readonly Example[])[], length: number, padTokenId: number): Batch {
  const size = rows.length * length;
  const inputIds = new Int32Array(size).fill(padTokenId);
  const positions = new Int32Array(size);
  const segments = new Int32Array(size);
  const targets = new Int32Array(size).fill(ignoreIndex);
  let tokens = 0;
  rows.forEach((documents, r) => {
    let column = 0;
    documents.forEach((document, d) => {
      for (let i = 0; i < document.inputIds.length && column < length; i++, column++) {
        const at = r * length + column;
        inputIds[at] = document.inputIds[i];
        positions[at] = i;
        segments[at] = d + 1;
        const next = i + 1 < document.inputIds.length && column + 1 < length ? document.labels[i + 1] : ignoreIndex;
        targets[at] = next;
        if (next !== ignoreIndex) tokens++;
      }
    });
  });
  return { batch: rows.length, length, inputIds, positions, segments, targets, tokens };
}

/** Packs examples into rows of at most `length` tokens: first fit, in order, hence deterministic. */
export function pack(examples: readonly Example[], length: number): Example[][] {
  const rows: { documents: Example[]; room: number }[] = [];
  for (const example of examples) {
    const size = Math.min(example.inputIds.length, length);
    // Only the last rows are tried: packing takes linear time, and is hardly worse.
    const row = rows.slice(-16).find(({ room }) => room >= size);
    if (row) {
      row.documents.push(example);
      row.room -= size;
    } else {
      rows.push({ documents: [example], room: length - size });
    }
  }
  return rows.map(({ documents }) => documents);
}

/** Returns the order of rows in an epoch: a permutation that depends only on the seed and the epoch. */
export function epochOrder(count: number, seed: number, epoch: number): Int32Array {
  return new Random(seed, `order/${epoch}`).permutation(count);
}

/** A tokenized data set. */
export interface TokenizedDataset {
  readonly name: string;
  /** SHA-256 of the source data. */
  readonly digest: string;
  readonly examples: readonly Example[];
}
