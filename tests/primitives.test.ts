// The primitives notebook: hand-written loops are recorded like trainings, and a rerun gives the same numbers.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { root } from "./reference.ts";
import { Command, cleanUp, cli, type RunRecord, Server, scratch } from "./support.ts";

interface Cell {
  cell_type: string;
  outputs?: { output_type: string; data?: Record<string, unknown> }[];
}

const notebook = join(root, "notebooks/02-primitives.ipynb");

afterAll(cleanUp);

describe("anneal run notebooks/02-primitives.ipynb", () => {
  const data = scratch("primitives");
  const output = join(data, "executed.ipynb");
  let tracker: Server;
  let runs: RunRecord[];

  beforeAll(async () => {
    const command = new Command(cli, ["run", notebook, "--data", data, "--output", output]);
    const code = await command.exited;
    if (code !== 0) throw new Error(`exit ${code}: ${command.stdout}${command.stderr.slice(-4000)}`);
    tracker = await Server.start("tracker", data);
    runs = await tracker.runs();
  }, 10 * 60_000);

  test("creates a finished run for each loop, named after its program, with its settings", () => {
    expect(runs.map(({ name, status }) => [name, status])).toEqual([
      ["plain network", "FINISHED"],
      ["network with Fourier features", "FINISHED"],
      ["shapes, convolutional", "FINISHED"],
    ]);
    for (const { params, tags } of runs) {
      expect(params).toMatchObject({ optimizer: "adamw", learning_rate: "0.003", beta1: "0.9", weight_decay: "0.01" });
      expect(tags).toMatchObject({ "mlflow.source.name": notebook, "anneal.device": "cpu" });
    }
    expect(JSON.parse(runs[2].params.parameters)).toMatchObject({ "layers.0.weight": [8, 1, 3, 3] });
  });

  test("records every step with the program's results", async () => {
    const losses = await Promise.all(runs.map(({ id }) => tracker.history(id, "train/loss")));
    expect(losses.map((history) => history.length)).toEqual([600, 600, 256]);
    expect(losses[0].map(({ step }) => step)).toEqual(Array.from({ length: 600 }, (_, i) => i + 1));
    // The custom layer fits better than the plain network.
    expect(runs[1].metrics["train/loss"]).toBeLessThan(0.1 * runs[0].metrics["train/loss"]);
    const accuracy = (await tracker.history(runs[2].id, "train/accuracy")).slice(-20);
    expect(accuracy.reduce((sum, { value }) => sum + value, 0) / 20).toBeGreaterThan(0.85);
  });

  test("stores the final weights of each loop", async () => {
    for (const { id } of runs) {
      expect(await tracker.artifacts(id)).toEqual(
        expect.arrayContaining(["model/weights.safetensors", "notebook.ipynb"]),
      );
    }
    const weights = await tracker.artifact(runs[1].id, "model/weights.safetensors");
    expect(weights).toContain('"layers.0.frequencies":{"dtype":"F32","shape":[1,32]');
  });

  test("shows tensors, charts and tables, and no error", () => {
    const { cells } = JSON.parse(readFileSync(output, "utf8")) as { cells: Cell[] };
    const outputs = cells.flatMap((cell) => cell.outputs ?? []);
    expect(outputs.filter(({ output_type }) => output_type === "error")).toEqual([]);
    // In nbformat, texts are lists of lines.
    const all = (type: string) =>
      outputs.flatMap(({ data: bundle }) => {
        const data = bundle?.[type];
        return data === undefined ? [] : [Array.isArray(data) ? data.join("") : data];
      });
    expect(all("application/vnd.vegalite.v5+json").length).toBeGreaterThanOrEqual(4);
    expect(all("text/html").filter((html) => String(html).includes("histogram of the values"))).toHaveLength(3);
    const table = all("text/plain").map(String);
    expect(table.some((text) => /straight-through rounding\s+no/.test(text))).toBe(true);
    expect(table.some((text) => /by its own gradient\s+yes/.test(text))).toBe(true);
  });

  test("gives bit-identical numbers when a loop is run again", async () => {
    const again = new Command(cli, ["rerun", runs[1].id, "--data", data]);
    expect(await again.exited, again.stderr.slice(-2000)).toBe(0);
    expect(again.stdout).toMatch(/Same: 2400 points of 4 metrics|Same: 1800 points of 3 metrics/);
  }, 120_000);
});
