import { availableParallelism } from "node:os";
import { findGpus, findVulkan, type Gpu, processorName, type Vulkan } from "./hardware.ts";

/**
 * Where programs run: the CPU, a GPU through WebGPU (Vulkan, Metal or Direct3D), or the interpreter, which computes in
 * double precision and is slow, for checks.
 */
export type DeviceName = "cpu" | "webgpu" | "interpreter";

/** The selected device. */
export interface Device {
  readonly name: DeviceName;
  /** Threads per operation (CPU). */
  readonly threads: number;
  /** Model of the processor or GPU, as reported by the system. */
  readonly model: string;
  /** Why this device was selected. */
  readonly reason: string;
}

/** A validated request for a device. */
export interface DeviceRequest {
  readonly device: DeviceName | "auto";
  readonly threads: number;
}

const names: readonly string[] = ["auto", "cpu", "webgpu", "interpreter"] satisfies (DeviceName | "auto")[];

/**
 * Validates the requested device.
 * @param device default: the environment's ANNEAL_DEVICE, else "auto"
 * @param threads at least 1; default: as many as this process may use
 */
export function checkDevice(device?: string, threads = availableParallelism()): DeviceRequest {
  if (!Number.isInteger(threads) || threads < 1) throw new RangeError(`threads must be 1 or more, not ${threads}`);
  const requested = device ?? (process.env.ANNEAL_DEVICE || "auto");
  if (!names.includes(requested)) {
    const source = device === undefined ? "ANNEAL_DEVICE" : "device";
    throw new RangeError(`${source} must be "auto", "cpu", "webgpu" or "interpreter", not "${requested}"`);
  }
  return { device: requested as DeviceName | "auto", threads };
}

/** Minimum speedup in matrix products over the CPU for "auto" to select a GPU, whose results differ slightly. */
export const worthwhile = 2;

/** GPUs that could be used. */
export interface Candidates {
  readonly gpus: readonly Gpu[];
  /** Why no GPU can be used, as far as known without trying; undefined if nothing is known. */
  readonly obstacle?: string;
}

/** Looks for GPUs that WebGPU may be able to use. */
export async function findCandidates(): Promise<Candidates> {
  const vulkan = findVulkan();
  if (vulkan?.software) return { gpus: [], obstacle: "Vulkan is set to software, which is slower than the CPU" };
  const gpus = await findGpus();
  if (gpus.length === 0) return { gpus, obstacle: "no GPU was found" };
  const lacking = vulkan ? missingForWebGpu(vulkan) : undefined;
  return { gpus, ...(lacking ? { obstacle: `the GPU ${gpus[0].name} cannot be used: ${lacking}` } : {}) };
}

/** Describes what WebGPU lacks on this machine and how to install it; undefined if nothing is missing. */
export function missingForWebGpu({ loader, drivers }: Vulkan): string | undefined {
  if (!loader) return "the Vulkan loader libvulkan.so.1 is missing (apt-get install libvulkan1)";
  if (drivers.length > 0) return undefined;
  return "no Vulkan driver is installed (NVIDIA's comes with its driver, in a container with NVIDIA_DRIVER_CAPABILITIES=all; Mesa's is mesa-vulkan-drivers)";
}

/** Returns the model of the GPU, as far as the system reports it. */
export function gpuName(gpus: readonly Gpu[]): string {
  const vulkan = findVulkan();
  if (vulkan?.software) return "software Vulkan";
  return gpus[0]?.name ?? "unnamed GPU";
}

/** Returns the CPU as a device. */
export const cpuDevice = (threads: number, reason: string): Device => {
  return { name: "cpu", threads, model: processorName(), reason };
};

/** Describes a device in one line: `webgpu (NVIDIA H200): 38 times the CPU's matrix products`. */
export function describeDevice({ name, threads, model, reason }: Device): string {
  const threadText = name === "cpu" ? `, ${threads} thread${threads === 1 ? "" : "s"}` : "";
  return `${name} (${model}${threadText}): ${reason}`;
}

/** Returns the tags that describe a device in a run. */
export function deviceTags({ name, threads, model, reason }: Device): Record<string, string> {
  return {
    "anneal.device": name,
    "anneal.device.model": model,
    "anneal.device.reason": reason,
    "anneal.threads": String(threads),
  };
}
