// A training run small enough for tests. It can also run as a separate process, which tests kill.
import { pathToFileURL } from "node:url";
import type { TokenizedDataset } from "../data/index.ts";
import { Phi3ForCausalLM, type Placement } from "../models/index.ts";
import { Tokenizer } from "../text/index.ts";
import { type TrainOptions, train } from "./index.ts";

const sentences = Array.from({ length: 40 }, (_, i) => `item ${i} has colour ${["red", "green", "blue"][i % 3]}`);
const tokenizer = Tokenizer.train(sentences, { vocabSize: 300 });

/** Returns forty short sentences, tokenized. */
export function toyData(): TokenizedDataset {
  const examples = sentences.map((text) => {
    const ids = [...tokenizer.encode(text), tokenizer.eosTokenId ?? 0];
    return { inputIds: ids, labels: ids };
  });
  return { name: "toy", digest: tokenizer.digest(), examples };
}

/** Returns a model of about ten thousand parameters. */
export function toyModel(placement: Placement = {}): Phi3ForCausalLM {
  const config = {
    hiddenSize: 32,
    intermediateSize: 48,
    numHiddenLayers: 2,
    numAttentionHeads: 2,
    maxPositionEmbeddings: 64,
  };
  return new Phi3ForCausalLM(config, tokenizer, placement).initialize(3).eval();
}

/** Returns the options of thirty steps of full training. */
export function toyOptions(): TrainOptions {
  return { trainDataset: toyData(), maxSteps: 30, perDeviceTrainBatchSize: 4, learningRate: 5e-3, seed: 5 };
}

if (process.argv[1] && import.meta.url === pathToFileURL(process.argv[1]).href) {
  await train(toyModel(), {
    ...toyOptions(),
    maxSteps: 12,
    saveSteps: 2,
    saveTotalLimit: 3,
    outputDir: process.argv[2],
    onStep: ({ step }) => process.stdout.write(`step ${step}\n`),
  });
}
