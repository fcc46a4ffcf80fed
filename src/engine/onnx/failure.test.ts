import { expect, test } from "vitest";
import type { Device } from "../device.ts";
import { checkFits, explainFailure as explain } from "../failure.ts";
import { showBytes } from "../memory.ts";
import { classifyFailure } from "./failure.ts";

const explainFailure = (message: string, device: Device, what: typeof attempt) =>
  explain(message, classifyFailure(message), device, what);

const gpu: Device = { name: "webgpu", threads: 1, model: "Some GPU", reason: "as requested" };
const attempt = { what: "the training step, 8 x 512 tokens", need: { variables: 2e9, workspace: 10.5e9 } };

test("an out-of-memory error names the program, the bytes and what to reduce", () => {
  const cpu = explainFailure(
    "Failed to allocate memory for requested buffer of size 4000000000",
    { ...gpu, name: "cpu" },
    attempt,
  );
  expect(cpu.message).toBe(
    "The machine ran out of memory in the training step, 8 x 512 tokens: a tensor of 4.0 GB was requested; the program needs about 12.5 GB (2.0 GB of variables, 10.5 GB of intermediate results). Lower perDeviceTrainBatchSize (and raise gradientAccumulationSteps) or maxLength, train an adapter (peftConfig), or set gradientCheckpointing: true (checkpoint() in your own loop).",
  );
  const limit = explainFailure(
    "Buffer size (1296000000) exceeds the max buffer size limit (1073741824).",
    gpu,
    attempt,
  );
  expect(limit.message).toContain("a tensor of 1.3 GB was requested; the device's maximum is 1.1 GB");
  expect(() => checkFits(attempt.need, 8e9, attempt.what)).toThrow("needs about 12.5 GB");
  expect(() => checkFits(attempt.need, 16e9, attempt.what)).not.toThrow();
});

test("a lost device has its own error, which says how to recover", () => {
  const message = "WebGPU device lost (1): VK_ERROR_DEVICE_LOST\n at Submit";
  expect(classifyFailure(message).kind).toBe("lost");
  expect(explainFailure(message, gpu, attempt).message).toMatch(
    /^The GPU \(Some GPU\) was lost .* resumeFromCheckpoint: true/,
  );
  expect(classifyFailure("Variable w has no value in this state.").kind).toBe("other");
});

test("numbers of bytes are formatted with units", () => {
  expect([0, 999, 1000, 1.26e9, 4e14].map(showBytes)).toEqual(["0 bytes", "999 bytes", "1.0 kB", "1.3 GB", "400 TB"]);
});
