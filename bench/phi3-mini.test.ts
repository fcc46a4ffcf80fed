import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { runPhi3Bench } from "./phi3/run.ts";
import { parsePhi3Bench, phi3Bench } from "./phi3/spec.ts";

const scratch = await mkdtemp(join(tmpdir(), "anneal-phi3-"));
afterAll(() => rm(scratch, { recursive: true }));

test("a sharded checkpoint is loaded, quantized, trained on, saved, loaded again and generates the same", async () => {
  const folder = join(scratch, "checkpoint");
  const bench = phi3Bench({ folder, peer: false, newTokens: 4, lengths: [32] }, "small");
  const { phases, reloaded } = await runPhi3Bench(bench);

  expect((await readdir(folder)).filter((name) => /^model-.*\.safetensors$/.test(name)).length).toBeGreaterThan(1);
  const trained = phases.filter(({ phase }) => phase === "train");
  expect(trained.map(({ kind, length, checkpointing }) => [kind, length, checkpointing])).toEqual([
    ["nf4", 32, true],
    ["int8", 32, true],
  ]);
  for (const { losses = [] } of trained) {
    expect(losses).toHaveLength(bench.steps);
    for (const loss of losses) expect(Math.abs(loss - Math.log(bench.vocabulary))).toBeLessThan(0.5);
    // The same batch each time: what is learned shows.
    expect(losses[2]).toBeLessThan(losses[0]);
  }
  expect(reloaded).toEqual(
    ["nf4", "int8"].map((kind) => ({ kind, length: 32, largestLogitDifference: 0, sameIds: true })),
  );
  const generated = phases.filter(({ phase }) => phase === "generate");
  for (const { ids } of generated) expect(ids).toHaveLength(4);
  // Five processes start one after the other, which takes long on a busy machine.
}, 180_000);

// Takes many seconds, so it is part of `npm run test:all`.
test.runIf(process.env.ANNEAL_TEST_ALL === "1")(
  "a long row takes little more memory than the weights",
  async () => {
    const sizes = { layers: 1, hidden: 768, heads: 8, mlp: 2048, positions: 4096, lengths: [4096], checkpointFrom: 1 };
    const bench = phi3Bench(
      { ...sizes, folder: join(scratch, "long"), kinds: ["nf4"], steps: 1, newTokens: 1, peer: false },
      "small",
    );
    const { phases } = await runPhi3Bench(bench);
    const peak = (phase: string) => phases.find((p) => p.phase === phase)?.peakMemoryMb ?? Number.NaN;
    // 340 MB. It was 870 MB when the runtime planned the buffers, and kept the attention scores of every block.
    expect(peak("train") - peak("add the adapter")).toBeLessThan(550);
  },
  180_000,
);

test("the command line changes a preset's settings", () => {
  const bench = parsePhi3Bench([
    "small",
    "--layers=3",
    "--lengths=8,16",
    "--kinds=int8",
    "--no-peer",
    "--folder=there",
  ]);
  expect(bench).toMatchObject({
    layers: 3,
    hidden: 64,
    lengths: [8, 16],
    kinds: ["int8"],
    peer: false,
    folder: "there",
  });
  expect(() => parsePhi3Bench(["large"])).toThrow("There is no preset large; the presets are phi3-mini, small.");
});
