// Phi-3-mini at its full size, with random weights: written, loaded and quantized, trained with LoRA, its adapter saved and
// loaded again, and text generated; compared with transformers and PEFT in bfloat16 if they are installed (PYTHON).
// Arguments: a preset (phi3-mini, small), then --layers=2 --hidden= --heads= --mlp= --vocabulary= --positions= --rank=
// --steps=3 --lengths=256,1024 --kinds=nf4,int8 --checkpoint-from=1024 --new-tokens=8 --threads=2 --folder= --max-shard-size=
// --peer-steps=3,3 --peer-dtype=bfloat16 --peer-minutes=30 --no-peer.
import { runPhi3Bench } from "./phi3/run.ts";
import { parsePhi3Bench } from "./phi3/spec.ts";

const result = await runPhi3Bench(parsePhi3Bench(process.argv.slice(2)), (line) => process.stdout.write(`${line}\n`));
for (const { kind, length, largestLogitDifference, sameIds } of result.reloaded) {
  const same = sameIds ? "generates the same tokens" : "generates OTHER tokens";
  process.stdout.write(
    `${kind}, 1 x ${length}: loaded again, the adapter ${same}; logits differ by ${largestLogitDifference} at most\n`,
  );
}
for (const { kind, length, timesAsFast, memory } of result.ratios) {
  process.stdout.write(`${kind}, 1 x ${length}: ${timesAsFast} times as fast as PEFT, in ${memory} times its memory\n`);
}
process.stdout.write(`${JSON.stringify(result)}\n`);
