import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { type Diagnosis, diagnose, showDiagnosis } from "./doctor.ts";

const folder = mkdtempSync(join(tmpdir(), "anneal-doctor-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

test("finds and measures what is there, and makes nothing", async () => {
  const found = await diagnose(join(folder, "not/yet"), 0.1);
  expect(found.healthy).toBe(true);
  expect(found.node.version).toBe(process.version);
  expect(found.onnxruntime).toMatch(/^\d+\.\d+\.\d+/);
  const cpu = found.devices?.cpu;
  expect(cpu).toEqual({ gflops: expect.any(Number), model: found.processor.model });
  expect(cpu && "gflops" in cpu ? cpu.gflops : 0).toBeGreaterThan(1);
  expect(found.data).toMatchObject({ folder: join(folder, "not/yet"), exists: false, writable: true });
  expect(found.data.free).toBeGreaterThan(0);
  const text = showDiagnosis(found);
  expect(text).toMatch(/cpu +[\d.]+ GFLOP\/s of float32 matrix products/);
  expect(text).toMatch(/auto selects +(cpu|webgpu) \(.+\): .+/);
  expect(text).toContain("Notebooks can train here.");
});

test("says what is missing and how to get it", () => {
  const broken: Diagnosis = {
    anneal: "1.0.0",
    node: { version: "v20.20.0", path: "/usr/bin/node", platform: "linux-x64" },
    processor: { model: "Some CPU", cores: 2, instructions: [] },
    memory: { total: 8e9, free: 1e9 },
    gpus: [{ name: "Some GPU", driver: "570.1", memory: 24e9 }],
    data: { folder: "/data", exists: true, writable: false, free: 3e6 },
    advice: ["The engine does not run: no binding. Reinstall the packages: npm ci"],
    healthy: false,
  };
  const text = showDiagnosis(broken);
  expect(text).toContain("ONNX Runtime  does not run");
  expect(text).toContain("Some GPU, driver 570.1, 24.0 GB");
  expect(text).toContain("/data (not writable)");
  expect(text).toMatch(/Notebooks cannot train here\.\n\nHow to fix:\n {2}- The engine does not run/);
});
