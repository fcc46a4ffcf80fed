import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { TestTracker } from "../testing.ts";

let t: TestTracker;
beforeAll(async () => {
  t = await TestTracker.open();
});
afterAll(() => t.close());

describe("experiments", () => {
  test("there is a Default with id 0", async () => {
    const found = await t.get("experiments/get", { experiment_id: "0" });
    expect(found.at("experiment.name")).toBe("Default");
    expect(found.at("experiment.lifecycle_stage")).toBe("active");
    expect(found.at("experiment.artifact_location")).toBe("mlflow-artifacts:/0");
  });

  test("one is created, found by name and id, tagged, renamed, deleted and restored", async () => {
    const id = (await t.post("experiments/create", { name: "mine", tags: [{ key: "team", value: "a" }] })).text(
      "experiment_id",
    );
    await t.post("experiments/set-experiment-tag", { experiment_id: id, key: "team", value: "b" });
    await t.post("experiments/update", { experiment_id: id, new_name: "ours" });
    const found = await t.get("experiments/get-by-name", { experiment_name: "ours" });
    expect(found.at("experiment.experiment_id")).toBe(id);
    expect(found.at("experiment.tags")).toEqual([{ key: "team", value: "b" }]);

    const run = await t.run({ experiment_id: id });
    expect((await t.post("experiments/delete", { experiment_id: id })).body).toEqual({});
    const deleted = await t.get("experiments/get-by-name", { experiment_name: "ours" });
    expect(deleted.at("experiment")).toMatchObject({ experiment_id: id, lifecycle_stage: "deleted" });
    expect((await t.get("runs/get", { run_id: run })).at("run.info.lifecycle_stage")).toBe("deleted");
    const refused = await t.post("runs/create", { experiment_id: id });
    expect([refused.status, refused.at("error_code")]).toEqual([400, "INVALID_PARAMETER_VALUE"]);
    const taken = await t.post("experiments/create", { name: "ours" });
    expect([taken.status, taken.at("error_code")]).toEqual([400, "RESOURCE_ALREADY_EXISTS"]);

    await t.post("experiments/restore", { experiment_id: id });
    expect((await t.get("runs/get", { run_id: run })).at("run.info.lifecycle_stage")).toBe("active");
  });

  test("restoring an experiment leaves runs deleted that were deleted before it", async () => {
    const id = (await t.post("experiments/create", { name: "partly" })).text("experiment_id");
    const gone = await t.run({ experiment_id: id });
    const kept = await t.run({ experiment_id: id });
    await t.post("runs/delete", { run_id: gone });
    await new Promise((next) => setTimeout(next, 2)); // the clock has to move on for the two deletions to differ
    await t.post("experiments/delete", { experiment_id: id });
    await t.post("experiments/restore", { experiment_id: id });
    expect((await t.get("runs/get", { run_id: gone })).at("run.info.lifecycle_stage")).toBe("deleted");
    expect((await t.get("runs/get", { run_id: kept })).at("run.info.lifecycle_stage")).toBe("active");
  });

  test("a search filters by name and tag, and pages", async () => {
    for (const name of ["page-a", "page-b", "page-c"]) {
      await t.post("experiments/create", { name, tags: [{ key: "set", value: "pages" }] });
    }
    const query = { filter: "tags.`set` = 'pages'", order_by: ["name DESC"], max_results: 2 };
    const first = await t.post("experiments/search", query);
    expect(first.at("experiments.0.name")).toBe("page-c");
    expect(first.at("experiments.length")).toBe(2);
    const second = await t.get("experiments/search", {
      filter: "tags.`set` = 'pages'",
      order_by: "name DESC",
      max_results: "2",
      page_token: first.text("next_page_token"),
    });
    expect(second.at("experiments.0.name")).toBe("page-a");
    expect(second.at("next_page_token")).toBeUndefined();
  });

  test("what is not there is RESOURCE_DOES_NOT_EXIST with 404", async () => {
    for (const experiment_id of ["999", "abc", "0 OR 1=1"]) {
      const found = await t.get("experiments/get", { experiment_id });
      expect([found.status, found.at("error_code")]).toEqual([404, "RESOURCE_DOES_NOT_EXIST"]);
    }
    expect((await t.get("experiments/get-by-name", { experiment_name: "nobody's" })).status).toBe(404);
  });
});

