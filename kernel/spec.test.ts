import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { installKernelSpec, kernelSpec } from "./spec.ts";

test("the kernelspec is installed in Jupyter's data folder and starts this kernel", () => {
  const prefix = mkdtempSync(join(tmpdir(), "anneal-prefix-"));
  try {
    const folder = installKernelSpec(prefix);
    expect(folder).toBe(join(prefix, "share/jupyter/kernels/anneal"));
    expect(JSON.parse(readFileSync(join(folder, "kernel.json"), "utf8"))).toEqual(kernelSpec());
    expect(readFileSync(join(folder, "logo-svg.svg"), "utf8")).toMatch(/^<svg .*<\/svg>\s*$/s);
    const [node = "", main = "", file] = kernelSpec().argv;
    expect(node).toBe(process.execPath);
    expect(readFileSync(main, "utf8")).toContain("Kernel.start");
    expect(file).toBe("{connection_file}");
  } finally {
    rmSync(prefix, { recursive: true });
  }
});
