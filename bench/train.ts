// Tokens per second and peak memory of a training step, its share of the matrix-product ceiling, and PyTorch's speed for the
// same step if it is installed. Measurements alternate, so that a slowdown of the machine affects all of them.
// Arguments: lora; int8; layers width heads mlp vocabulary batch length; --no-peer; --rounds=7.
import { execFileSync } from "node:child_process";
import { availableParallelism, cpus } from "node:os";
import { setTimeout as pause } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { Engine } from "../src/index.ts";
import { hasPeer, Peer } from "./peer.ts";
import { median, openCeiling, openStep, parseSpec, time } from "./step.ts";

const args = process.argv.slice(2);
const spec = parseSpec(args);
const rounds = Number(args.find((argument) => argument.startsWith("--rounds="))?.slice("--rounds=".length) ?? 7);
const engine = await Engine.open({ device: "cpu" });
const { threads } = engine.device;

const ceiling = await openCeiling(engine);
const step = await openStep(engine, spec);
for (let i = 0; i < 2; i++) {
  await ceiling.run();
  await step.run();
}
const hasPyTorch = !args.includes("--no-peer") && hasPeer(spec.method);

interface Round {
  ceiling: number;
  step: number;
  peer: number;
}

/** Alternates between the ceiling, the step and a peer, with pauses for spinning threads to go to sleep. */
async function measure(peer?: Peer): Promise<Round[]> {
  const rest = () => (peer ? pause(250) : undefined);
  const measured: Round[] = [];
  for (let i = 0; i < rounds; i++) {
    const own = { ceiling: await time(ceiling.run), step: await time(step.run) };
    await rest();
    measured.push({ ...own, peer: (await peer?.step()) ?? Number.NaN });
    await rest();
  }
  return measured;
}

const tokens = spec.batch * spec.length;
const all: Round[] = [];
const peers: Record<string, { tokensPerSecond: number; timesAsFast: number; peakMemoryMb: number }> = {};
// One peer at a time, because two may not fit into memory with a large model.
for (const precision of hasPyTorch ? ["float32", "bfloat16"] : [undefined]) {
  const peer = precision ? await Peer.start(spec, "cpu", precision, threads) : undefined;
  const measured = await measure(peer);
  all.push(...measured);
  if (!peer || !precision) continue;
  peers[precision] = {
    tokensPerSecond: Math.round(tokens / median(measured.map((round) => round.peer))),
    timesAsFast: Number(median(measured.map((round) => round.peer / round.step)).toFixed(2)),
    peakMemoryMb: Math.round((await peer.end()) / 2 ** 20),
  };
}
const own = median(all.map((round) => round.step));
const share = median(all.map((round) => step.flop / round.step / (ceiling.flop / round.ceiling)));
await engine.close();
// Measured in a separate process, without the memory of the ceiling and the peers.
const alone = execFileSync(process.execPath, [fileURLToPath(new URL("./peak.js", import.meta.url)), ...args]);
const { peakMemoryMb } = JSON.parse(alone.toString()) as { peakMemoryMb: number };

const figures = {
  bench: "train",
  ...spec,
  device: engine.device.name,
  threads,
  cpu: cpus()[0]?.model,
  cores: availableParallelism(),
  tokensPerSecond: Math.round(tokens / own),
  stepSeconds: Number(own.toFixed(4)),
  compileSeconds: Number(step.compileSeconds.toFixed(2)),
  ceilingGflops: Number((ceiling.flop / median(all.map((round) => round.ceiling)) / 1e9).toFixed(1)),
  shareOfCeiling: Number(share.toFixed(3)),
  peakMemoryMb,
  peers,
};
const { layers, width, method, batch, length } = spec;
const lines = [
  `${method} step, ${layers} layers of width ${width}, ${batch} x ${length} tokens, ${spec.int8 ? "int8" : "float32"}, ${threads} threads`,
  `  ${figures.tokensPerSecond} tokens/s (median of ${all.length} steps; compiled in ${figures.compileSeconds} s), peak memory ${peakMemoryMb} MB`,
  `  matrix products alone run at ${figures.ceilingGflops} GFLOP/s here: the step reaches ${(100 * share).toFixed(0)} % of that`,
  ...Object.entries(peers).map(
    ([precision, peer]) =>
      `  PyTorch, ${precision}: ${peer.tokensPerSecond} tokens/s, peak memory ${peer.peakMemoryMb} MB: ours is ${peer.timesAsFast} times as fast`,
  ),
  ...(!hasPyTorch ? ["  no peer: PyTorch, transformers and PEFT are not installed (PYTHON, PYTHONPATH)"] : []),
];
process.stdout.write(`${lines.join("\n")}\n${JSON.stringify(figures)}\n`);
