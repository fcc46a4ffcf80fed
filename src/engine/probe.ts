// What there is to compute with, and how fast it is, as a line of JSON. A process of its own: a driver that crashes
// takes only this one along. Argument: seconds to measure each device.
import { availableParallelism } from "node:os";
import { pathToFileURL } from "node:url";
import { type DeviceName, describeDevice, findCandidates } from "./device.ts";
import { Engine } from "./engine.ts";
import { runtime } from "./executors.ts";
import { findGpus, findVulkan, type Gpu, processorName, type Vulkan } from "./hardware.ts";
import { measureGflops } from "./measure.ts";

/** A device's speed, or why it has none. */
export type Measured = { gflops: number; model: string } | { error: string };

/** What was found to compute with. */
export interface Probe {
  processor: { model: string; threads: number };
  gpus: Gpu[];
  vulkan?: Vulkan;
  runtime: { name: string; version: string };
  devices: Record<"cpu" | "webgpu", Measured>;
  /** What "auto" takes here, in one line. */
  auto: string;
}

async function measure(device: DeviceName, seconds: number): Promise<Measured> {
  try {
    const engine = await Engine.open({ device });
    const gflops = await measureGflops(engine, seconds);
    await engine.close();
    return { gflops: Number(gflops.toPrecision(3)), model: engine.device.model };
  } catch (error) {
    return { error: (error as Error).message };
  }
}

/** Look, and measure each device. */
export async function probe(seconds: number): Promise<Probe> {
  const vulkan = findVulkan();
  const cpu = await measure("cpu", seconds);
  // Trying in vain is not free of noise on the terminal: a driver that is known to be missing is not tried.
  const { obstacle } = await findCandidates();
  const hopeless = vulkan !== undefined && !vulkan.software && obstacle !== undefined;
  const webgpu = hopeless ? { error: obstacle } : await measure("webgpu", seconds);
  const auto = await Engine.open({ device: "auto" });
  await auto.close();
  return {
    processor: { model: processorName(), threads: availableParallelism() },
    gpus: await findGpus(),
    ...(vulkan ? { vulkan } : {}),
    runtime: runtime(),
    devices: { cpu, webgpu },
    auto: describeDevice(auto.device),
  };
}

if (process.argv[1] && import.meta.url === pathToFileURL(process.argv[1]).href) {
  process.stdout.write(`${JSON.stringify(await probe(Number(process.argv[2] ?? 2)))}\n`);
}
