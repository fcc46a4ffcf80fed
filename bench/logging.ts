// The cost of logging for a training process: 100 metrics per step of 20 ms, sent to a tracker in another process.
// Arguments: --steps=1000 --metrics=100 --step-ms=20
import { spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { availableParallelism, cpus, tmpdir } from "node:os";
import { join } from "node:path";
import { performance } from "node:perf_hooks";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { startRun } from "../src/track/index.ts";

const argument = (name: string, fallback: number) =>
  Number(new RegExp(`--${name}=(\\d+)`).exec(process.argv.join(" "))?.[1] ?? fallback);
const steps = argument("steps", 1000);
const metrics = argument("metrics", 100);
const stepMs = argument("step-ms", 20);

const folder = mkdtempSync(join(tmpdir(), "anneal-bench-logging-"));
const cli = fileURLToPath(new URL("../server/cli/main.js", import.meta.url));
const server = spawn(process.execPath, [cli, "tracker", "--port", "0", "--data", folder, "--no-browser"], {
  stdio: ["ignore", "pipe", "inherit"],
});
process.on("exit", () => {
  server.kill("SIGKILL");
  rmSync(folder, { recursive: true, force: true });
});
const url = await new Promise<string>((resolve) => {
  let output = "";
  server.stdout.on("data", (chunk: Buffer) => {
    output += chunk;
    const match = /http:\/\/[\d.]+:\d+/.exec(output)?.[0];
    if (match) resolve(match);
  });
});
process.env.ANNEAL_DATA = join(folder, "client");
process.env.ANNEAL_TRACKER_URI = url;
process.env.ANNEAL_TOKEN = readFileSync(join(folder, "token"), "utf8").trim();

interface Cost {
  /** Busy time of the main thread, in milliseconds per step. */
  main: number;
  /** CPU time of all threads, in milliseconds per step. */
  processor: number;
}

/** Runs steps in which the main thread mostly waits, as it does for an engine. */
async function cost(each: (step: number) => void): Promise<Cost> {
  const [loop, used] = [performance.eventLoopUtilization(), process.cpuUsage()];
  const start = performance.now();
  for (let step = 1; step <= steps; step++) {
    each(step);
    await sleep(Math.max(0, start + step * stepMs - performance.now()));
  }
  const { active } = performance.eventLoopUtilization(loop);
  const { user, system } = process.cpuUsage(used);
  return { main: active / steps, processor: (user + system) / 1000 / steps };
}

const keys = Array.from({ length: metrics }, (_, i) => `layer_${i}/grad_norm`);
const values = (step: number) => Object.fromEntries(keys.map((key, i) => [key, Math.sin(step + i)]));

await cost((step) => values(step)); // warm-up
const idle = await cost((step) => values(step));
const run = startRun({ name: "logging", experiment: "bench" });
for (let step = -100; step < 0; step++) run.logMetrics(values(step), step);
await run.flush();
const calls: number[] = [];
const logging = await cost((step) => {
  const point = values(step);
  const start = performance.now();
  run.logMetrics(point, step);
  calls.push(performance.now() - start);
});
const catchUp = performance.now();
await run.end();
const rest = performance.now() - catchUp;

calls.sort((a, b) => a - b);
const mean = calls.reduce((sum, ms) => sum + ms, 0) / calls.length;
const figures = {
  "logMetrics, mean (ms)": mean,
  "logMetrics, 99th percentile (ms)": calls[Math.floor(0.99 * calls.length)],
  "main thread, a step (ms)": logging.main - idle.main,
  "all threads, a step (ms)": logging.processor - idle.processor,
  "share of a step, main thread (%)": (100 * (logging.main - idle.main)) / stepMs,
  "share of a step, all threads (%)": (100 * (logging.processor - idle.processor)) / stepMs,
  "end of the run (ms)": rest,
};
console.log(`${metrics} metrics per step of ${stepMs} ms, ${steps} steps`);
for (const [name, value] of Object.entries(figures)) console.log(`${name.padEnd(40)} ${value.toFixed(3).padStart(9)}`);
console.log(
  JSON.stringify({
    bench: "logging",
    node: process.version,
    cpu: cpus()[0]?.model,
    threads: availableParallelism(),
    ...Object.fromEntries(Object.entries(figures).map(([name, value]) => [name, Number(value.toPrecision(3))])),
  }),
);
server.kill("SIGTERM");
