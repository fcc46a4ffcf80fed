import { Random } from "../tensor/index.ts";

/** A tokenized example. Labels are -100 where nothing is to be learned (the prompt), else the token itself. */
export interface Example {
  readonly inputIds: readonly number[];
  readonly labels: readonly number[];
}

/** Rows of tokens for one run of a model; each array is [batch * length], row-major. */
export interface Batch {
  readonly batch: number;
  readonly length: number;
  readonly inputIds: Int32Array<ArrayBuffer>;
  /** Position of each token in its document. */
  readonly positions: Int32Array<ArrayBuffer>;
  /** Document of each token, from 1 in each row; 0 for padding. */
  readonly segments: Int32Array<ArrayBuffer>;
  /** The token to predict at each place: the label of the next one, -100 where there is none. */
  readonly targets: Int32Array<ArrayBuffer>;
  /** Number of targets that count. */
  readonly tokens: number;
}

/** Tokens of the longest example; 0 if there is none. */
export function longestOf(examples: readonly Example[]): number {
  return examples.reduce((longest, { inputIds }) => Math.max(longest, inputIds.length), 0);
}

/** Label of a token that is not to be learned. */
export const ignoreIndex = -100;

/**
 * Put documents side by side in rows. Each row is a list of documents: more than one makes a packed row, in which no
 * document sees another and positions restart.
 * @param rows documents of each row
 * @param length tokens in a row; longer rows are cut
 * @param padTokenId fills what is left
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

/**
 * Put examples into rows of at most `length` tokens: first fit, in order, so that the same order gives the same rows.
 */
export function pack(examples: readonly Example[], length: number): Example[][] {
  const rows: { documents: Example[]; room: number }[] = [];
  for (const example of examples) {
    const size = Math.min(example.inputIds.length, length);
    // Only the last rows are tried: packing stays linear, and hardly worse.
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

/** The order of an epoch: a permutation that depends on the seed and the epoch alone. */
export function epochOrder(count: number, seed: number, epoch: number): Int32Array {
  return new Random(seed, `order/${epoch}`).permutation(count);
}

/** A data set as a model reads it. */
export interface TokenizedDataset {
  readonly name: string;
  /** SHA-256 of what it was made from. */
  readonly digest: string;
  readonly examples: readonly Example[];
}