describe("runs", () => {
  test("a run is created with a name, its tags and both spellings of its id", async () => {
    const made = await t.post("runs/create", {
      experiment_id: "0",
      start_time: "1700000000000",
      run_name: "first",
      tags: [{ key: "mlflow.user", value: "ada" }],
    });
    expect(made.at("run.info.run_uuid")).toBe(made.at("run.info.run_id"));
    expect(made.at("run.info.start_time")).toBe(1700000000000);
    expect(made.at("run.info.user_id")).toBe("ada");
    expect(made.at("run.info.status")).toBe("RUNNING");
    expect(made.at("run.data.tags")).toContainEqual({ key: "mlflow.runName", value: "first" });
    const found = await t.get("runs/get", { run_uuid: made.text("run.info.run_id") });
    expect(found.at("run.info.run_name")).toBe("first");
  });

  test("a run without a name gets one", async () => {
    expect((await t.post("runs/create", { experiment_id: "0" })).at("run.info.run_name")).toMatch(/^\w+-\w+-\d+$/);
  });

  test("an update sets status, end and name, and the name's tag follows", async () => {
    const run_id = await t.run();
    const done = await t.post("runs/update", { run_id, status: "FINISHED", end_time: 1700000001000, run_name: "done" });
    expect(done.at("run_info.status")).toBe("FINISHED");
    expect(done.at("run_info.end_time")).toBe(1700000001000);
    await t.post("runs/set-tag", { run_id, key: "mlflow.runName", value: "renamed" });
    const found = await t.get("runs/get", { run_id });
    expect(found.at("run.info.run_name")).toBe("renamed");
  });

  test("a second creation with the same client id gives the run that is there", async () => {
    const body = { experiment_id: "0", tags: [{ key: "anneal.client_id", value: "c-1" }] };
    const first = await t.run(body);
    expect(await t.run(body)).toBe(first);
    const other = (await t.post("experiments/create", { name: "another place" })).text("experiment_id");
    expect(await t.run({ ...body, experiment_id: other })).not.toBe(first);
  });

  test("a deleted run takes no more, and comes back", async () => {
    const run_id = await t.run();
    await t.post("runs/delete", { run_id });
    const refused = await t.post("runs/log-metric", { run_id, key: "m", value: 1, timestamp: 1 });
    expect([refused.status, refused.at("error_code")]).toEqual([400, "INVALID_PARAMETER_VALUE"]);
    await t.post("runs/restore", { run_id });
    expect((await t.post("runs/log-metric", { run_id, key: "m", value: 1, timestamp: 1 })).status).toBe(200);
  });

  test("a tag can be deleted once", async () => {
    const run_id = await t.run();
    await t.post("runs/set-tag", { run_id, key: "a", value: "b" });
    expect((await t.post("runs/delete-tag", { run_id, key: "a" })).status).toBe(200);
    expect((await t.post("runs/delete-tag", { run_id, key: "a" })).status).toBe(404);
  });

  test("data sets, models in and models out are part of the run", async () => {
    const run_id = await t.run();
    const dataset = { name: "pairs", digest: "abc123", source_type: "local", source: "{}", profile: '{"rows":10}' };
    const input = { dataset, tags: [{ key: "mlflow.data.context", value: "train" }] };
    for (let twice = 0; twice < 2; twice++) await t.post("runs/log-inputs", { run_id, datasets: [input] });
    const model_id = (await t.post("logged-models", { experiment_id: "0", source_run_id: run_id })).text(
      "model.info.model_id",
    );
    await t.post("runs/outputs", { run_id, models: [{ model_id, step: "4" }] });
    const found = await t.get("runs/get", { run_id });
    expect(found.at("run.inputs.dataset_inputs")).toEqual([
      { dataset, tags: [{ key: "mlflow.data.context", value: "train" }] },
    ]);
    expect(found.at("run.outputs.model_outputs")).toEqual([{ model_id, step: 4 }]);
    const summaries = await t.post("/ajax-api/2.0/mlflow/experiments/search-datasets", { experiment_ids: ["0"] });
    expect(summaries.at("dataset_summaries.0.context")).toBe("train");
  });
});

