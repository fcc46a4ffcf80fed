import { execFile } from "node:child_process";
import { existsSync, readdirSync, readFileSync, readlinkSync } from "node:fs";
import { cpus, homedir } from "node:os";
import { basename, delimiter, join } from "node:path";
import { promisify } from "node:util";

const run = promisify(execFile);

/** A graphics card or chip, as the system names it. */
export interface Gpu {
  name: string;
  /** Version, or name, of its driver. */
  driver?: string;
  /** Bytes. */
  memory?: number;
}

/** What WebGPU needs on Linux: a loader, and drivers that describe themselves to it. */
export interface Vulkan {
  /** Path of libvulkan.so.1. */
  loader?: string;
  /** The drivers' descriptions. */
  drivers: string[];
  /** Whether the drivers are chosen by the environment and all draw with the processor. */
  software: boolean;
}

/** The processor's model. */
export const processorName = (): string => cpus()[0]?.model.trim() || process.arch;

/** Graphics cards of this machine; software that imitates one does not count. */
export async function findGpus(): Promise<Gpu[]> {
  const nvidia = await askNvidia();
  if (nvidia.length > 0) return nvidia;
  // Not systeminformation on Linux: it knows only the cards that lspci lists, which slim containers lack.
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
    return undefined; // Not there, or it has nothing to say.
  }
}

async function askNvidia(): Promise<Gpu[]> {
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
      const maker = vendors[vendor];
      const driver = basename(readlinkSync(join(device, "driver")));
      return maker ? [{ name: `${maker} GPU ${id}`, driver }] : [];
    } catch {
      return []; // A virtual card describes itself in other ways, and computes nothing.
    }
  });
}

/** What there is of Vulkan; undefined where WebGPU does not go through it. */
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
