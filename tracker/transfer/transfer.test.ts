import { createHash } from "node:crypto";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { type Served, serveArtifacts } from "../artifacts/testing.ts";
import { newStore } from "../testing.ts";
import { exportMlflow, importMlflow } from "./index.ts";
import { Rest } from "./rest.ts";
import { writeMlflowDatabase } from "./testing.ts";

let folder: string;
let t: Served;
let rest: Rest;
beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), "anneal-transfer-"));
  t = await serveArtifacts("disk");
  rest = new Rest({ uri: t.origin });
});
afterEach(async () => {
  await t.close();
  rmSync(folder, { recursive: true, force: true });
});

const RUN = "11111111111111111111111111111111";
const GONE = "22222222222222222222222222222222";

/** An MLflow database with files beside it, as a server on one machine leaves them. */
async function makeSource(): Promise<string> {
  const uri = (await newStore()).store ?? `sqlite:///${join(folder, "mlflow.db")}`;
  await writeMlflowDatabase(uri, { artifacts: join(folder, "mlruns"), run: RUN, gone: GONE });
  const model = join(folder, "mlruns", "1", RUN, "artifacts", "model", "weights");
  mkdirSync(model, { recursive: true });
  writeFileSync(join(model, "part 1%.bin"), "weights");
  writeFileSync(join(model, "..", "MLmodel"), "flavors: {}");
  const logged = join(folder, "mlruns", "1", "models", "m-abc", "artifacts");
  mkdirSync(logged, { recursive: true });
  writeFileSync(join(logged, "model.safetensors"), Buffer.alloc(2_000_000, 7));
  return uri;
}

/** All that a tracker answers of what was brought over, without the times at which it was. */
async function everything(from: Rest): Promise<unknown> {
  const { experiments } = await from.post<{ experiments: { name: string; experiment_id: string }[] }>(
    "experiments/search",
    { view_type: "ALL", max_results: 100, order_by: ["name ASC"] },
  );
  const ids = experiments.map((it) => it.experiment_id);
  const { runs } = await from.post<{ runs: object[] }>("runs/search", {
    experiment_ids: ids,
    run_view_type: "ALL",
    max_results: 100,
  });
  const models = await from.post("logged-models/search", { experiment_ids: ids });
  const registered = await from.get("registered-models/search", { max_results: "100" });
  const versions = await from.get("model-versions/search", { max_results: "100" });
  const text = JSON.stringify({ experiments, runs, models, registered, versions });
  return JSON.parse(text, (key, value: unknown) => (/last_update|creation_time/.test(key) ? undefined : value));
}

