import { readFileSync } from "node:fs";
import { GpuWatch } from "./gpu.ts";

const mega = 1e6;

/** Parses the bytes that this process has read from and written to disks; undefined when not reported. */
export function parseDisk(text: string): { read: number; write: number } | undefined {
  const field = (name: string) => new RegExp(`^${name}: (\\d+)$`, "m").exec(text)?.[1];
  const [read, write] = [field("read_bytes"), field("write_bytes")];
  return read === undefined || write === undefined ? undefined : { read: Number(read), write: Number(write) };
}

/**
 * Parses the bytes received and sent over the network, without loopback. Linux counts them per network namespace, not per
 * process: in a container they are the container's, otherwise the machine's.
 */
export function parseNetwork(text: string): { receive: number; transmit: number } {
  const total = { receive: 0, transmit: 0 };
  for (const line of text.split("\n")) {
    const [name, counters] = line.split(":");
    if (counters === undefined || name.trim() === "lo") continue;
    const fields = counters.trim().split(/\s+/).map(Number);
    total.receive += fields[0];
    total.transmit += fields[8];
  }
  return total;
}

interface Counters {
  disk?: { read: number; write: number };
  network?: { receive: number; transmit: number };
}

function counters(): Counters {
  const read = (path: string) => {
    try {
      return readFileSync(path, "latin1");
    } catch {
      return undefined; // Not Linux, or not readable.
    }
  };
  const [io, net] = [read("/proc/self/io"), read("/proc/self/net/dev")];
  const disk = io === undefined ? undefined : parseDisk(io);
  return { ...(disk ? { disk } : {}), ...(net === undefined ? {} : { network: parseNetwork(net) }) };
}

/** Monitors this process's use of the machine. */
export class SystemMonitor {
  #cpu = process.cpuUsage();
  #time = process.hrtime.bigint();
  readonly #start = counters();
  readonly #gpu = new GpuWatch();

  /**
   * Returns metrics of this process: CPU in percent of one core since the last call, memory in MiB, megabytes read from and
   * written to disks since the monitor was created, network megabytes of the namespace since then, and the metrics of
   * {@link GpuWatch}.
   * @param cards whether to sample GPUs, which takes a second or more
   */
  async sample({ cards = true } = {}): Promise<Record<string, number>> {
    const [cpu, time] = [process.cpuUsage(this.#cpu), process.hrtime.bigint()];
    const elapsed = Number(time - this.#time) / 1000;
    this.#cpu = process.cpuUsage();
    this.#time = time;
    const [now, start] = [counters(), this.#start];
    return {
      "system/cpu_percent": (100 * (cpu.user + cpu.system)) / elapsed,
      "system/memory_mb": process.memoryUsage.rss() / 2 ** 20,
      ...(now.disk && start.disk
        ? {
            "system/disk_read_megabytes": (now.disk.read - start.disk.read) / mega,
            "system/disk_write_megabytes": (now.disk.write - start.disk.write) / mega,
          }
        : {}),
      ...(now.network && start.network
        ? {
            "system/network_receive_megabytes": (now.network.receive - start.network.receive) / mega,
            "system/network_transmit_megabytes": (now.network.transmit - start.network.transmit) / mega,
          }
        : {}),
      ...(cards ? await this.#gpu.sample() : {}),
    };
  }
}
