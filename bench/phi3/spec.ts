// Settings of the bench "phi3-mini": sizes of the model, and how each phase is run.
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import type { Quantization } from "../../src/index.ts";

/** Settings of the bench. */
export interface Phi3Bench {
  layers: number;
  hidden: number;
  heads: number;
  mlp: number;
  vocabulary: number;
  positions: number;
  /** Maximum bytes per file of the checkpoint. */
  maxShardSize: number;
  /** Folder of the checkpoint. */
  folder: string;
  kinds: readonly Quantization[];
  /** Tokens per step. */
  lengths: readonly number[];
  /** Minimum length for gradient checkpointing. */
  checkpointFrom: number;
  steps: number;
  rank: number;
  newTokens: number;
  threads: number;
  peer: boolean;
  /** Steps of the peer for each of the lengths. */
  peerSteps: readonly number[];
  /** Dtype of the peer's weights; the default is that of the files. */
  peerDtype: "bfloat16" | "float32";
  /** Time limit of the peer for each length. */
  peerMinutes: number;
}

const presets: Readonly<Record<string, Partial<Phi3Bench>>> = {
  "phi3-mini": {},
  small: {
    layers: 2,
    hidden: 64,
    heads: 4,
    mlp: 128,
    vocabulary: 320,
    positions: 128,
    lengths: [16, 32],
    checkpointFrom: 32,
    maxShardSize: 100_000,
  },
};

/** Returns the settings of a preset ("phi3-mini", "small"), with changes. */
export function phi3Bench(changes: Partial<Phi3Bench> = {}, preset = "phi3-mini"): Phi3Bench {
  const base = presets[preset];
  if (!base) throw new Error(`There is no preset ${preset}; the presets are ${Object.keys(presets).join(", ")}.`);
  const bench: Phi3Bench = {
    layers: 32,
    hidden: 3072,
    heads: 32,
    mlp: 8192,
    vocabulary: 32_064,
    positions: 4096,
    maxShardSize: 5e9,
    folder: "",
    kinds: ["nf4", "int8"],
    lengths: [256, 1024],
    checkpointFrom: 1024,
    steps: 3,
    rank: 16,
    newTokens: 8,
    threads: 2,
    peer: true,
    peerSteps: [3, 3],
    peerDtype: "bfloat16",
    peerMinutes: 30,
    ...base,
    ...changes,
  };
  const { layers, hidden, heads, mlp, vocabulary } = bench;
  bench.folder ||= join(tmpdir(), "anneal-bench", `phi3-${[layers, hidden, heads, mlp, vocabulary].join("x")}`);
  return bench;
}

const numbers = (text: string): number[] => text.split(",").map(Number);

/** Parses the settings of a command line: `small --layers=3 --lengths=16,64 --kinds=int8 --no-peer`. */
export function parsePhi3Bench(args: readonly string[]): Phi3Bench {
  const single = ["layers", "hidden", "heads", "mlp", "vocabulary", "positions", "steps", "rank", "threads"] as const;
  const { values, positionals } = parseArgs({
    args: [...args],
    allowPositionals: true,
    options: {
      ...Object.fromEntries(single.map((name) => [name, { type: "string" as const }])),
      "max-shard-size": { type: "string" },
      "checkpoint-from": { type: "string" },
      "new-tokens": { type: "string" },
      folder: { type: "string" },
      kinds: { type: "string" },
      lengths: { type: "string" },
      "peer-steps": { type: "string" },
      "peer-dtype": { type: "string" },
      "peer-minutes": { type: "string" },
      "no-peer": { type: "boolean" },
    },
  });
  const flags = values as Readonly<Record<string, string | boolean | undefined>>;
  const text = (name: string) => (typeof flags[name] === "string" ? flags[name] : undefined);
  const changes: Partial<Phi3Bench> = {};
  const take = (key: keyof Phi3Bench, option: string, read: (text: string) => unknown) => {
    const value = text(option);
    if (value !== undefined) Object.assign(changes, { [key]: read(value) });
  };
  for (const name of single) take(name, name, Number);
  take("maxShardSize", "max-shard-size", Number);
  take("checkpointFrom", "checkpoint-from", Number);
  take("newTokens", "new-tokens", Number);
  take("folder", "folder", String);
  take("kinds", "kinds", (list) => list.split(","));
  take("lengths", "lengths", numbers);
  take("peerSteps", "peer-steps", numbers);
  take("peerDtype", "peer-dtype", String);
  take("peerMinutes", "peer-minutes", Number);
  if (flags["no-peer"]) changes.peer = false;
  return phi3Bench(changes, positionals[0]);
}

/** Report of a phase. */
export interface Phase {
  phase: string;
  /** Duration of this phase only. */
  seconds: number;
  /** CPU time of all threads, which is more meaningful than `seconds` on a shared machine. */
  cpuSeconds: number;
  /** Peak memory of the process until the end of the phase, in MB of 2^20 bytes. */
  peakMemoryMb: number;
  kind?: string;
  length?: number;
  checkpointing?: boolean;
  losses?: readonly number[];
  stepSeconds?: readonly number[];
  /** Without the first step, which includes building and compiling. */
  tokensPerSecond?: number;
  ids?: readonly number[];
  logits?: readonly number[];
}
