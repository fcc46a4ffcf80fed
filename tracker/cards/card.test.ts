import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { TestTracker } from "../testing.ts";
import { readable } from "./markdown.ts";

let t: TestTracker;
let run: string;
const path = "/api/anneal/model-versions/m/1/card";
beforeAll(async () => {
  t = await TestTracker.open();
  const base = await t.run({ run_name: "pretraining" });
  run = await t.run({ run_name: "lora r=8 | pipe", start_time: 1_700_000_000_000 });
  const pairs = (object: Record<string, string>) => Object.entries(object).map(([key, value]) => ({ key, value }));
  await t.log(run, {
    params: pairs({ learning_rate: "0.0003", lora_r: "8", seed: "7", "model.hidden_size": "128" }),
    tags: pairs({
      "mlflow.source.name": "notebooks/01-fine-tune.ipynb",
      "mlflow.source.git.commit": "0123abc",
      "anneal.git.dirty": "true",
      "anneal.device": "cpu (2 threads)",
      "anneal.versions": JSON.stringify({ anneal: "0.1.0", "onnxruntime-node": "1.30.0" }),
      "anneal.seeds": JSON.stringify({ init: 7, data: 8 }),
      "anneal.total_parameters": "1234567",
      "anneal.trainable_parameters": "12345",
      "anneal.total_tokens": "999000",
      "anneal.base_run_id": base,
    }),
    metrics: Object.entries({
      "before/test_perplexity": 40,
      "after/test_perplexity": 8.123456,
      "test/perplexity": 8.123456,
      "train/loss": 2.0944,
      "system/cpu_percent": 99,
    }).map(([key, value]) => ({ key, value, timestamp: 1 })),
  });
  await t.post("runs/update", { run_id: run, status: "FINISHED", end_time: 1_700_000_083_000 });
  await t.post("runs/log-inputs", {
    run_id: run,
    datasets: [
      {
        dataset: {
          name: "lib.d.ts pairs",
          digest: "d1g3st",
          source: "{}",
          profile: JSON.stringify({ rows: 1200, splits: { train: 1000, test: 200 } }),
        },
        tags: [
          { key: "mlflow.data.context", value: "train" },
          { key: "license", value: "Apache-2.0" },
        ],
      },
    ],
  });
  await t.post("registered-models/create", { name: "m" });
  await t.post("model-versions/create", {
    name: "m",
    run_id: run,
    source: `runs:/${run}/model`,
    description: "Answers questions.",
  });
});
afterAll(() => t.close());

describe("a model card", () => {
  test("is generated from the facts of the run", async () => {
    const card = await t.get(path);
    const markdown = card.text("markdown");
    for (const fact of [
      "`learning_rate` | `0.0003`",
      "`hidden_size` | `128`",
      "notebooks/01-fine-tune.ipynb",
      "`0123abc` with uncommitted changes",
      "1,234,567, of which 12,345 (1 %)",
      "999,000",
      "1 min 23 s",
      "| lib.d.ts pairs | train | 1,200 | train 1,000, test 200 | `d1g3st` | Apache-2.0 |",
      "| `test_perplexity` | 40 | 8.1235 |",
      "pretraining (`",
      "cpu (2 threads)",
      "onnxruntime-node `1.30.0`",
      "init `7`, data `8`",
      `npx anneal rerun ${run}`,
      "Answers questions.",
      "lora r=8 \\| pipe",
    ]) {
      expect(markdown).toContain(fact);
    }
    expect(markdown).not.toContain("cpu_percent");
    expect(card.at("facts.totalParameters")).toBe(1234567);
    expect(card.at("facts.lineage.0.name")).toBe("pretraining");
  });

  test("begins with front matter that the Hub reads", async () => {
    const markdown = (await t.get(path)).text("markdown");
    const front = markdown.split("---\n")[1] ?? "";
    expect(front).toContain("library_name: anneal");
    expect(front).toContain('datasets:\n- "lib.d.ts pairs"');
    expect(front).toContain('    - type: "perplexity"\n      name: "test/perplexity"\n      value: 8.123456');
    expect(front).not.toContain("license:");
  });

  test("marks missing statements and names the author of existing ones", async () => {
    const before = await t.get(path);
    expect(before.at("missing")).toEqual([
      "intended_use",
      "out_of_scope_use",
      "limitations",
      "ethical_considerations",
      "license",
      "contact",
    ]);
    expect(before.text("markdown")).toContain("> **Missing:** where this model fails");
    const put = await t.send(
      "PUT",
      path,
      { limitations: "Knows only TypeScript.", license: "Apache-2.0" },
      { "x-user": "grace" },
    );
    expect(put.at("missing")).toEqual(["intended_use", "out_of_scope_use", "ethical_considerations", "contact"]);
    const markdown = put.text("markdown");
    expect(markdown).toContain("Knows only TypeScript.\n\n*Stated by grace");
    expect(markdown).toContain('license: "Apache-2.0"');
    expect(markdown).not.toContain("where this model fails");
    await t.send("PUT", path, { limitations: "" });
    expect((await t.get(path)).at("missing")).toContain("limitations");
  });

  test("belongs to one version", async () => {
    await t.post("model-versions/create", { name: "m", source: "runs:/of-another-server/model" });
    const other = await t.get("/api/anneal/model-versions/m/2/card");
    expect(other.at("missing.length")).toBe(6);
    expect(other.text("markdown")).toContain("no source run");
    expect((await t.get("/api/anneal/model-versions/m/9/card")).status).toBe(404);
    expect((await t.send("PUT", path, { mood: "good" })).status).toBe(400);
  });
});

test.each([
  [0, "0"],
  [1234567, "1,234,567"],
  [0.0000123, "1.230e-5"],
  [Math.PI, "3.1416"],
  [1e21, "1.000e+21"],
  [Number.NaN, "NaN"],
])("%d is written %s", (value, text) => {
  expect(readable(value)).toBe(text);
});
