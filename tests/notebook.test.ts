// The example notebook, run from the command line: checks the data in the tracker, and that a rerun gives the same numbers.
// Uses fewer rows and steps, except in `npm run test:all`. tests/browser.test.ts runs the notebook in the studio.
import { cpSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { expectLearned, expectMeasured, whole, writeFineTuneNotebook } from "./fine-tune.ts";
import { root } from "./reference.ts";
import { Command, cleanUp, cli, type RunRecord, Server, scratch } from "./support.ts";

interface Output {
  output_type: string;
  data?: Record<string, unknown>;
  text?: string;
}
interface Cell {
  cell_type: string;
  source: string | string[];
  execution_count?: number | null;
  outputs?: Output[];
}
interface Notebook {
  cells: Cell[];
}

const minutes = 60_000;
const range = (n: number) => Array.from({ length: n }, (_, i) => i + 1);
const code = ({ cells }: Notebook) => cells.filter(({ cell_type }) => cell_type === "code");
const sources = (book: Notebook) => code(book).map(({ source }) => [source].flat().join(""));
const read = (path: string) => JSON.parse(readFileSync(path, "utf8")) as Notebook;

/** Metrics of time and load differ between any two executions. */
const isResult = (key: string) => !key.startsWith("system/");

afterAll(cleanUp);

describe("anneal run notebooks/01-fine-tune.ipynb", () => {
  const data = scratch("notebook");
  const notebook = join(data, "books/01-fine-tune.ipynb");
  const { rows, steps, warmup, batch } = writeFineTuneNotebook(notebook, {
    rows: 100,
    steps: 8,
    warmup: 2,
    batch: 2,
    generate: 5,
    tokens: 8,
  });
  const output = join(data, "executed.ipynb");
  let seconds: number;
  let command: Command;
  let tracker: Server;
  let base: RunRecord;
  let tuned: RunRecord;

  beforeAll(async () => {
    // A run records the nearest lockfile in its notebook's folder or above.
    cpSync(join(root, "package-lock.json"), join(data, "books/package-lock.json"));
    const before = readFileSync(notebook, "utf8");
    const start = performance.now();
    command = new Command(cli, ["run", notebook, "--data", data, "--output", output]);
    const code = await command.exited;
    seconds = (performance.now() - start) / 1000;
    if (code !== 0) throw new Error(`exit ${code}: ${command.stdout}${command.stderr.slice(-4000)}`);
    expect(readFileSync(notebook, "utf8")).toBe(before);
    tracker = await Server.start("tracker", data);
    const runs = await tracker.runs();
    expect(runs.map(({ name }) => name)).toEqual(["base model", "LoRA on documentation"]);
    [base, tuned] = runs;
  }, 20 * minutes);

  test("takes minutes, not hours, and well under 3 GiB", async () => {
    // Takes two and a half minutes on two idle cores, and up to three times that on shared machines. The bound detects hangs
    // and leaks; the measured time is in bench/RESULTS.md.
    expect(seconds).toBeLessThan(15 * 60);
    const memory = [base, tuned].map(({ id }) => tracker.history(id, "system/memory_mb"));
    const peak = Math.max(...(await Promise.all(memory)).flat().map(({ value }) => value));
    expect(peak).toBeGreaterThan(100);
    expect(peak).toBeLessThan(3072);
  });

  test("prints its runs, and everything has been sent to the tracker", () => {
    expect(command.stdout).toContain(`Written: ${output}`);
    for (const { id, name } of [base, tuned]) expect(command.stdout).toContain(`Run ${id}  finished  ${name}`);
    expect(readdirSync(join(data, "journal"))).toEqual([]);
    // A log contains no terminal colours.
    expect(command.stderr).not.toContain("\u001b");
  });

  test("creates finished runs, one derived from the other", () => {
    for (const run of [base, tuned]) {
      expect(run.status).toBe("FINISHED");
      expect(run.endTime).toBeGreaterThan(run.startTime);
      expect(run.tags).toMatchObject({
        "mlflow.source.name": notebook,
        "mlflow.source.type": "NOTEBOOK",
        "anneal.device": "cpu",
        "anneal.node": process.version,
      });
      expect(Number(run.tags["anneal.threads"])).toBeGreaterThan(0);
    }
    expect(tuned.tags["anneal.base_run_id"]).toBe(base.id);
  });

  test("records all resolved settings, including defaults", () => {
    const architecture = {
      "model.hidden_size": "192",
      "model.intermediate_size": "512",
      "model.num_hidden_layers": "4",
      "model.num_attention_heads": "6",
      "model.vocab_size": "1536",
      "model.rope_theta": "10000",
    };
    const defaults = {
      adam_beta1: "0.9",
      adam_beta2: "0.999",
      adam_epsilon: "1e-8",
      weight_decay: "0.01",
      max_grad_norm: "1",
      lr_scheduler_type: "cosine",
      gradient_accumulation_steps: "1",
      seed: "42",
      optimizer: "adamw",
    };
    expect(base.params).toMatchObject({
      ...architecture,
      ...defaults,
      method: "full",
      learning_rate: "0.003",
      total_steps: String(steps),
      per_device_train_batch_size: String(batch),
      warmup_steps: String(warmup),
    });
    expect(base.params.lora_r).toBeUndefined();
    expect(tuned.params).toMatchObject({
      ...architecture,
      ...defaults,
      method: "lora",
      lora_r: "16",
      lora_alpha: "32",
      target_modules: "all-linear",
      packing: "true",
      max_length: "256",
      num_train_epochs: "2",
    });
    expect(tuned.params["tokenizer.digest"]).toBe(base.params["tokenizer.digest"]);
  });

  test("records seeds and the numbers of total and trained parameters", () => {
    expect(JSON.parse(base.tags["anneal.seeds"])).toMatchObject({ seed: 42, model: 7 });
    expect(base.tags["anneal.trainable_parameters"]).toBe(base.tags["anneal.total_parameters"]);
    const [total, trainable] = [tuned.tags["anneal.total_parameters"], tuned.tags["anneal.trainable_parameters"]];
    expect(Number(trainable) / Number(total)).toBeLessThan(0.1);
    expect(Number(total) - Number(trainable)).toBe(Number(base.tags["anneal.total_parameters"]));
  });

  test("records the loss, rate and gradient of every step, once", async () => {
    for (const run of [base, tuned]) {
      const steps = range(Number(run.params.total_steps));
      for (const key of ["train/loss", "train/learning_rate", "train/grad_norm", "system/tokens_per_second"]) {
        const history = await tracker.history(run.id, key);
        expect(history.map(({ step }) => step)).toEqual(steps);
        expect(history.every(({ value }) => Number.isFinite(value) && value >= 0)).toBe(true);
      }
    }
  });

  test("records validation metrics and system metrics", async () => {
    const history = await tracker.history(tuned.id, "eval/loss");
    const every = Number(tuned.params.eval_steps);
    const total = Number(tuned.params.total_steps);
    expect(history.map(({ step }) => step)).toEqual([
      ...range(total).filter((s) => s % every === 0 && s < total),
      total,
    ]);
    expect(history.at(-1)?.value).toBeLessThanOrEqual(history[0].value);
    expect(tuned.metrics["eval/perplexity"]).toBeCloseTo(Math.exp(tuned.metrics["eval/loss"]), 6);
    for (const run of [base, tuned]) {
      expect((await tracker.history(run.id, "system/cpu_percent")).length).toBeGreaterThan(whole ? 3 : 0);
      expect(run.metrics["system/train_seconds"]).toBeGreaterThan(whole ? 1 : 0);
    }
  });

  test("records datasets with digest and row counts that add up", () => {
    const text = base.datasets.find(({ context }) => context === "train");
    expect(text).toMatchObject({ name: "typescript-lib-text", profile: { rows: Number(base.params.train_rows) } });
    const parts = new Map(tuned.datasets.map((part) => [part.context, part]));
    expect([...parts.keys()].sort()).toEqual(["eval", "test", "train"]);
    let counted = 0;
    for (const { name, digest, profile } of parts.values()) {
      expect(name).toMatch(/^typescript-lib-docs\//);
      expect(digest).toMatch(/^[0-9a-f]{36}$/);
      expect(String(profile.sha256).startsWith(digest)).toBe(true);
      counted += Number(profile.rows);
    }
    expect(counted).toBe(rows);
    expect(Number(parts.get("train")?.profile.rows)).toBeGreaterThan(0.5 * rows);
  });

  test("keeps checkpoints, models, environment, lockfile and cells as artifacts", async () => {
    for (const run of [base, tuned]) {
      const files = await tracker.artifacts(run.id);
      expect(files).toEqual(
        expect.arrayContaining([
          `checkpoints/step-${run.params.total_steps}/weights.safetensors`,
          `checkpoints/step-${run.params.total_steps}/optimizer.safetensors`,
          `checkpoints/step-${run.params.save_steps}/trainer_state.json`,
          "environment.json",
          "model/MLmodel",
          "model/tokenizer.json",
          // Training an adapter stores the adapter, not a merged model.
          ...(run === tuned
            ? ["model/adapter_config.json", "model/adapter_model.safetensors"]
            : ["model/config.json", "model/generation_config.json", "model/model.safetensors"]),
          "notebook.executed.ipynb",
          "notebook.ipynb",
          "package-lock.json",
        ]),
      );
      expect(files.includes("model/model.safetensors")).toBe(run === base);
      const environment = JSON.parse(await tracker.artifact(run.id, "environment.json"));
      expect(environment).toMatchObject({ node: process.version, versions: { anneal: expect.any(String) } });
      expect(await tracker.artifact(run.id, "package-lock.json")).toBe(
        readFileSync(join(root, "package-lock.json"), "utf8"),
      );
      expect(await tracker.artifact(run.id, "notebook.executed.ipynb")).toBe(readFileSync(output, "utf8"));
    }
  });

  test("stores the configurations of model and adapter in the formats of transformers and PEFT", async () => {
    expect(JSON.parse(await tracker.artifact(base.id, "model/config.json"))).toMatchObject({
      architectures: ["Phi3ForCausalLM"],
      hidden_size: 192,
    });
    expect(JSON.parse(await tracker.artifact(tuned.id, "model/adapter_config.json"))).toMatchObject({
      peft_type: "LORA",
      r: 16,
      lora_alpha: 32,
    });
  });

  test("stores the executed cells, up to the last one that added to the run", async () => {
    const cells = sources(read(notebook));
    const kept = sources(JSON.parse(await tracker.artifact(tuned.id, "notebook.ipynb")) as Notebook);
    expect(kept).toEqual(cells.slice(0, kept.length));
    expect(kept.at(-1)).toContain("compare(before, after)");
  });

  test("evaluates the model before and after on held-out questions", async () => {
    await expectMeasured(base, tuned);
  });

  test.runIf(whole)("makes the model clearly better on those questions", () => expectLearned(tracker, base, tuned));

  test("saves the notebook with charts, tables and answers", () => {
    const executed = read(output);
    const cells = code(executed);
    expect(sources(executed)).toEqual(sources(read(notebook)));
    expect(cells.map(({ execution_count }) => execution_count)).toEqual(range(cells.length));
    const outputs = cells.flatMap((cell) => cell.outputs ?? []);
    expect(outputs.filter(({ output_type }) => output_type === "error")).toEqual([]);

    const charts = outputs.flatMap(({ data }) => data?.["application/vnd.vegalite.v5+json"] ?? []) as {
      title: { text: string };
      data: { values: { series: string }[] };
    }[];
    expect(charts.map(({ title }) => title.text)).toEqual(["base model", "LoRA on documentation"]);
    expect(new Set(charts[1].data.values.map(({ series }) => series))).toEqual(
      new Set(["train loss", "validation loss"]),
    );
    const html = outputs.map(({ data }) => [data?.["text/html"] ?? ""].flat().join(""));
    for (const measure of ["loss", "perplexity", "token accuracy", "ROUGE-L"]) {
      const row = html
        .flatMap((text) => text.match(/<tr>.*?<\/tr>/gs) ?? [])
        .find((line) => line.includes(`>${measure}<`));
      expect(row).toMatch(whole ? /better/ : /better|worse|same/);
    }
    const answers = html.find((text) => text.includes(">question</th>"));
    expect(answers?.split("<tbody>")[1]?.match(/<tr\b/g)).toHaveLength(5);
    expect(html.some((text) => /step (\d+)\/\1 · loss [\d.]+ .* tokens\/s · done in/.test(text))).toBe(true);
  });

  test("registers version 1, with a model card that marks what a person must fill in", async () => {
    const { registered_model } = await tracker.ask<{
      registered_model: { latest_versions: { version: string; run_id: string }[] };
    }>("GET", "/api/2.0/mlflow/registered-models/get?name=typescript-docs");
    expect(registered_model.latest_versions).toMatchObject([{ version: "1", run_id: tuned.id }]);
    const card = await tracker.ask<{ markdown: string; missing: string[] }>(
      "GET",
      "/api/anneal/model-versions/typescript-docs/1/card",
    );
    expect(card.missing).toEqual(expect.arrayContaining(["intended_use", "limitations", "license", "contact"]));
    for (const fact of [
      "Phi-3 architecture",
      `LoRA on documentation (\`${tuned.id}\`)`,
      `base model (\`${base.id}\`)`,
      "`learning_rate` | `0.003`",
      "typescript-lib-docs/trainSet | train |",
      `npx anneal rerun ${tuned.id}`,
      "**Missing:** who should use this model",
    ]) {
      expect(card.markdown).toContain(fact);
    }
  });

  test(
    "anneal rerun does it again in another kernel and finds every point the same to the last bit",
    () => expectSameRerun(tracker, data, tuned.id),
    20 * minutes,
  );
});

/** Reruns a run and compares it with the recorded one: the report, all points of all metrics, and the weights. */
async function expectSameRerun(tracker: Server, data: string, runId: string): Promise<void> {
  const recorded = await tracker.run(runId);
  const again = new Command(cli, ["rerun", runId, "--data", data]);
  const exit = await again.exited;
  expect(again.stdout + again.stderr.slice(-2000)).toMatch(/Same: \d+ points of \d+ metrics, all bitwise equal/);
  expect(exit).toBe(0);
  const [, rerunId] = /\(run (\w+)\)/.exec(again.stdout) ?? [];
  expect(rerunId).not.toBe(runId);

  // Compare both histories point by point, not only the command's report.
  const rerun = await tracker.run(rerunId);
  expect(rerun.tags["anneal.session_id"]).not.toBe(recorded.tags["anneal.session_id"]);
  expect(rerun.startTime).toBeGreaterThan(recorded.endTime ?? Number.POSITIVE_INFINITY);
  const keys = Object.keys(recorded.metrics).filter(isResult).sort();
  expect(Object.keys(rerun.metrics).filter(isResult).sort()).toEqual(keys);
  expect(keys.length).toBeGreaterThan(12);
  let points = 0;
  for (const key of keys) {
    const bits = async (id: string) => (await tracker.history(id, key)).map(({ step, value }) => [step, value]);
    const before = await bits(runId);
    expect(await bits(rerunId)).toEqual(before);
    points += before.length;
  }
  expect(again.stdout).toContain(`Same: ${points} points of ${keys.length} metrics`);
  // Compare the model as well.
  const weights = async (id: string) => {
    const response = await tracker.fetch(`/get-artifact?run_id=${id}&path=model/adapter_model.safetensors`);
    return Buffer.from(await response.arrayBuffer());
  };
  expect((await weights(rerunId)).equals(await weights(runId))).toBe(true);
  // The rerun registered nothing.
  const versions = await tracker.ask<{ model_versions: unknown[] }>(
    "GET",
    "/api/2.0/mlflow/model-versions/search?max_results=10",
  );
  expect(versions.model_versions).toHaveLength(1);
}

describe("a notebook that is not reproducible", () => {
  const data = scratch("luck");
  const path = join(data, "books/luck.ipynb");
  const cell = (source: string) => ({ cell_type: "code", metadata: {}, source, outputs: [], execution_count: null });
  const write = (...cells: string[]) =>
    writeFileSync(path, JSON.stringify({ nbformat: 4, nbformat_minor: 5, metadata: {}, cells: cells.map(cell) }));
  const execute = () => new Command(cli, ["run", path, "--data", data]);

  beforeAll(() => {
    mkdirSync(join(data, "books"), { recursive: true });
  });

  test("is reported metric by metric, and the command fails", async () => {
    write(
      'import { startRun } from "anneal";',
      'const run = startRun({ name: "luck" });\nfor (const step of [1, 2, 3]) run.logMetrics({ sure: step / 3, luck: step < 2 ? 1 : Math.random() }, step);',
      "await run.end();",
    );
    const first = execute();
    expect(await first.exited, first.stderr).toBe(0);
    const [, id] = await first.says(/Run (\w+) {2}finished {2}luck/);
    const again = new Command(cli, ["rerun", id, "--data", data]);
    expect(await again.exited).toBe(1);
    expect(again.stdout).toMatch(/^luck +2 of 3 +2 +0\.\d+ +0\.\d+ +[\d.e+]+ %$/m);
    expect(again.stdout).not.toMatch(/^sure/m);
    expect(again.stdout).toContain("Not the same: 1 of 2 metrics differ.");
    expect(readdirSync(join(data, "reruns"))).toHaveLength(1);
  });

  test("that continues a run of another execution lists that run", async () => {
    const cells = (step: number) => [
      'import { startRun } from "anneal";',
      'const run = startRun({ name: "twice", id: "0123456789abcdef0123456789abcdef" });',
      `run.logMetrics({ loss: 1 }, ${step}); await run.end();`,
    ];
    for (const step of [1, 2]) {
      write(...cells(step));
      const command = execute();
      expect(await command.exited, command.stderr).toBe(0);
      expect(command.stdout).toMatch(/^Run 0123456789abcdef0123456789abcdef {2}finished {2}twice$/m);
    }
  });

  test("stops at the first error, which is saved in it, and the command fails", async () => {
    write('const before = "kept";\nconsole.log(before)', 'throw new RangeError("on purpose")', "before");
    const command = execute();
    expect(await command.exited).toBe(1);
    expect(command.stderr).toContain("Cell 2 stopped with RangeError: on purpose");
    const [first, second, third] = read(join(data, "books/luck.executed.ipynb")).cells;
    expect(first.outputs).toMatchObject([{ output_type: "stream", text: ["kept\n"] }]);
    expect(second.outputs).toMatchObject([{ output_type: "error", ename: "RangeError" }]);
    expect(third).toMatchObject({ outputs: [], execution_count: null });
  });
});
