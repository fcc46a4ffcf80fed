import { execFile } from "node:child_process";
import { promisify } from "node:util";

const run = promisify(execFile);

/** Watches this process's use of the machine. */
export class SystemMonitor {
  #cpu = process.cpuUsage();
  #time = process.hrtime.bigint();
  #gpu = true;

  /** Figures since the last call: CPU in percent of one core, memory in MiB, and an NVIDIA card's where there is one. */
  async sample(): Promise<Record<string, number>> {
    const [cpu, time] = [process.cpuUsage(this.#cpu), process.hrtime.bigint()];
    const elapsed = Number(time - this.#time) / 1000;
    this.#cpu = process.cpuUsage();
    this.#time = time;
    return {
      "system/cpu_percent": (100 * (cpu.user + cpu.system)) / elapsed,
      "system/memory_mb": process.memoryUsage.rss() / 2 ** 20,
      ...(await this.#sampleGpu()),
    };
  }

  async #sampleGpu(): Promise<Record<string, number>> {
    if (!this.#gpu) return {};
    try {
      const fields = "utilization.gpu,memory.used,power.draw";
      const query = [`--query-gpu=${fields}`, "--format=csv,noheader,nounits", "--id=0"];
      const { stdout } = await run("nvidia-smi", query, { timeout: 2000 });
      const [load, memory, power] = stdout.split(",").map(Number);
      return { "system/gpu_percent": load, "system/gpu_memory_mb": memory, "system/gpu_power_w": power };
    } catch {
      this.#gpu = false;
      return {};
    }
  }
}
