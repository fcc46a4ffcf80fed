import { existsSync } from "node:fs";
import { dirname, join } from "node:path";

/** The environment variables for WebGPU on Chromium's software Vulkan; undefined if there is none. */
export function softwareVulkan(): Record<string, string> | undefined {
  const places = ["/usr/lib/chromium", "/usr/lib/chromium-browser", "/opt/google/chrome"];
  if (process.env.CHROMIUM) places.unshift(dirname(process.env.CHROMIUM));
  const needed = ["vk_swiftshader_icd.json", "libvk_swiftshader.so", "libvulkan.so.1"];
  const folder = places.find((place) => needed.every((file) => existsSync(join(place, file))));
  if (!folder) return undefined;
  const { LD_LIBRARY_PATH } = process.env;
  return {
    VK_DRIVER_FILES: join(folder, "vk_swiftshader_icd.json"),
    LD_LIBRARY_PATH: LD_LIBRARY_PATH ? `${folder}:${LD_LIBRARY_PATH}` : folder,
  };
}
