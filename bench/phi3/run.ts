import { spawn } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { cpus, tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { hasPeer, peerScript, python } from "../peer.ts";
import type { PhaseRequest } from "./phase.ts";
import type { Phase, Phi3Bench } from "./spec.ts";

/** Result of the whole bench. */
export interface Phi3Result {
  bench: "phi3-mini";
  spec: Phi3Bench;
  cpu: string | undefined;
  phases: Phase[];
  /** For each quantization: whether a reloaded adapter on a reloaded model gives the same results as the trained one. */
  reloaded: { kind: string; length: number; largestLogitDifference: number; sameIds: boolean }[];
  peer: Phase[];
  /** Our tokens per second and peak memory, relative to the peer's. */
  ratios: { kind: string; length: number; timesAsFast: number; memory: number }[];
}

/** Runs all phases, with a separate process for each quantization and length, one after the other. */
export async function runPhi3Bench(
  bench: Phi3Bench,
  say: (line: string) => void = () => undefined,
): Promise<Phi3Result> {
  const result: Phi3Result = {
    bench: "phi3-mini",
    spec: bench,
    cpu: cpus()[0]?.model,
    phases: [],
    reloaded: [],
    peer: [],
    ratios: [],
  };
  const scratch = await mkdtemp(join(tmpdir(), "anneal-bench-adapters-"));
  const own = async (request: Omit<PhaseRequest, "bench">): Promise<Phase[]> => {
    const { kind, length } = request;
    const facts = { ...(kind ? { kind } : {}), ...(length ? { length } : {}) };
    const file = fileURLToPath(new URL("./phase.js", import.meta.url));
    const reports = await run(process.execPath, [file, JSON.stringify({ bench, ...request })], {}, (phase) => {
      say(describe({ ...facts, ...phase }));
    });
    const phases = reports.map((phase) => ({ ...facts, ...phase }));
    result.phases.push(...phases.map(({ logits: _, ...rest }) => rest));
    return phases;
  };
  try {
    await own({ work: "write" });
    for (const kind of bench.kinds) {
      for (const length of bench.lengths) {
        const adapter = join(scratch, `${kind}-${length}`);
        const before = await own({ work: "train", kind, length, adapter });
        // What is saved does not depend on the length, so one reload suffices.
        if (length !== bench.lengths[0]) continue;
        const after = await own({ work: "reload", kind, length, adapter });
        result.reloaded.push({ kind, length, ...compare(before, after) });
      }
    }
  } finally {
    await rm(scratch, { recursive: true, force: true });
  }
  if (bench.peer && hasPeer("lora")) {
    for (const [i, length] of bench.lengths.entries()) result.peer.push(...(await runPeer(bench, length, i, say)));
    result.ratios = compareWithPeer(result);
  } else {
    say("no peer: PyTorch, transformers and PEFT are disabled, or not installed (PYTHON, PYTHONPATH)");
  }
  return result;
}

async function runPeer(bench: Phi3Bench, length: number, i: number, say: (line: string) => void): Promise<Phase[]> {
  const checkpointing = length >= bench.checkpointFrom;
  const args = [
    bench.folder,
    length,
    bench.peerSteps[i] ?? bench.steps,
    bench.rank,
    checkpointing ? "checkpointing" : "whole",
    bench.peerDtype,
  ];
  const env = { THREADS: String(bench.threads) };
  const facts = { kind: `PEFT, ${bench.peerDtype}`, length };
  const phases: Phase[] = [];
  const limit = AbortSignal.timeout(bench.peerMinutes * 60_000);
  const command = [peerScript("phi3_mini.py"), ...args.map(String)];
  const listen = (phase: Phase) => {
    phases.push({ ...facts, ...phase });
    say(describe({ ...facts, ...phase }));
  };
  await run(python, command, env, listen, limit).catch((error: Error) => {
    if (!limit.aborted) throw error;
    say(`PEFT at 1 x ${length} did not finish ${args[2]} steps in ${bench.peerMinutes} minutes, and was stopped`);
  });
  return phases;
}

/** Runs a process that writes a line of JSON for each of its phases. */
async function run(
  command: string,
  args: readonly string[],
  env: Readonly<Record<string, string>>,
  onPhase: (phase: Phase) => void,
  signal?: AbortSignal,
): Promise<Phase[]> {
  const child = spawn(command, args, {
    stdio: ["ignore", "pipe", "inherit"],
    env: { ...process.env, ...env },
    ...(signal ? { signal } : {}),
  });
  const ended = new Promise<string>((resolve, reject) => {
    child.once("error", reject);
    child.once("close", (code, signal) => resolve(String(signal ?? code)));
  });
  // The process may fail while its lines are read; the error is reported afterwards.
  ended.catch(() => undefined);
  const phases: Phase[] = [];
  for await (const line of createInterface({ input: child.stdout })) {
    const phase = JSON.parse(line) as Phase;
    phases.push(phase);
    onPhase(phase);
  }
  const how = await ended;
  if (how !== "0") {
    const last = phases.at(-1)?.phase ?? "nothing";
    throw new Error(`${command} ended with ${how} after "${last}"; its output is above.`);
  }
  return phases;
}

function compare(before: readonly Phase[], after: readonly Phase[]) {
  const part = (phases: readonly Phase[], name: string) => phases.find(({ phase }) => phase === name);
  const [a, b] = [before, after].map((phases) => part(phases, "logits")?.logits ?? []);
  const largestLogitDifference =
    a.length === b.length && a.length > 0
      ? a.reduce((most, x, i) => Math.max(most, Math.abs(x - b[i])), 0)
      : Number.NaN;
  const [left, right] = [before, after].map((phases) => String(part(phases, "generate")?.ids));
  return { largestLogitDifference, sameIds: left === right };
}

function compareWithPeer({ phases, peer }: Phi3Result): Phi3Result["ratios"] {
  const trained = (all: readonly Phase[]) => all.filter(({ phase }) => phase === "train");
  return trained(phases).flatMap((own) => {
    const other = trained(peer).find(({ length }) => length === own.length);
    if (!other?.tokensPerSecond || !own.tokensPerSecond) return [];
    return {
      kind: own.kind ?? "",
      length: own.length ?? 0,
      timesAsFast: Number((own.tokensPerSecond / other.tokensPerSecond).toFixed(2)),
      memory: Number((own.peakMemoryMb / other.peakMemoryMb).toFixed(2)),
    };
  });
}

function describe({
  phase,
  kind,
  length,
  seconds,
  cpuSeconds,
  peakMemoryMb,
  losses,
  stepSeconds,
  tokensPerSecond,
  ids,
}: Phase) {
  return [
    [phase, kind, length && `1 x ${length}`].filter(Boolean).join(", ").padEnd(40),
    `${seconds.toFixed(1)} s`.padStart(10),
    `(${cpuSeconds.toFixed(1)} s of processor)`.padStart(26),
    `peak ${peakMemoryMb} MB`.padStart(15),
    ...(tokensPerSecond ? [`${tokensPerSecond} tokens/s`] : []),
    ...(losses ? [`losses ${losses.map((loss) => loss.toFixed(4)).join(", ")}`] : []),
    ...(stepSeconds ? [`steps of ${stepSeconds.map((s) => s.toFixed(1)).join(", ")} s`] : []),
    ...(ids ? [`ids ${ids.join(" ")}`] : []),
  ].join("  ");
}
