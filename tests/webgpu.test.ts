import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { type CheckResult, checkNames } from "./gpu/checks.ts";
import { softwareVulkan } from "./gpu/software.ts";
import { root } from "./reference.ts";
import { Command, cleanUp, scratch } from "./support.ts";

const vulkan = softwareVulkan();
if (!vulkan) {
  console.warn(
    "Left out: WebGPU on software Vulkan, which Debian's chromium package brings (apt-get install chromium).",
  );
}
afterAll(cleanUp);

describe.skipIf(!vulkan)("on software Vulkan", () => {
  test("WebGPU computes, trains, fails and recovers like the CPU", { timeout: 300_000 }, async () => {
    // Software is slow: `npm run test:all` trains for all thirty steps.
    const steps = process.env.ANNEAL_TEST_ALL === "1" ? "30" : "10";
    const checks = new Command(join(root, "dist/tests/gpu/checks.js"), [steps], {
      ...vulkan,
      ANNEAL_DATA: scratch("webgpu"),
    });
    const code = await checks.exited;
    const results = checks.stdout
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line) as CheckResult);
    expect(results.filter(({ ok }) => !ok)).toEqual([]);
    expect(results.map(({ check }) => check)).toEqual(checkNames);
    expect(code).toBe(0);
  });

  test("auto uses the CPU, which is faster than a software GPU, and reports it", async () => {
    const script = `const { describeDevice, Engine } = await import(${JSON.stringify(join(root, "dist/src/index.js"))});
      const engine = await Engine.open({ threads: 1 });
      console.log(describeDevice(engine.device));
      await engine.close();`;
    const auto = new Command("--input-type=module", ["-e", script], { ...vulkan, ANNEAL_DEVICE: "auto" });
    await auto.exited;
    expect(auto.stdout).toMatch(/^cpu \(.+, 1 thread\): Vulkan is set to software/);
  });
});

test("an explicit GPU that is not available causes an error that says what is missing", async () => {
  const script = `const { Engine } = await import(${JSON.stringify(join(root, "dist/src/index.js"))});
    await Engine.open({ device: "webgpu" }).catch((error) => console.log(error.name + ": " + error.message));`;
  // An empty list of drivers hides the GPUs of this machine.
  const none = new Command("--input-type=module", ["-e", script], { VK_DRIVER_FILES: "/nonexistent/icd.json" });
  await none.exited;
  expect(none.stdout).toMatch(/^EngineError: There is no GPU that WebGPU can use: .+`anneal doctor`/);
});
