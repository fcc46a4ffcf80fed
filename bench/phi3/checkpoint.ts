// A checkpoint of random weights in Phi-3's layout, written as fast as the disk and the digests allow.
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { Phi3ForCausalLM, Tokenizer, toConfigFile } from "../../src/index.ts";
import { saveFolder, type TensorSource, verifyFolder } from "../../src/models/files/index.ts";
import { Random, toBfloat16 } from "../../src/tensor/index.ts";
import type { Phi3Bench } from "./spec.ts";

/** Number of random values that are repeated; not a multiple of any row's length, so that rows differ. */
const drawn = 4_194_301;

/**
 * Writes a checkpoint of random bfloat16 weights (standard deviation 0.02, norms 1), unless the folder has a valid one of these
 * sizes.
 * @returns whether it was written
 */
export async function writeCheckpoint(bench: Phi3Bench): Promise<boolean> {
  const tokenizer = Tokenizer.train(["A model whose weights are random reads and writes anything."], {
    vocabSize: 300,
  });
  const model = new Phi3ForCausalLM(
    {
      hiddenSize: bench.hidden,
      intermediateSize: bench.mlp,
      numHiddenLayers: bench.layers,
      numAttentionHeads: bench.heads,
      vocabSize: bench.vocabulary,
      maxPositionEmbeddings: bench.positions,
    },
    tokenizer,
  );
  const config = JSON.stringify(toConfigFile(model.config, "bfloat16"), null, 2);
  if (await isThere(bench.folder, config)) return false;
  const sources = bfloat16Sources([...model.namedParameters()].map(([name, { shape }]) => ({ name, shape })));
  const write = saveFolder(
    bench.folder,
    async (writer) => {
      await writer.file("config.json", config);
      for (const [name, content] of Object.entries(tokenizer.files())) await writer.file(name, content);
      await writer.shards(sources, { maxShardSize: bench.maxShardSize });
    },
    { overwrite: true },
  );
  await write;
  return true;
}

async function isThere(folder: string, config: string): Promise<boolean> {
  const existing = await readFile(join(folder, "config.json"), "utf8").catch(() => undefined);
  if (existing !== config) return false;
  return verifyFolder(folder).then(
    () => true,
    () => false,
  );
}

function bfloat16Sources(tensors: readonly { name: string; shape: readonly number[] }[]): TensorSource[] {
  const largest = Math.max(...tensors.map(({ shape }) => shape.reduce((a, b) => a * b, 1)));
  const block = Uint16Array.from(new Random(1, "weights").normal(Math.min(drawn, largest)), (x) =>
    toBfloat16(0.02 * x),
  );
  const random = new Random(2, "rotation");
  const one = toBfloat16(1);
  return tensors.map(({ name, shape }) => ({
    name,
    shape,
    dtype: "bfloat16",
    read: () => {
      const bits = new Uint16Array(shape.reduce((a, b) => a * b, 1));
      if (shape.length === 1) return bits.fill(one);
      let from = random.integer(block.length);
      for (let at = 0; at < bits.length; from = 0) {
        const part = block.subarray(from, Math.min(block.length, from + bits.length - at));
        bits.set(part, at);
        at += part.length;
      }
      return bits;
    },
  }));
}
