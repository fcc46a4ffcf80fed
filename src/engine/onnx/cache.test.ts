import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, describe, expect, test } from "vitest";
import { input, matmul, softmax, type Tensor } from "../../tensor/index.ts";
import { Engine } from "../index.ts";
import { cacheFolder } from "./cache.ts";

const scratch = mkdtempSync(join(tmpdir(), "anneal-cache-"));
afterAll(() => rmSync(scratch, { recursive: true, force: true }));
const before = process.env.ANNEAL_CACHE;
afterEach(() => {
  if (before === undefined) delete process.env.ANNEAL_CACHE;
  else process.env.ANNEAL_CACHE = before;
});

/** Compile and run a program on an engine of its own, as another process would. */
async function compute(name = "x"): Promise<number[]> {
  const engine = await Engine.open({ device: "cpu", threads: 1 });
  try {
    const x = input(name, [2, 2]);
    let y: Tensor = x;
    for (let i = 0; i < 500; i++) y = softmax(matmul(y, x));
    const program = await engine.compile({ outputs: { y } });
    return Array.from((await program.run({ [name]: Float32Array.of(1, 2, 3, 4) })).y);
  } finally {
    await engine.close();
  }
}

describe("the cache of programs", () => {
  test("stores an optimized program, also for equal programs with other input names", async () => {
    process.env.ANNEAL_CACHE = join(scratch, "kept");
    const first = await compute("x");
    const files = readdirSync(join(scratch, "kept", "programs"));
    expect(files).toHaveLength(1);
    expect(await compute("another name")).toEqual(first);
    expect(readdirSync(join(scratch, "kept", "programs"))).toEqual(files);
  });

  test("replaces a truncated file", async () => {
    process.env.ANNEAL_CACHE = join(scratch, "broken");
    const expected = await compute();
    const [name] = readdirSync(join(scratch, "broken", "programs"));
    const path = join(scratch, "broken", "programs", name);
    const whole = readFileSync(path);
    writeFileSync(path, whole.subarray(0, whole.length / 2));
    expect(await compute()).toEqual(expected);
    expect(readFileSync(path).length).toBe(whole.length);
  });

  test("is not used if the folder is not writable or it is disabled", async () => {
    const expected = await compute();
    const file = join(scratch, "a file");
    writeFileSync(file, "");
    process.env.ANNEAL_CACHE = file;
    expect(await compute()).toEqual(expected);
    process.env.ANNEAL_CACHE = "off";
    expect(cacheFolder()).toBeUndefined();
    expect(await compute()).toEqual(expected);
  });
});
