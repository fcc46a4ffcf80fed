import { collate, type Example, epochOrder, ignoreIndex, longestOf, pack, tokenizeRows } from "../../data/index.ts";
import { measureTokens } from "../../models/index.ts";
import { TrainingError } from "../error.ts";
import type { Objective } from "./objective.ts";

/** Longest row that is taken by default. */
const defaultLongest = 1024;

/** Rows are padded to a multiple of this, so that few lengths are compiled. */
const multiple = 8;

/**
 * Supervised fine-tuning: cross entropy of the next token, where there is a label. Chats and instructions learn the
 * assistant's answers, texts every token.
 */
export function sft(): Objective<readonly Example[]> {
  return {
    name: "sft",

    prepare(data, model, { maxLength, packing, seed }) {
      const { name, digest, examples } = tokenizeRows(data, model.tokenizer);
      const most = model.config.maxPositionEmbeddings;
      const longest = longestOf(examples);
      const fitting = Math.min(Math.ceil(longest / multiple) * multiple, defaultLongest, most);
      const length = maxLength ?? Math.max(2, fitting);
      if (!Number.isInteger(length) || length < 2 || length > most) {
        throw new TrainingError(`maxLength must be from 2 to the model's ${most} positions, not ${length}.`);
      }
      const teaching = examples.filter((example) => teaches(example, length));
      const cut = teaching.filter(({ inputIds }) => inputIds.length > length).length;
      const tokens = teaching.reduce((sum, { inputIds }) => sum + Math.min(inputIds.length, length), 0);
      const order = epochOrder(teaching.length, seed, -1);
      const rows = packing
        ? pack(
            Array.from(order, (i) => teaching[i]),
            length,
          )
        : teaching.map((example) => [example]);
      const left = examples.length - teaching.length;
      return {
        name,
        digest,
        rows,
        length,
        dropped: left > 0 ? { [`no token to learn within ${length} tokens`]: left } : {},
        profile: { rows: examples.length, used: teaching.length, tokens, ...(cut > 0 ? { cut } : {}) },
      };
    },

    collate(rows, model, { size, length }) {
      const padded = [...rows, ...Array.from({ length: size - rows.length }, () => [])];
      const batch = collate(padded, length, model.config.padTokenId ?? 0);
      const shape = [size, length];
      const value = (data: Int32Array<ArrayBuffer>) => ({ dtype: "int32" as const, shape, data });
      return {
        tensors: {
          inputIds: value(batch.inputIds),
          positions: value(batch.positions),
          segments: value(batch.segments),
          targets: value(batch.targets),
        },
        weight: batch.tokens,
        tokens: batch.tokens,
        padding: batch.segments.reduce((sum, segment) => sum + (segment === 0 ? 1 : 0), 0),
      };
    },

    loss(model, { inputIds, positions, segments, targets }) {
      const { states } = model.decode({ inputIds, positions, segments });
      return { loss: model.tokenLoss(states, targets.reshape([targets.size])).sum() };
    },

    async evaluate(model, { name, rows, length }, { batchSize, onProgress }) {
      const examples = rows.flat();
      const longest = longestOf(examples);
      // Rows are as long as the longest example, not as a packed row: nothing is spent on padding.
      const needed = Math.min(length, Math.ceil(longest / multiple) * multiple);
      const { loss, perplexity, tokenAccuracy } = await measureTokens(
        model,
        { name, digest: "", examples },
        { batchSize, length: needed, ...(onProgress ? { onProgress } : {}) },
      );
      return { loss, perplexity, token_accuracy: tokenAccuracy };
    },
  };
}

/** Whether a token of the example is predicted within so many tokens. */
function teaches({ inputIds, labels }: Example, length: number): boolean {
  const end = Math.min(inputIds.length, length);
  for (let i = 1; i < end; i++) if (labels[i] !== ignoreIndex) return true;
  return false;
}
