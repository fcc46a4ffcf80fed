// npm run test:gpu: checks WebGPU on this machine's GPU and measures training on it, compared with PyTorch on the same GPU if
// that is installed. Writes gpu.json and gpu.txt to the folder OUT (default: bench-gpu).
import { appendFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { findVulkan } from "../src/engine/hardware.ts";
import { probe } from "../src/engine/probe.ts";
import { describeDevice, Engine } from "../src/index.ts";
import { type CheckResult, runChecks } from "../tests/gpu/checks.ts";
import { hasPeer, Peer } from "./peer.ts";
import { median, openCeiling, openStep, parseSpec, type StepSpec, time } from "./step.ts";

const out = process.env.OUT ?? "bench-gpu";
const software = findVulkan()?.software ?? false;
const data = mkdtempSync(join(tmpdir(), "anneal-gpu-data-"));
process.env.ANNEAL_DATA = data;

/** Published peak TFLOP/s of dense products: float32 without tensor cores, float16 with them. */
const peaks: [RegExp, { float32: number; float16: number }][] = [
  [/H[12]00/, { float32: 67, float16: 989 }],
  [/A100/, { float32: 19.5, float16: 312 }],
  [/RTX 4090/, { float32: 82.6, float16: 165 }],
  [/\bL4\b/, { float32: 30.3, float16: 121 }],
  [/\bT4\b/, { float32: 8.1, float16: 65 }],
];

// Software emulation is about a thousand times slower than a GPU.
const sizes = software
  ? ["1 64 2 96 512 2 32"]
  : ["8 512 8 1408 8192 4 256", "4 2048 16 5632 32064 1 512", "4 3072 32 8192 32064 4 512"];
const precisions = ["float32", "tf32", "bfloat16"];
const rounds = 7;

mkdirSync(out, { recursive: true });
writeFileSync(join(out, "gpu.txt"), "");
const say = (text: string) => {
  process.stdout.write(`${text}\n`);
  appendFileSync(join(out, "gpu.txt"), `${text}\n`);
};
const figures: Record<string, unknown> = {};
const keep = (key: string, value: unknown) => {
  figures[key] = value;
  // Written after each result, in case the machine is taken away.
  writeFileSync(join(out, "gpu.json"), JSON.stringify(figures, null, 2));
};

async function ceilingOf(engine: Engine): Promise<number> {
  const work = await openCeiling(engine, software ? [64, 64, 64] : [4096, 4096, 4096]);
  await work.run();
  const seconds: number[] = [];
  for (let i = 0; i < rounds; i++) seconds.push(await time(work.run));
  await work.release();
  return work.flop / median(seconds) / 1e9;
}

async function benchStep(engine: Engine, spec: StepSpec, ceiling: number, card: string) {
  const step = await openStep(engine, spec);
  const first = await time(step.run);
  await step.run();
  const peers = new Map<string, Peer>();
  if (!software && hasPeer(spec.method)) {
    for (const precision of precisions) {
      const peer = await Peer.start(spec, "cuda", precision, 4).catch(() => undefined);
      if (peer) peers.set(precision, peer);
    }
  }
  const own: number[] = [];
  const others = new Map(precisions.map((precision) => [precision, [] as number[]]));
  for (let i = 0; i < rounds; i++) {
    own.push(await time(step.run));
    for (const [precision, peer] of peers) others.get(precision)?.push(await peer.step());
  }
  const tokens = spec.batch * spec.length;
  const seconds = median(own);
  const gflops = step.flop / seconds / 1e9;
  const peak = peaks.find(([name]) => name.test(card))?.[1];
  const result = {
    ...spec,
    tokensPerSecond: Math.round(tokens / seconds),
    stepSeconds: Number(seconds.toFixed(5)),
    firstStepSeconds: Number(first.toFixed(2)),
    compileSeconds: Number(step.compileSeconds.toFixed(2)),
    gflops: Number(gflops.toPrecision(4)),
    shareOfCeiling: Number((gflops / ceiling).toFixed(3)),
    ...(peak
      ? {
          shareOfFloat32Peak: Number((gflops / peak.float32 / 1000).toFixed(4)),
          shareOfFloat16Peak: Number((gflops / peak.float16 / 1000).toFixed(5)),
        }
      : {}),
    peers: {} as Record<string, { tokensPerSecond: number; timesAsFast: number; memoryMb: number }>,
  };
  for (const [precision, peer] of peers) {
    const other = median(others.get(precision) ?? []);
    result.peers[precision] = {
      tokensPerSecond: Math.round(tokens / other),
      timesAsFast: Number((other / seconds).toFixed(3)),
      memoryMb: Math.round((await peer.end()) / 2 ** 20),
    };
  }
  await step.release();
  return result;
}

async function main(): Promise<number> {
  const machine = await probe(software ? 0.1 : 2);
  keep("machine", machine);
  for (const { name, driver } of machine.gpus) say(`GPU: ${name}${driver ? `, driver ${driver}` : ""}`);
  const { webgpu, cpu } = machine.devices;
  if ("error" in webgpu) {
    say(`Skipped: ${webgpu.error}`);
    return 0;
  }
  if ("gflops" in cpu) say(`float32 products: ${webgpu.gflops} GFLOP/s by WebGPU, ${cpu.gflops} by the CPU`);
  say(`auto: ${machine.auto}`);

  const gpu = await Engine.open({ device: "webgpu" });
  say(describeDevice(gpu.device));
  const results: CheckResult[] = [];
  const good = await runChecks(gpu, (result) => {
    results.push(result);
    if (!result.ok) say(`WRONG ${result.check}: ${result.detail}`);
    keep("checks", results);
  });
  say(`${results.filter(({ ok }) => ok).length} of ${results.length} checks passed`);

  const ceiling = await ceilingOf(gpu);
  keep("ceilingGflops", ceiling);
  say(`large products alone: ${ceiling.toPrecision(4)} GFLOP/s`);
  const steps: unknown[] = [];
  for (const method of ["full", "lora"] as const) {
    for (const size of sizes) {
      const spec = parseSpec([method, ...size.split(" ")]);
      const title = `${method}, ${spec.layers} layers of width ${spec.width}, ${spec.batch} x ${spec.length} tokens`;
      try {
        const result = await benchStep(gpu, spec, ceiling, gpu.device.model);
        steps.push(result);
        say(`${title}: ${result.tokensPerSecond} tokens/s, ${(100 * result.shareOfCeiling).toFixed(1)} % of that`);
        for (const [precision, peer] of Object.entries(result.peers)) {
          say(`  PyTorch ${precision}: ${peer.tokensPerSecond} tokens/s; ours is ${peer.timesAsFast} times as fast`);
        }
      } catch (error) {
        steps.push({ ...spec, error: (error as Error).message });
        say(`${title}: ${(error as Error).message}`);
      }
      keep("steps", steps);
    }
  }
  await gpu.close();
  say(good ? "The GPU computes what the CPU computes." : "The GPU computes WRONGLY: see above.");
  return good ? 0 : 1;
}

process.exitCode = await main().finally(() => rmSync(data, { recursive: true, force: true }));
