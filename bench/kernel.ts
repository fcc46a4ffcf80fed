// Compares the kernel with ipykernel, alternating, if ipykernel is installed (PYTHON selects another interpreter). Times are
// medians in milliseconds; memory is that of all of the kernel's processes in megabytes, with shared pages divided (PSS).
// Arguments: --no-peer.
import { spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { cpus, tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { KernelClient } from "../kernel/client.ts";

interface Subject {
  name: string;
  command?: [string, ...string[]];
  /** A cell in which `#` is replaced by a number. */
  declaration: string;
  completion: string;
  inspection: string;
  print: string;
  endless: string;
  /** The same sum in a top-level variable and in a local variable of a function. */
  loops: [topLevel: string, local: string];
}

const ours: Subject = {
  name: "anneal",
  declaration: "const value# = #; interface Shape# { sides: number }",
  completion: "process.vers",
  inspection: "process",
  print: "for (let i = 0; i < 10_000; i++) console.log(i)",
  endless: 'console.log("on"); while (true) {}',
  loops: [
    "let sum = 0; for (let i = 0; i < 3e7; i++) { sum += i % 7; }",
    "(() => { let sum = 0; for (let i = 0; i < 3e7; i++) { sum += i % 7; } return sum })(); undefined",
  ],
};
const python = process.env.PYTHON ?? "python3";
const peer: Subject = {
  name: "ipykernel",
  command: [python, "-m", "ipykernel_launcher", "-f", "{connection_file}"],
  declaration: "value# = #",
  completion: "print.__ca",
  inspection: "print",
  print: "for i in range(10_000): print(i)",
  endless: 'print("on", flush=True)\nwhile True: pass',
  loops: [
    "total = 0\nfor i in range(3_000_000): total += i % 7",
    "def f():\n  total = 0\n  for i in range(3_000_000): total += i % 7\nf()",
  ],
};

type Figures = Record<string, number>;

const median = (values: readonly number[]) =>
  [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN;

async function time(work: () => Promise<unknown>): Promise<number> {
  const start = performance.now();
  await work();
  return performance.now() - start;
}

async function times(count: number, work: (index: number) => Promise<unknown>): Promise<number> {
  const all: number[] = [];
  for (let index = 0; index < count; index++) all.push(await time(() => work(index)));
  return median(all);
}

/** Returns the ids of a process and its descendants. */
function family(pid: number): number[] {
  const below = readdirSync(`/proc/${pid}/task`).flatMap((task) =>
    readFileSync(`/proc/${pid}/task/${task}/children`, "utf8").trim().split(" ").filter(Boolean).map(Number),
  );
  return [pid, ...below.flatMap(family)];
}

function memory(pid: number): number {
  const kilobytes = family(pid).map((each) =>
    Number(/^Pss:\s+(\d+)/m.exec(readFileSync(`/proc/${each}/smaps_rollup`, "utf8"))?.[1] ?? 0),
  );
  return kilobytes.reduce((sum, each) => sum + each, 0) / 1024;
}

async function measure(subject: Subject): Promise<Figures> {
  const folder = mkdtempSync(join(tmpdir(), "anneal-bench-"));
  const start = performance.now();
  const client = await KernelClient.start({
    cwd: folder,
    data: join(folder, "data"),
    onLog: () => {},
    ...(subject.command ? { command: subject.command } : {}),
    env: { IPYTHONDIR: folder },
  });
  const figures: Figures = { start: performance.now() - start };
  const run = (code: string) => client.execute(code);
  figures.firstCell = await time(() => run("1+1"));
  // Waits until background work of the start has finished.
  await pause(2000);
  figures.idleMemory = memory(client.pid ?? 0);
  await times(20, () => run("1+1"));
  figures.onePlusOne = await times(100, () => run("1+1"));
  figures.newDeclaration = await times(60, (index) => run(subject.declaration.replaceAll("#", String(index))));
  const ask = (type: string, code: string) =>
    client.request("shell", type, { code, cursor_pos: code.length, detail_level: 0 });
  figures.complete = await times(40, () => ask("complete_request", subject.completion));
  figures.inspect = await times(40, () => ask("inspect_request", subject.inspection));
  figures.printed = await times(5, () => run(subject.print));
  figures.interrupt = await times(5, async () => {
    let began: () => void = () => {};
    const on = new Promise<void>((resolve) => {
      began = resolve;
    });
    const cell = client.execute(subject.endless, { onOutput: ({ header }) => header.msg_type === "stream" && began() });
    await on;
    interrupted = performance.now();
    // ipykernel handles signals; ours handles both.
    if (subject.command) process.kill(client.pid ?? 0, "SIGINT");
    else await client.interrupt();
    await cell;
    stopped.push(performance.now() - interrupted);
  });
  figures.interrupt = median(stopped.splice(0));
  await run(subject.loops[0]);
  const [top, local] = [await times(5, () => run(subject.loops[0])), await times(5, () => run(subject.loops[1]))];
  figures.topLevelLoopRatio = top / local;
  figures.memoryAfter = memory(client.pid ?? 0);
  await client.shutdown();
  rmSync(folder, { recursive: true, force: true });
  return figures;
}

let interrupted = 0;
const stopped: number[] = [];

const labels: Record<string, string> = {
  start: "start to ready",
  firstCell: "first cell",
  onePlusOne: "1+1",
  newDeclaration: "a cell with a new declaration",
  complete: "completion",
  inspect: "inspection",
  printed: "10 000 printed lines",
  interrupt: "interrupt of an endless loop",
  topLevelLoopRatio: "loop over a top-level variable, times a local one",
  idleMemory: "idle memory, MB",
  memoryAfter: "memory after it all, MB",
};

const hasPeer = !process.argv.includes("--no-peer") && spawnSync(python, ["-c", "import ipykernel"]).status === 0;
const subjects = hasPeer ? [ours, peer] : [ours];
const rounds = 3;
const measured = new Map<string, Figures[]>(subjects.map(({ name }) => [name, []]));
for (let round = 0; round < rounds; round++) {
  for (const subject of subjects) measured.get(subject.name)?.push(await measure(subject));
}
const result: Record<string, Figures> = {};
for (const [name, all] of measured) {
  result[name] = Object.fromEntries(
    Object.keys(labels).map((key) => [key, Number(median(all.map((figures) => figures[key])).toPrecision(3))]),
  );
}
console.log(`${"".padEnd(52)}${subjects.map(({ name }) => name.padStart(12)).join("")}`);
for (const [key, label] of Object.entries(labels)) {
  console.log(label.padEnd(52) + subjects.map(({ name }) => String(result[name]?.[key] ?? "").padStart(12)).join(""));
}
if (!hasPeer) console.log(`ipykernel is not installed for ${python}: nothing to compare with.`);
console.log(JSON.stringify({ bench: "kernel", cpu: cpus()[0]?.model, node: process.version, rounds, ...result }));