describe("metrics", () => {
  test("points that are sent again are not doubled, and steps may come out of order", async () => {
    const run_id = await t.run();
    const points = [3, 1, 2].map((step) => ({ key: "loss", value: step / 10, timestamp: 5, step }));
    await t.log(run_id, { metrics: points });
    await t.log(run_id, { metrics: points });
    const history = await t.get("metrics/get-history", { run_id, metric_key: "loss" });
    expect(history.at("metrics")).toEqual([
      { key: "loss", value: 0.1, timestamp: 5, step: 1 },
      { key: "loss", value: 0.2, timestamp: 5, step: 2 },
      { key: "loss", value: 0.3, timestamp: 5, step: 3 },
    ]);
    expect((await t.get("runs/get", { run_id })).at("run.data.metrics.0.step")).toBe(3);
  });

  test("NaN and infinities travel by name; infinity is kept as the largest number", async () => {
    const run_id = await t.run();
    await t.log(run_id, {
      metrics: ["NaN", "Infinity", "-Infinity"].map((value) => ({ key: `m/${value}`, value, timestamp: "7" })),
    });
    const metrics = (await t.get("runs/get", { run_id })).at("run.data.metrics");
    expect(metrics).toEqual([
      { key: "m/-Infinity", value: -Number.MAX_VALUE, timestamp: 7, step: 0 },
      { key: "m/Infinity", value: Number.MAX_VALUE, timestamp: 7, step: 0 },
      { key: "m/NaN", value: "NaN", timestamp: 7, step: 0 },
    ]);
  });

  test("values keep every bit", async () => {
    const run_id = await t.run();
    const values = [0.1 + 0.2, Number.MIN_VALUE, 1 / 3, -123456.789e-30, 2 ** 53 + 2];
    await t.log(run_id, { metrics: values.map((value, step) => ({ key: "exact", value, timestamp: 1, step })) });
    const history = await t.get("metrics/get-history", { run_id, metric_key: "exact" });
    values.forEach((value, index) => {
      expect(history.at(`metrics.${index}.value`)).toBe(value);
    });
  });

  test("a long history comes in pages", async () => {
    const run_id = await t.run();
    for (let batch = 0; batch < 3; batch++) {
      const metrics = Array.from({ length: 1000 }, (_, i) => ({
        key: "m",
        value: i,
        timestamp: 1,
        step: batch * 1000 + i,
      }));
      await t.log(run_id, { metrics });
    }
    const first = await t.get("metrics/get-history", { run_id, metric_key: "m", max_results: "2500" });
    expect(first.at("metrics.length")).toBe(2500);
    const page_token = first.text("next_page_token");
    const rest = await t.get("metrics/get-history", { run_id, metric_key: "m", max_results: "2500", page_token });
    expect([rest.at("metrics.length"), rest.at("metrics.0.step"), rest.at("next_page_token")]).toEqual([
      500,
      2500,
      undefined,
    ]);
  });

  test("a sample of each run has every n-th of its points, and the last one", async () => {
    const runs = [await t.run(), await t.run()];
    for (const [index, run_id] of runs.entries()) {
      const metrics = Array.from({ length: 1000 }, (_, i) => ({
        key: "m",
        value: i,
        timestamp: 1,
        step: i * (index + 1),
      }));
      await t.log(run_id, { metrics });
    }
    const sampled = await t.get("metrics/get-history-bulk-interval", {
      run_ids: runs,
      metric_key: "m",
      max_results: "50",
      each_run: "true",
    });
    const all = sampled.at("metrics") as { run_id: string; step: number }[];
    for (const [index, run_id] of runs.entries()) {
      const steps = all.filter((point) => point.run_id === run_id).map(({ step }) => step);
      expect(steps.length).toBe(51);
      expect([steps[0], steps.at(-1)]).toEqual([0, 999 * (index + 1)]);
    }
    const [run_ids] = runs;
    const part = await t.get("metrics/get-history-bulk-interval", {
      run_ids: run_ids ?? "",
      metric_key: "m",
      start_step: "10",
      end_step: "12",
    });
    expect((part.at("metrics") as { step: number }[]).map(({ step }) => step)).toEqual([10, 11, 12]);
  });
});