describe("from an MLflow database", () => {
  test("transfers everything", async () => {
    const report = await importMlflow({ uri: await makeSource() }, { uri: t.origin });
    expect(report).toMatchObject({ experiments: 3, runs: 2, unchanged: 0, points: 2505, files: 3, versions: 2 });
    expect(report).toMatchObject({ loggedModels: 1, registeredModels: 1 });
    expect(report.problems).toEqual([expect.stringContaining("files of run 2222")]);

    const { experiment } = await rest.get<{ experiment: { experiment_id: string; tags: object[] } }>(
      "experiments/get-by-name",
      { experiment_name: "fine-tuning" },
    );
    expect(experiment.tags).toEqual([{ key: "team", value: "language" }]);
    const { run } = await rest.get<{ run: Record<string, Record<string, unknown>> }>("runs/get", { run_id: RUN });
    expect(run.info).toMatchObject({
      run_id: RUN,
      run_name: "first",
      user_id: "ada",
      status: "FINISHED",
      start_time: 1_700_000_000_000,
      end_time: 1_700_000_100_000,
      lifecycle_stage: "active",
      experiment_id: experiment.experiment_id,
    });
    expect(run.data.params).toEqual([
      { key: "lr", value: "2e-4" },
      { key: "prompt", value: "It's a 'test'; ünïcode" },
    ]);
    expect(run.data.tags).toContainEqual({ key: "mlflow.note.content", value: "# Notes" });
    expect(run.data.metrics).toContainEqual({ key: "odd", value: "NaN", timestamp: 1_700_000_000_004, step: 4 });
    expect(run.inputs).toMatchObject({
      dataset_inputs: [
        {
          tags: [{ key: "mlflow.data.context", value: "training" }],
          dataset: { name: "chats", digest: "d1g3st", source_type: "local", source: "{}", profile: '{"rows":3}' },
        },
      ],
    });
    const history = await rest.get<{ metrics: { step: number; value: number | string }[] }>("metrics/get-history", {
      run_id: RUN,
      metric_key: "loss",
    });
    expect(history.metrics).toHaveLength(2500);
    expect(history.metrics.at(-1)).toMatchObject({ step: 2499, value: 1 / 2500 });
    const odd = await rest.get<{ metrics: { value: unknown }[] }>("metrics/get-history", {
      run_id: RUN,
      metric_key: "odd",
    });
    expect(odd.metrics.map((it) => it.value)).toEqual([1, expect.anything(), expect.anything(), -2.5, "NaN"]);
    expect(odd.metrics.slice(1, 3).map((it) => Number(it.value) > 1e308 || Number(it.value) < -1e308)).toEqual([
      true,
      true,
    ]);

    const gone = await rest.get<{ run: { info: object } }>("runs/get", { run_id: GONE });
    expect(gone.run.info).toMatchObject({ lifecycle_stage: "deleted", status: "FAILED" });
    const all = JSON.stringify(await everything(rest));
    expect(all).toContain('"name":"given up"');

    const file = await fetch(
      `${t.origin}/get-artifact?${new URLSearchParams({ run_id: RUN, path: "model/weights/part 1%.bin" })}`,
    );
    expect(await file.text()).toBe("weights");

    const { model_versions: versions } = await rest.get<{ model_versions: Record<string, unknown>[] }>(
      "model-versions/search",
      { filter: "name='chat model'", order_by: "version_number ASC" },
    );
    const byNumber = new Map(versions.map((it) => [it.version, it]));
    expect([...byNumber.keys()].sort()).toEqual(["1", "3"]);
    expect(byNumber.get("1")).toMatchObject({ run_id: RUN, current_stage: "Archived", description: "the first" });
    expect(byNumber.get("1")?.source).toBe(`mlflow-artifacts:/${experiment.experiment_id}/${RUN}/artifacts/model`);
    expect(byNumber.get("3")).toMatchObject({ current_stage: "Production", tags: [{ key: "reviewed", value: "yes" }] });
    const aliased = await rest.get<{ model_version: { version: string; model_id: string } }>(
      "registered-models/alias",
      {
        name: "chat model",
        alias: "champion",
      },
    );
    expect(aliased.model_version.version).toBe("3");
    const { model } = await rest.get<{ model: { info: Record<string, unknown>; data: Record<string, unknown> } }>(
      `logged-models/${aliased.model_version.model_id}`,
    );
    expect(model.info).toMatchObject({ name: "adapter", status: "LOGGED_MODEL_READY", source_run_id: RUN });
    expect(model.info.tags).toContainEqual({ key: "anneal.source_model_id", value: "m-abc" });
    expect(model.data).toMatchObject({
      params: [{ key: "rank", value: "8" }],
      metrics: [{ key: "accuracy", value: 0.5 }],
    });
    expect(run.outputs).toMatchObject({ model_outputs: [{ model_id: aliased.model_version.model_id, step: 7 }] });
    const weights = await fetch(
      `${t.url}/${String(model.info.artifact_uri).replace(/^mlflow-artifacts:\/+/, "")}/model.safetensors`,
    );
    expect((await weights.arrayBuffer()).byteLength).toBe(2_000_000);
  });

  test("a repeated transfer copies only additions", async () => {
    const source = await makeSource();
    await importMlflow({ uri: source }, { uri: t.origin });
    const before = await everything(rest);
    const again = await importMlflow({ uri: source }, { uri: t.origin });
    expect(again).toMatchObject({ runs: 2, unchanged: 1, points: 0, files: 0 });
    expect(await everything(rest)).toEqual(before);
    // The files that could not be reached are there now.
    const late = join(folder, "elsewhere", "1", GONE, "artifacts");
    mkdirSync(late, { recursive: true });
    writeFileSync(join(late, "late.txt"), "late");
    const third = await importMlflow({ uri: source }, { uri: t.origin }, { artifactRoot: join(folder, "elsewhere") });
    expect(third).toMatchObject({ unchanged: 1, files: 1, problems: [] });
    const last = await importMlflow({ uri: source }, { uri: t.origin }, { artifactRoot: join(folder, "elsewhere") });
    expect(last).toMatchObject({ unchanged: 2, points: 0, files: 0 });
  });

  test("an interrupted transfer resumes", async () => {
    const source = await makeSource();
    const stop = new Error("interrupted");
    // What is told of progress stands for whatever may end the process there: between a run's points and its files.
    const onProgress = ({ points }: { points: number }) => {
      if (points > 0) throw stop;
    };
    await expect(importMlflow({ uri: source }, { uri: t.origin }, { onProgress })).rejects.toThrow("interrupted");
    const half = await rest.get<{ run: { info: object } }>("runs/get", { run_id: RUN });
    expect(half.run.info).toMatchObject({ status: "RUNNING" });
    const report = await importMlflow({ uri: source }, { uri: t.origin });
    expect(report.problems).toEqual([expect.stringContaining("files of run 2222")]);
    const listed = await rest.get<{ files: object[] }>("artifacts/list", { run_id: RUN, path: "model" });
    expect(listed.files).toHaveLength(2);
  });

  test("rejects an invalid database", async () => {
    const other = join(folder, "other.db");
    writeFileSync(other, "");
    await expect(importMlflow({ uri: `sqlite:///${other}` }, { uri: t.origin })).rejects.toThrow(
      "no database of MLflow",
    );
    await expect(importMlflow({ uri: "sqlite:///nowhere.db" }, { uri: t.origin })).rejects.toThrow("There is no file");
    await expect(importMlflow({ uri: "postgresql://me:secret@127.0.0.1:9/x" }, { uri: t.origin })).rejects.toThrow(
      /^(?!.*secret).*cannot be opened/,
    );
  });
});

