/** Memory and CPU usage of the kernel, in the format that ipykernel reports to jupyter-resource-usage. */
import { readdirSync, readFileSync } from "node:fs";
import { cpus, freemem, hostname, totalmem } from "node:os";

/** The content of usage_reply. Memory in bytes; CPU usage in percent of one processor since the last request. */
export interface Usage {
  hostname: string;
  pid: number;
  kernel_cpu: number;
  kernel_memory: number;
  host_cpu_percent: number;
  cpu_count: number;
  host_virtual_memory: { total: number; available: number; used: number; free: number; percent: number };
}

/** Clock ticks per second of /proc/<pid>/stat; 100 on all current Linux systems. */
const ticksPerSecond = 100;

let last = { at: performance.now(), ticks: new Map<number, number>(), busy: 0, all: 0 };

/** Usage of the given processes and all their descendants. */
export function usageOf(roots: readonly (number | undefined)[]): Usage {
  const pids = withDescendants(roots.filter((pid) => pid !== undefined));
  const now = performance.now();
  const ticks = new Map(pids.map((pid) => [pid, ticksOf(pid)]));
  const seconds = Math.max(1e-3, (now - last.at) / 1000);
  let spent = 0;
  for (const [pid, count] of ticks) spent += count - (last.ticks.get(pid) ?? count);
  const times = cpus().map((cpu) => cpu.times);
  const all = times.reduce((sum, { user, nice, sys, idle, irq }) => sum + user + nice + sys + idle + irq, 0);
  const busy = all - times.reduce((sum, { idle }) => sum + idle, 0);
  const host = all > last.all ? (100 * (busy - last.busy)) / (all - last.all) : 0;
  last = { at: now, ticks, busy, all };
  const [total, free] = [totalmem(), freemem()];
  const available = availableMemory() ?? free;
  return {
    hostname: hostname(),
    pid: process.pid,
    kernel_cpu: (100 * spent) / ticksPerSecond / seconds,
    kernel_memory: pids.reduce((sum, pid) => sum + memoryOf(pid), 0),
    host_cpu_percent: host,
    cpu_count: times.length,
    host_virtual_memory: {
      total,
      available,
      used: total - available,
      free,
      percent: (100 * (total - available)) / total,
    },
  };
}

function withDescendants(roots: readonly number[]): number[] {
  const children = new Map<number, number[]>();
  try {
    for (const name of readdirSync("/proc")) {
      const parent = /^\d+$/.test(name) ? statOf(Number(name))?.[1] : undefined;
      if (parent !== undefined) children.set(Number(parent), [...(children.get(Number(parent)) ?? []), Number(name)]);
    }
  } catch {
    // Not Linux: count only the given processes.
  }
  const pids = new Set<number>();
  const visit = (pid: number): void => {
    if (pids.has(pid)) return;
    pids.add(pid);
    children.get(pid)?.forEach(visit);
  };
  roots.forEach(visit);
  return [...pids];
}

/** The fields of /proc/<pid>/stat after the program's name, which may contain spaces and parentheses. */
function statOf(pid: number): string[] | undefined {
  try {
    return readFileSync(`/proc/${pid}/stat`, "utf8").split(") ").at(-1)?.split(" ");
  } catch {
    return undefined;
  }
}

function ticksOf(pid: number): number {
  const fields = statOf(pid);
  return Number(fields?.[11] ?? 0) + Number(fields?.[12] ?? 0);
}

/** The proportional set size (PSS) in bytes: shared memory is divided among its processes. */
function memoryOf(pid: number): number {
  try {
    const kilobytes = /^Pss:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/smaps_rollup`, "utf8"))?.[1];
    return 1024 * Number(kilobytes ?? 0);
  } catch {
    return pid === process.pid ? process.memoryUsage.rss() : 0;
  }
}

function availableMemory(): number | undefined {
  try {
    return 1024 * Number(/^MemAvailable:\s+(\d+)/m.exec(readFileSync("/proc/meminfo", "utf8"))?.[1]);
  } catch {
    return undefined;
  }
}