describe("limits", () => {
  test("a param is written once; the same value again is fine, another is refused and nothing of its batch stays", async () => {
    const run_id = await t.run();
    await t.post("runs/log-parameter", { run_id, key: "lr", value: "0.1" });
    expect((await t.post("runs/log-parameter", { run_id, key: "lr", value: "0.1" })).status).toBe(200);
    const params = [
      { key: "new", value: "1" },
      { key: "lr", value: "0.2" },
    ];
    const refused = await t.post("runs/log-batch", { run_id, params });
    expect([refused.status, refused.at("error_code")]).toEqual([400, "INVALID_PARAMETER_VALUE"]);
    expect(refused.at("message")).toContain("'lr'");
    expect((await t.get("runs/get", { run_id })).at("run.data.params")).toEqual([{ key: "lr", value: "0.1" }]);
  });

  test("values that are too long are cut, keys that are too long are refused", async () => {
    const run_id = await t.run();
    await t.log(run_id, {
      params: [{ key: "long", value: "x".repeat(7000) }],
      tags: [{ key: "long", value: "é".repeat(9000) }],
    });
    const { at } = await t.get("runs/get", { run_id });
    expect(at("run.data.params.0.value.length")).toBe(6000);
    expect(
      (at("run.data.tags") as { key: string; value: string }[]).find(({ key }) => key === "long")?.value.length,
    ).toBe(8000);
    const refused = await t.post("runs/log-parameter", { run_id, key: "k".repeat(251), value: "" });
    expect(refused.at("error_code")).toBe("INVALID_PARAMETER_VALUE");
  });

  test.each(["../x", "/x", "a//b", "a/../b", "what?", "", "a\0b"])("the key %j is refused", async (key) => {
    const run_id = await t.run();
    expect((await t.post("runs/log-metric", { run_id, key, value: 1, timestamp: 1 })).status).toBe(400);
    expect((await t.post("runs/set-tag", { run_id, key, value: "" })).status).toBe(400);
  });

  test("a batch holds at most 1000 metrics, 100 params, 100 tags, 1000 in all and 1 MB", async () => {
    const run_id = await t.run();
    const many = (count: number) => Array.from({ length: count }, (_, i) => ({ key: `k${i}`, value: "1" }));
    const points = (count: number) => many(count).map((item) => ({ ...item, timestamp: 1 }));
    for (const batch of [
      { metrics: points(1001) },
      { params: many(101) },
      { tags: many(101) },
      { metrics: points(950), params: many(51) },
      { tags: [{ key: "big", value: "x".repeat(1_100_000) }] },
    ]) {
      const refused = await t.post("runs/log-batch", { run_id, ...batch });
      expect([refused.status, refused.at("error_code")]).toEqual([400, "INVALID_PARAMETER_VALUE"]);
    }
    await t.log(run_id, { metrics: points(900), params: many(50), tags: many(50) });
  });
});