describe("from tracker to tracker", () => {
  test("a transferred tracker can be transferred again with the same ids", async () => {
    await importMlflow({ uri: await makeSource() }, { uri: t.origin }, { artifactRoot: join(folder, "none") });
    const second = await serveArtifacts("S3");
    try {
      const report = await exportMlflow({ uri: t.origin }, { uri: second.origin });
      expect(report).toMatchObject({ experiments: 3, runs: 2, points: 2506, files: 3, versions: 2, problems: [] });
      // Marks, and ids of logged models, are each tracker's own.
      const comparable = async (from: Rest): Promise<unknown> => {
        const ids = new Map<string, string>();
        const text = JSON.stringify(await everything(from))
          .replace(/m-[0-9a-f]{32}/g, (id) => ids.set(id, ids.get(id) ?? `model ${ids.size}`).get(id) ?? id)
          .replace(/\{"key":"anneal\.(transferred|source_model_id)","value":"[^"]*"\},?/g, "")
          .replaceAll(",]", "]");
        return JSON.parse(text, (key, value: unknown) =>
          key === "experiment_id" || /uri|location|source$/.test(key) ? undefined : value,
        );
      };
      expect(await comparable(new Rest({ uri: second.origin }))).toEqual(await comparable(rest));
      const again = await exportMlflow({ uri: t.origin }, { uri: second.origin });
      expect(again).toMatchObject({ unchanged: 2, points: 0, files: 0, problems: [] });
      const digest = async (origin: string) => {
        const file = await fetch(`${origin}/get-artifact?run_id=${RUN}&path=model/MLmodel`);
        return createHash("sha256")
          .update(await file.text())
          .digest("hex");
      };
      expect(await digest(second.origin)).toBe(await digest(t.origin));
    } finally {
      await second.close();
    }
  });

  test("reports which side rejected the request or did not respond, and why", async () => {
    await expect(importMlflow({ uri: "http://127.0.0.1:9" }, { uri: t.origin })).rejects.toThrow(
      "http://127.0.0.1:9 does not answer",
    );
  }, 30_000);
});
