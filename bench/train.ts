// Tokens per second and peak memory of one training step, its share of the matrix-product ceiling, and what PyTorch makes
// of the same step where it is installed. Everything takes turns, so that a machine that slows down slows all.
// Arguments: lora; int8; layers width heads mlp vocabulary batch length; --no-peer.
import { execFileSync } from "node:child_process";
import { availableParallelism, cpus } from "node:os";
import { setTimeout as pause } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { Engine } from "../src/index.ts";
import { hasPeer, Peer } from "./peer.ts";
import { median, openCeiling, openStep, parseSpec, time } from "./step.ts";

const args = process.argv.slice(2);
const spec = parseSpec(args);
const rounds = 7;
const engine = await Engine.open({ device: "cpu" });
const { threads } = engine.device;

const ceiling = await openCeiling(engine);
const step = await openStep(engine, spec);
const peers = new Map<string, Peer>();
if (!args.includes("--no-peer") && hasPeer(spec.method)) {
  for (const precision of ["float32", "bfloat16"]) {
    peers.set(precision, await Peer.start(spec, "cpu", precision, threads));
  }
}
for (let i = 0; i < 2; i++) {
  await ceiling.run();
  await step.run();
}

interface Round {
  ceiling: number;
  step: number;
  peers: Map<string, number>;
}
/** Threads that spin after their work, ours and the peers', are given time to go to sleep. */
const rest = () => pause(250);
const measured: Round[] = [];
for (let i = 0; i < rounds; i++) {
  const round: Round = { ceiling: await time(ceiling.run), step: await time(step.run), peers: new Map() };
  for (const [precision, peer] of peers) {
    await rest();
    round.peers.set(precision, await peer.step());
  }
  if (peers.size > 0) await rest();
  measured.push(round);
}

const tokens = spec.batch * spec.length;
const own = median(measured.map((round) => round.step));
const share = median(measured.map((round) => step.flop / round.step / (ceiling.flop / round.ceiling)));
const peerFigures: Record<string, { tokensPerSecond: number; timesAsFast: number; peakMemoryMb: number }> = {};
for (const [precision, peer] of peers) {
  const seconds = (round: Round) => round.peers.get(precision) ?? Number.NaN;
  peerFigures[precision] = {
    tokensPerSecond: Math.round(tokens / median(measured.map(seconds))),
    timesAsFast: Number(median(measured.map((round) => seconds(round) / round.step)).toFixed(2)),
    peakMemoryMb: Math.round((await peer.end()) / 2 ** 20),
  };
}
await engine.close();
// What this process held for the ceiling and the peers is none of the step's.
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
  ceilingGflops: Number((ceiling.flop / median(measured.map((round) => round.ceiling)) / 1e9).toFixed(1)),
  shareOfCeiling: Number(share.toFixed(3)),
  peakMemoryMb,
  peers: peerFigures,
};
const { layers, width, method, batch, length } = spec;
const lines = [
  `${method} step, ${layers} layers of width ${width}, ${batch} x ${length} tokens, ${spec.int8 ? "int8" : "float32"}, ${threads} threads`,
  `  ${figures.tokensPerSecond} tokens/s (median of ${rounds} steps; compiled in ${figures.compileSeconds} s), peak memory ${peakMemoryMb} MB`,
  `  matrix products alone run at ${figures.ceilingGflops} GFLOP/s here: the step reaches ${(100 * share).toFixed(0)} % of that`,
  ...Object.entries(peerFigures).map(
    ([precision, peer]) =>
      `  PyTorch, ${precision}: ${peer.tokensPerSecond} tokens/s, peak memory ${peer.peakMemoryMb} MB: ours is ${peer.timesAsFast} times as fast`,
  ),
  ...(peers.size === 0 ? ["  no peer: PyTorch, transformers and PEFT are not installed (PYTHON, PYTHONPATH)"] : []),
];
process.stdout.write(`${lines.join("\n")}\n${JSON.stringify(figures)}\n`);