describe("requests", () => {
  test.each([
    ["not JSON", "{"],
    ["no object", "[]"],
    ["a number for a text", { run_id: 5, key: "a", value: "b" }],
    ["an object for a text", { run_id: "x", key: { $ne: 1 }, value: "b" }],
    ["a missing field", { run_id: "x", value: "b" }],
  ])("%s is INVALID_PARAMETER_VALUE", async (_what, body) => {
    const refused = await t.post("runs/log-parameter", body);
    expect([refused.status, refused.at("error_code")]).toEqual([400, "INVALID_PARAMETER_VALUE"]);
    expect(refused.text("message").length).toBeGreaterThan(10);
  });

  test.each([
    { value: "high" },
    { value: true },
    { timestamp: "soon" },
    { step: 1.5 },
    { step: "99999999999999999999" },
  ])("a metric with %j is refused", async (fields) => {
    const run_id = await t.run();
    const refused = await t.post("runs/log-metric", { run_id, key: "m", value: 1, timestamp: 1, ...fields });
    expect([refused.status, refused.at("error_code")]).toEqual([400, "INVALID_PARAMETER_VALUE"]);
  });

  test.each([
    ["a list", { experiment_ids: "0" }, "expected array."],
    ["an object", { locations: [1] }, "expected object."],
    ["an integer", { max_results: [] }, "expected an integer."],
  ])("an error says that %s was expected", async (_, message, expected) => {
    const refused = await t.post("/api/3.0/mlflow/traces/search", message);
    expect(refused.text("message")).toMatch(new RegExp(`: ${expected.replace(".", "[.]")}$`));
  });

  test("JSON within JSON, nulls and a missing content type are understood", async () => {
    const run_id = await t.run();
    const body = JSON.stringify({ run_id, run_uuid: null, key: "p", value: "1" });
    expect((await t.post("runs/log-parameter", JSON.stringify(body))).status).toBe(200);
    const plain = await t.app.inject({ method: "POST", url: "/api/2.0/mlflow/runs/set-tag", payload: body });
    expect(plain.statusCode).toBe(200);
  });

  test("every path is there under ajax-api too", async () => {
    expect((await t.get("/ajax-api/2.0/mlflow/experiments/get", { experiment_id: "0" })).status).toBe(200);
  });

  test("an unknown endpoint is ENDPOINT_NOT_FOUND", async () => {
    const unknown = await t.get("runs/fly");
    expect([unknown.status, unknown.at("error_code")]).toEqual([404, "ENDPOINT_NOT_FOUND"]);
  });

  test("/health answers OK", async () => {
    const { statusCode, body } = await t.app.inject("/health");
    expect([statusCode, body]).toEqual([200, "OK"]);
  });
});

test("a restart keeps everything", async () => {
  const run_id = await t.run({ run_name: "before the restart" });
  await t.log(run_id, {
    metrics: [{ key: "m", value: 0.5, timestamp: 1, step: 1 }],
    params: [{ key: "p", value: "v" }],
  });
  const before = (await t.get("runs/get", { run_id })).body;
  await t.restart();
  expect((await t.get("runs/get", { run_id })).body).toEqual(before);
  expect((await t.get("metrics/get-history", { run_id, metric_key: "m" })).at("metrics.length")).toBe(1);
});

describe("logged models", () => {
  test("one goes from pending to ready, with params, tags and metrics, and is found by them", async () => {
    const run_id = await t.run();
    const made = await t.post("logged-models", {
      experiment_id: "0",
      name: "adapter",
      source_run_id: run_id,
      params: [{ key: "r", value: "8" }],
      tags: [{ key: "kind", value: "lora" }],
    });
    const model_id = made.text("model.info.model_id");
    expect(model_id).toMatch(/^m-/);
    expect(made.at("model.info.status")).toBe("LOGGED_MODEL_PENDING");
    await t.send("PATCH", `logged-models/${model_id}`, { status: "LOGGED_MODEL_READY" });
    await t.send("PATCH", `logged-models/${model_id}/tags`, { tags: [{ key: "extra", value: "1" }] });
    await t.post("runs/log-metric", {
      run_id,
      key: "acc",
      value: 0.9,
      timestamp: 1,
      model_id,
      dataset_name: "d",
      dataset_digest: "x",
    });
    const found = await t.post("logged-models/search", {
      experiment_ids: ["0"],
      filter: "params.r = '8' AND tags.kind = 'lora' AND metrics.acc > 0.5",
      order_by: [{ field_name: "metrics.acc", ascending: false }],
    });
    expect(found.at("models.0.info.model_id")).toBe(model_id);
    expect(found.at("models.0.info.status")).toBe("LOGGED_MODEL_READY");
    expect(found.at("models.0.data.metrics.0.dataset_name")).toBe("d");
    await t.send("DELETE", `logged-models/${model_id}/tags/extra`);
    expect((await t.send("DELETE", `logged-models/${model_id}`)).status).toBe(200);
    expect((await t.get(`logged-models/${model_id}`)).status).toBe(404);
  });
});
