// Prints the available devices and their speed as a line of JSON. Runs as a separate process, because a driver may crash.
// Argument: seconds per measurement.
import { availableParallelism } from "node:os";
import { pathToFileURL } from "node:url";
import { type DeviceName, describeDevice, findCandidates } from "./device.ts";
import { Engine } from "./engine.ts";
import { runtime } from "./executors.ts";
import { findGpus, findVulkan, type Gpu, processorName, type Vulkan } from "./hardware.ts";
import { measureGflops } from "./measure.ts";

/** A device's speed, or why it cannot be used. */
export type Measured = { gflops: number; model: string } | { error: string };

/** Result of {@link probe}. */
export interface Probe {
  processor: { model: string; threads: number };
  gpus: Gpu[];
  vulkan?: Vulkan;
  runtime: { name: string; version: string };
  devices: Record<"cpu" | "webgpu", Measured>;
  /** The device that "auto" selects, in one line. */
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

/** Detects and measures the devices. */
export async function probe(seconds: number): Promise<Probe> {
  const vulkan = findVulkan();
  const cpu = await measure("cpu", seconds);
  // A driver that is known to be missing is not tried, because that prints messages to the terminal.
  const { obstacle } = await findCandidates();
  const unusable = vulkan !== undefined && !vulkan.software && obstacle !== undefined;
  const webgpu = unusable ? { error: obstacle } : await measure("webgpu", seconds);
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
