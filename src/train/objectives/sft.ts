import { collate, type Example, epochOrder, ignoreIndex, longestOf, pack, tokenizeRows } from "../../data/index.ts";
import { measureTokens } from "../../models/index.ts";
import { TrainingError } from "../error.ts";
import type { Objective } from "./objective.ts";

/** Default limit on the row length. */
const defaultLongest = 1024;

/** Row lengths are rounded up to a multiple of this, so that few lengths are compiled. */
const multiple = 8;

/**
 * Supervised fine-tuning: cross entropy of the next token at positions with a label. Chats and instructions are trained on
 * the assistant's answers, texts on every token.
 */
export function sft(): Objective<readonly Example[]> {
  return {
    name: "sft",

    prepare(data, model, { maxLength, packing, seed }) {
      const { name, digest, examples } = tokenizeRows(data, model.tokenizer);
      const maxPositions = model.config.maxPositionEmbeddings;
      const longest = longestOf(examples);
      const defaultLength = Math.min(Math.ceil(longest / multiple) * multiple, defaultLongest, maxPositions);
      const length = maxLength ?? Math.max(2, defaultLength);
      if (!Number.isInteger(length) || length < 2 || length > maxPositions) {
        throw new TrainingError(`maxLength must be from 2 to the model's ${maxPositions} positions, not ${length}.`);
      }
      const trainable = examples.filter((example) => hasTarget(example, length));
      const cut = trainable.filter(({ inputIds }) => inputIds.length > length).length;
      const tokens = trainable.reduce((sum, { inputIds }) => sum + Math.min(inputIds.length, length), 0);
      const order = epochOrder(trainable.length, seed, -1);
      const rows = packing
        ? pack(
            Array.from(order, (i) => trainable[i]),
            length,
          )
        : trainable.map((example) => [example]);
      const droppedCount = examples.length - trainable.length;
      return {
        name,
        digest,
        rows,
        length,
        dropped: droppedCount > 0 ? { [`no token to learn within ${length} tokens`]: droppedCount } : {},
        profile: { rows: examples.length, used: trainable.length, tokens, ...(cut > 0 ? { cut } : {}) },
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
      // Rows are as long as the longest example, not as a packed row, which avoids padding.
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

/** Whether the example has a target token within `length` tokens. */
function hasTarget({ inputIds, labels }: Example, length: number): boolean {
  const end = Math.min(inputIds.length, length);
  for (let i = 1; i < end; i++) if (labels[i] !== ignoreIndex) return true;
  return false;
}
