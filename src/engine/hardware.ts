import { execFile } from "node:child_process";
import { existsSync, readdirSync, readFileSync, readlinkSync } from "node:fs";
import { cpus, homedir } from "node:os";
import { basename, delimiter, join } from "node:path";
import { promisify } from "node:util";

const run = promisify(execFile);

/** A GPU as reported by the system. */
export interface Gpu {
  name: string;
  /** Version or name of the driver. */
  driver?: string;
  /** Bytes. */
  memory?: number;
}

/** What WebGPU needs on Linux: a loader, and the manifests of drivers. */
export interface Vulkan {
  /** Path of libvulkan.so.1. */
  loader?: string;
  /** Paths of the driver manifests. */
  drivers: string[];
  /** Whether the environment selects only software drivers. */
  software: boolean;
}

/** Returns the model of the processor. */
export const processorName = (): string => cpus()[0]?.model.trim() || process.arch;

/** Returns the GPUs of this machine, without software emulations. */
export async function findGpus(): Promise<Gpu[]> {
  const nvidia = await queryNvidia();
  if (nvidia.length > 0) return nvidia;
  // Not systeminformation on Linux: it depends on lspci, which slim containers lack.
  if (process.platform === "linux") return findLinuxGpus();
  const { graphics } = await import("systeminformation");
  const { controllers } = await graphics();
  return controllers
    .filter(({ model }) => model !== "" && !/Basic|Remote|Virtual/i.test(model))
    .map(({ model, driverVersion, vram }) => ({
      name: model,
      ...(driverVersion ? { driver: driverVersion } : {}),
      ...(vram ? { memory: vram * 2 ** 20 } : {}),
    }));
}

async function output(command: string, args: readonly string[]): Promise<string | undefined> {
  try {
    return (await run(command, args, { timeout: 10_000, windowsHide: true })).stdout;
  } catch {
    return undefined; // The command does not exist, or failed.
  }
}

async function queryNvidia(): Promise<Gpu[]> {
  const text = await output("nvidia-smi", [
    "--query-gpu=name,driver_version,memory.total",
    "--format=csv,noheader,nounits",
  ]);
  if (text === undefined) return [];
  return text
    .trim()
    .split("\n")
    .map((line) => line.split(",").map((field) => field.trim()))
    .filter(([name]) => name)
    .map(([name, driver, mebibytes]) => ({ name, driver, memory: Number(mebibytes) * 2 ** 20 }));
}

const vendors: Record<string, string> = { "0x10de": "NVIDIA", "0x1002": "AMD", "0x8086": "Intel", "0x106b": "Apple" };

function findLinuxGpus(): Gpu[] {
  const drm = "/sys/class/drm";
  const nodes = existsSync(drm) ? readdirSync(drm).filter((name) => name.startsWith("renderD")) : [];
  return nodes.flatMap((node): Gpu[] => {
    const device = join(drm, node, "device");
    try {
      const [vendor, id] = ["vendor", "device"].map((file) => readFileSync(join(device, file), "utf8").trim());
      const vendorName = vendors[vendor];
      const driver = basename(readlinkSync(join(device, "driver")));
      return vendorName ? [{ name: `${vendorName} GPU ${id}`, driver }] : [];
    } catch {
      return []; // Virtual cards have no such files, and cannot compute.
    }
  });
}

/** Returns the Vulkan installation; undefined on platforms where WebGPU does not use Vulkan. */
export function findVulkan(): Vulkan | undefined {
  if (process.platform !== "linux") return undefined;
  const { LD_LIBRARY_PATH = "", VK_DRIVER_FILES, VK_ICD_FILENAMES } = process.env;
  const machine = { x64: "x86_64", arm64: "aarch64" }[process.arch as string] ?? process.arch;
  const libraries = [
    ...LD_LIBRARY_PATH.split(delimiter).filter(Boolean),
    `/usr/lib/${machine}-linux-gnu`,
    `/lib/${machine}-linux-gnu`,
    "/usr/lib64",
    "/lib64",
    "/usr/local/lib",
    "/usr/lib",
  ];
  const loader = libraries.map((folder) => join(folder, "libvulkan.so.1")).find(existsSync);
  const chosen = (VK_DRIVER_FILES || VK_ICD_FILENAMES)?.split(delimiter).filter(Boolean);
  const drivers = chosen ?? listDrivers();
  return {
    ...(loader ? { loader } : {}),
    drivers,
    software: chosen?.every((file) => /swiftshader|lvp|lavapipe/i.test(file)) ?? false,
  };
}

function listDrivers(): string[] {
  const folders = [
    "/etc/vulkan/icd.d",
    "/usr/share/vulkan/icd.d",
    "/usr/local/share/vulkan/icd.d",
    join(homedir(), ".local/share/vulkan/icd.d"),
  ];
  return folders.filter(existsSync).flatMap((folder) =>
    readdirSync(folder)
      .filter((file) => file.endsWith(".json"))
      .map((file) => join(folder, file)),
  );
}
