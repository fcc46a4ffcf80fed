import { execFile } from "node:child_process";
import { accessSync, constants, existsSync, readFileSync, statfsSync } from "node:fs";
import { cpus, freemem, totalmem } from "node:os";
import { dirname, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { findRunningStudio } from "./running-studio.ts";

const run = promisify(execFile);

/** A device's speed in float32 matrix products, or why it cannot be used. */
type Measured = { gflops: number; model: string } | { error: string };

/** Report of the engine's probe (src/engine/probe.ts). */
interface Probe {
  gpus: { name: string; driver?: string; memory?: number }[];
  runtime: { version: string };
  devices: { cpu: Measured; webgpu: Measured };
  auto: string;
}

/** Result of {@link diagnose}. Sizes are in bytes. */
export interface Diagnosis {
  anneal: string;
  node: { version: string; path: string; platform: string };
  onnxruntime?: string;
  processor: { model: string; cores: number; instructions: string[] };
  memory: { total: number; free: number };
  gpus: Probe["gpus"];
  devices?: Probe["devices"];
  auto?: string;
  chromium?: string;
  data: { folder: string; exists: boolean; writable: boolean; free?: number; studio?: string };
  /** Problems and how to fix them, including minor ones. */
  advice: string[];
  /** Whether notebooks can train here. */
  healthy: boolean;
}

/** Instruction sets that speed up matrix products. */
const instructionSets = ["avx2", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_int8", "amx_bf16"];
const armInstructionSets = ["asimddp", "i8mm", "bf16", "sve", "sve2", "sme"];

const browsers = [
  "/usr/bin/chromium",
  "/usr/bin/chromium-browser",
  "/usr/bin/google-chrome",
  "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
];

/**
 * Examines this machine.
 * @param dataDir the data folder to report on
 * @param seconds duration of each device's measurement
 */
export async function diagnose(dataDir: string, seconds = 2): Promise<Diagnosis> {
  const manifest = new URL("../../package.json", import.meta.url);
  const advice: string[] = [];
  const probe = await probeDevices(seconds).catch((error: Error) => {
    advice.push(`The engine does not run: ${error.message}. Reinstall the packages: npm ci`);
    return undefined;
  });
  const { cpu, webgpu } = probe?.devices ?? {};
  if (cpu && "error" in cpu) advice.push(`Programs do not run on the CPU: ${cpu.error}`);
  if (webgpu && "error" in webgpu && probe && probe.gpus.length > 0) {
    advice.push(`The GPU is not used: ${webgpu.error}`);
  }
  const chromium = [process.env.CHROMIUM, ...browsers].find((path) => path && existsSync(path));
  if (!chromium) {
    advice.push(
      "Chromium is missing, which only the browser tests need: apt-get install chromium, or set CHROMIUM to its path",
    );
  }
  const data = await examineData(dataDir);
  if (!data.writable) advice.push(`The data folder ${data.folder} is not writable: choose another with --data`);
  if (data.free !== undefined && data.free < 2e9) {
    advice.push(`Only ${showSize(data.free)} are free on the disk of the data folder: checkpoints may not fit`);
  }
  return {
    anneal: (JSON.parse(readFileSync(manifest, "utf8")) as { version: string }).version,
    node: { version: process.version, path: process.execPath, platform: `${process.platform}-${process.arch}` },
    ...(probe ? { onnxruntime: probe.runtime.version } : {}),
    processor: {
      model: cpus()[0]?.model.trim() ?? "unknown",
      cores: cpus().length,
      instructions: await findInstructions(),
    },
    memory: { total: totalmem(), free: freemem() },
    gpus: probe?.gpus ?? [],
    ...(probe ? { devices: probe.devices, auto: probe.auto } : {}),
    ...(chromium ? { chromium } : {}),
    data,
    advice,
    healthy: cpu !== undefined && "gflops" in cpu && data.writable,
  };
}

/** Runs the engine's probe in a separate process, because a broken driver may crash it. */
async function probeDevices(seconds: number): Promise<Probe> {
  const script = fileURLToPath(new URL("../src/engine/probe.js", import.meta.url));
  const { stdout } = await run(process.execPath, [script, String(seconds)], { timeout: 120_000 });
  return JSON.parse(stdout) as Probe;
}

/** Returns which of the instruction sets above the processor supports. */
async function findInstructions(): Promise<string[]> {
  const { cpuFlags } = await import("systeminformation");
  const flags = new Set((await cpuFlags()).toLowerCase().split(/\s+/));
  return [...instructionSets, ...armInstructionSets].filter((name) => flags.has(name));
}

async function examineData(dataDir: string): Promise<Diagnosis["data"]> {
  const folder = resolve(dataDir);
  // A folder that does not exist yet will be created in its nearest existing ancestor.
  let nearest = folder;
  while (!existsSync(nearest)) nearest = dirname(nearest);
  const { bavail, bsize } = statfsSync(nearest);
  const studio = await findRunningStudio(folder);
  return {
    folder,
    exists: nearest === folder,
    writable: isWritable(nearest),
    free: bavail * bsize,
    ...(studio ? { studio: studio.url } : {}),
  };
}

function isWritable(folder: string): boolean {
  try {
    accessSync(folder, constants.W_OK);
    return true;
  } catch {
    return false;
  }
}

const showSize = (bytes: number) => (bytes >= 1e9 ? `${(bytes / 1e9).toFixed(1)} GB` : `${Math.round(bytes / 1e6)} MB`);

function showMeasured(measured: Measured | undefined): string {
  if (!measured) return "not measured";
  if ("error" in measured) return `not usable: ${measured.error}`;
  return `${measured.gflops} GFLOP/s of float32 matrix products (${measured.model})`;
}

/** Formats a diagnosis: one line per fact, then the advice. */
export function showDiagnosis(diagnosis: Diagnosis): string {
  const { processor, memory, gpus, devices, data } = diagnosis;
  const instructions = processor.instructions.length > 0 ? `, ${processor.instructions.join(" ")}` : "";
  const cards = gpus.map(({ name, driver, memory: size }) =>
    [name, driver && `driver ${driver}`, size && showSize(size)].filter(Boolean).join(", "),
  );
  const facts: [string, string][] = [
    ["Anneal", diagnosis.anneal],
    ["Node.js", `${diagnosis.node.version} (${diagnosis.node.platform}, ${diagnosis.node.path})`],
    ["ONNX Runtime", diagnosis.onnxruntime ?? "does not run"],
    ["Processor", `${processor.model}, ${processor.cores} cores${instructions}`],
    ["Memory", `${showSize(memory.total)}, ${showSize(memory.free)} free`],
    ...(cards.length > 0 ? cards : ["none"]).map((card): [string, string] => ["GPU", card]),
    ["cpu", showMeasured(devices?.cpu)],
    ["webgpu", showMeasured(devices?.webgpu)],
    ["auto selects", diagnosis.auto ?? "nothing"],
    ["Chromium", diagnosis.chromium ?? "missing"],
    [
      "Data folder",
      `${data.folder}${data.exists ? "" : " (not created yet)"}${data.writable ? "" : " (not writable)"}`,
    ],
    ["Free disk", data.free === undefined ? "unknown" : showSize(data.free)],
    ["Studio", data.studio ?? "not running on this data folder"],
  ];
  const width = Math.max(...facts.map(([name]) => name.length)) + 2;
  const lines = facts.map(([name, value]) => `  ${name.padEnd(width)}${value}`);
  const advice = diagnosis.advice.map((text) => `  - ${text}`);
  const verdict = diagnosis.healthy ? "Notebooks can train here." : "Notebooks cannot train here.";
  return [...lines, "", verdict, ...(advice.length > 0 ? ["", "How to fix:", ...advice] : [])].join("\n");
}
