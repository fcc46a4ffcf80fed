// npm run test:gpu: checks and measures this machine's GPU, if it has one. SOFTWARE_VULKAN=1 uses Chromium's software Vulkan
// instead.
import { spawnSync } from "node:child_process";
import { build, fail, install, root } from "./prepare.js";

install();
build({ pages: false });
const { softwareVulkan } = await import(`${root}/dist/tests/gpu/software.js`);
const software = process.env.SOFTWARE_VULKAN ? softwareVulkan() : {};
if (!software) fail("There is no software Vulkan: apt-get install chromium.");
const { status } = spawnSync(process.execPath, ["dist/bench/gpu.js"], {
  cwd: root,
  stdio: "inherit",
  env: { ...process.env, ...software },
});
process.exit(status ?? 1);
