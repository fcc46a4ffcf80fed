import { availableParallelism } from "node:os";
import { findGpus, findVulkan, type Gpu, processorName, type Vulkan } from "./hardware.ts";

/**
 * Where programs run: the processor, a GPU through WebGPU (Vulkan, Metal or Direct3D), or the interpreter, which computes
 * in double precision and is slow: for checks.
 */
export type DeviceName = "cpu" | "webgpu" | "interpreter";

/** What was chosen to run on. */
export interface Device {
  readonly name: DeviceName;
  /** Threads that one operation is spread over (CPU). */
  readonly threads: number;
  /** The processor's or card's model, as the system names it. */
  readonly model: string;
  /** Why this one, in a few words. */
  readonly reason: string;
}

/** What was asked for, checked. */
export interface DeviceRequest {
  readonly device: DeviceName | "auto";
  readonly threads: number;
}

const names: readonly string[] = ["auto", "cpu", "webgpu", "interpreter"] satisfies (DeviceName | "auto")[];

/**
 * Check what to run on.
 * @param device the environment's ANNEAL_DEVICE when left out, else "auto"
 * @param threads whole number of 1 or more; as many as the machine lets this process use when left out
 */
export function checkDevice(device?: string, threads = availableParallelism()): DeviceRequest {
  if (!Number.isInteger(threads) || threads < 1) throw new RangeError(`threads must be 1 or more, not ${threads}`);
  const wanted = device ?? (process.env.ANNEAL_DEVICE || "auto");
  if (!names.includes(wanted)) {
    const source = device === undefined ? "ANNEAL_DEVICE" : "device";
    throw new RangeError(`${source} must be "auto", "cpu", "webgpu" or "interpreter", not "${wanted}"`);
  }
  return { device: wanted as DeviceName | "auto", threads };
}

/** How much faster than the processor a GPU must multiply matrices for "auto" to take it: less is not worth other bits. */
export const worthwhile = 2;

/** What there is to choose from. */
export interface Candidates {
  readonly gpus: readonly Gpu[];
  /** Why a GPU cannot be used, as far as can be told without trying; undefined when there is nothing against it. */
  readonly obstacle?: string;
}

/** Look for a GPU that WebGPU may be able to use. */
export async function findCandidates(): Promise<Candidates> {
  const vulkan = findVulkan();
  if (vulkan?.software) return { gpus: [], obstacle: "Vulkan is set to software, which is slower than the CPU" };
  const gpus = await findGpus();
  if (gpus.length === 0) return { gpus, obstacle: "no GPU was found" };
  const lacking = vulkan ? lackOf(vulkan) : undefined;
  return { gpus, ...(lacking ? { obstacle: `the GPU ${gpus[0].name} cannot be used: ${lacking}` } : {}) };
}

/** What WebGPU misses on this machine and how to get it; undefined when all is there. */
export function lackOf({ loader, drivers }: Vulkan): string | undefined {
  if (!loader) return "the Vulkan loader libvulkan.so.1 is missing (apt-get install libvulkan1)";
  if (drivers.length > 0) return undefined;
  return "no Vulkan driver is installed (NVIDIA's comes with its driver, in a container with NVIDIA_DRIVER_CAPABILITIES=all; Mesa's is mesa-vulkan-drivers)";
}

/** The model that a GPU program runs on, as far as the system tells. */
export function gpuName(gpus: readonly Gpu[]): string {
  const vulkan = findVulkan();
  if (vulkan?.software) return "software Vulkan";
  return gpus[0]?.name ?? "unnamed GPU";
}

/** The CPU as a device. */
export const cpuDevice = (threads: number, reason: string): Device => {
  return { name: "cpu", threads, model: processorName(), reason };
};

/** `webgpu (NVIDIA H200): 38 times the CPU's matrix products`, one line for people. */
export function describeDevice({ name, threads, model, reason }: Device): string {
  const spread = name === "cpu" ? `, ${threads} thread${threads === 1 ? "" : "s"}` : "";
  return `${name} (${model}${spread}): ${reason}`;
}

/** A device as a run's tags tell it. */
export function deviceTags({ name, threads, model, reason }: Device): Record<string, string> {
  return {
    "anneal.device": name,
    "anneal.device.model": model,
    "anneal.device.reason": reason,
    "anneal.threads": String(threads),
  };
}
