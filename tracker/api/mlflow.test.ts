// What MLflow's Python client relies on, beyond the fields of the protocol.
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { TestTracker } from "../testing.ts";

let t: TestTracker;
beforeEach(async () => {
  t = await TestTracker.open();
});
afterEach(() => t.close());

/** The message of a refusal. */
async function refused(answered: ReturnType<TestTracker["get"]>, code = "INVALID_PARAMETER_VALUE"): Promise<string> {
  const { at, text } = await answered;
  expect(at("error_code")).toBe(code);
  return text("message");
}

test("the server's version is the one of MLflow whose API is served, which clients compare", async () => {
  const { body } = await t.app.inject("/version");
  expect(body).toMatch(/^3\.\d+\.\d+$/);
  // Below it, clients do not send spans.
  expect(Number(body.split(".")[1])).toBeGreaterThanOrEqual(4);
  expect((await t.get("/api/openapi.json")).at("info.version")).not.toBe(body);
});

test("a deleted experiment is found by its name, so that clients do not log into Default", async () => {
  const experiment_id = (await t.post("experiments/create", { name: "gone" })).text("experiment_id");
  await t.post("experiments/delete", { experiment_id });
  const found = await t.get("experiments/get-by-name", { experiment_name: "gone" });
  expect(found.at("experiment")).toMatchObject({ experiment_id, lifecycle_stage: "deleted" });
  const unknown = t.get("experiments/get-by-name", { experiment_name: "never" });
  expect(await refused(unknown, "RESOURCE_DOES_NOT_EXIST")).toContain("Could not find experiment with name 'never'");
});

describe("refusals have MLflow's words", () => {
  test.each([
    ["experiments/create", {}, "Missing value for required parameter 'name'"],
    ["experiments/create", { name: "" }, "Missing value for required parameter 'name'"],
    ["experiments/create", { name: 123 }, "Invalid value 123 for parameter 'name' supplied"],
    ["experiments/create", { name: "a", tags: "5" }, "Invalid value \"5\" for parameter 'tags' supplied"],
    ["experiments/create", { name: "a".repeat(501) }, "exceeded length limit of 500"],
    ["runs/log-metric", { key: "k", value: 1, timestamp: 1 }, "Missing value for required parameter 'run_id'"],
    ["runs/log-metric", { run_id: "r", key: "", value: 1, timestamp: 1 }, "Missing value for required parameter 'key'"],
    [
      "runs/log-metric",
      { run_id: "r", key: "k", value: 1, timestamp: 1, step: "x" },
      "Invalid value \"x\" for parameter 'step' supplied",
    ],
    [
      "runs/log-metric",
      { run_id: "r", key: "what?", value: 1, timestamp: 1 },
      "Invalid value \"what?\" for parameter 'name' supplied",
    ],
    [
      "runs/log-batch",
      { run_id: "r", metrics: [{ key: "m", value: 1 }] },
      "Missing value for required parameter 'metrics[0].timestamp'",
    ],
    ["runs/search", { max_results: 123456789 }, "Invalid value 123456789 for parameter 'max_results' supplied"],
    ["experiments/search-datasets", {}, "SearchDatasets request must specify at least one experiment_id."],
    [
      "experiments/search-datasets",
      { experiment_ids: Array(21).fill("0") },
      "SearchDatasets request cannot specify more than 20",
    ],
    ["webhooks", { name: "w", url: " ", events: [] }, "Webhook URL cannot be empty or just whitespace"],
    ["webhooks", { name: "w", url: "ftp://example.com", events: [] }, "Invalid webhook URL scheme"],
    ["webhooks", { name: "w", url: "http://[invalid", events: [] }, "Invalid webhook URL"],
  ])("%s with %j", async (path, body, words) => {
    expect(await refused(t.post(path, body))).toContain(words);
  });

  test.each([
    ["get-history-bulk", { metric_key: "k" }, "GetMetricHistoryBulk request must specify at least one run_id"],
    ["get-history-bulk", { run_id: Array(101).fill("r"), metric_key: "k" }, "cannot specify more than 100"],
    ["get-history-bulk", { run_id: ["r"] }, "GetMetricHistoryBulk request must specify a metric_key"],
    ["get-history-bulk-interval", { metric_key: "k" }, "Missing value for required parameter 'run_ids'."],
    ["get-history-bulk-interval", { run_ids: ["r"] }, "Missing value for required parameter 'metric_key'"],
    [
      "get-history-bulk-interval",
      { run_ids: Array(101).fill("r"), metric_key: "k" },
      "GetMetricHistoryBulkInterval request must specify at most 100 run_ids.",
    ],
    [
      "get-history-bulk-interval",
      { run_ids: ["r"], metric_key: "k", max_results: "0" },
      "max_results must be between 1 and 2500",
    ],
    [
      "get-history-bulk-interval",
      { run_ids: ["r"], metric_key: "k", start_step: "1", end_step: "0" },
      "end_step must be greater than start_step. ",
    ],
    [
      "get-history-bulk-interval",
      { run_ids: ["r"], metric_key: "k", start_step: "1" },
      "If either start step or end step are specified, both must be specified.",
    ],
  ])("metrics/%s with %j", async (path, query, words) => {
    expect(await refused(t.get(`metrics/${path}`, query))).toContain(words);
  });

  test.each([
    [{}, "Request must specify run_uuid."],
    [{ run_uuid: "RUN" }, "Request must specify path."],
    [{ run_uuid: "RUN", path: "" }, "Request must specify path."],
    [{ run_uuid: "RUN", path: "../x" }, "Invalid path"],
    [{ run_uuid: "RUN", path: "x" }, "Request must specify data."],
  ])("an upload with %j", async (query: Record<string, string>, words) => {
    const fields = "run_uuid" in query ? { ...query, run_uuid: await t.run() } : query;
    const url = "/ajax-api/2.0/mlflow/upload-artifact";
    expect(await refused(t.request({ method: "POST", url, query: fields }))).toContain(words);
  });

  test("a version that is no number, a webhook and a tag that do not exist", async () => {
    const version = await refused(t.get("model-versions/get", { name: "m", version: "not right" }));
    expect(version).toBe("Parameter 'version' must be an integer, got 'not right'.");
    for (const answered of [
      t.get("webhooks/none"),
      t.send("PATCH", "webhooks/none", { name: "n" }),
      t.send("DELETE", "webhooks/none"),
    ]) {
      expect(await refused(answered, "RESOURCE_DOES_NOT_EXIST")).toContain("Webhook with ID none not found");
    }
    const untagged = t.post("runs/delete-tag", { run_id: await t.run(), key: "k" });
    expect(await refused(untagged, "RESOURCE_DOES_NOT_EXIST")).toContain("No tag with name: k");
  });
});

test("an experiment's tag may be empty", async () => {
  expect((await t.post("experiments/set-experiment-tag", { experiment_id: "0", key: "k", value: "" })).status).toBe(
    200,
  );
  expect((await t.get("experiments/get", { experiment_id: "0" })).at("experiment.tags")).toEqual([
    { key: "k", value: "" },
  ]);
});

describe("what this server does not know", () => {
  const source = "runs:/a_run_elsewhere/model";

  test("a version may name a run and a source of another server, and copies of it lead there", async () => {
    await t.post("registered-models/create", { name: "m" });
    const made = await t.post("model-versions/create", { name: "m", source, run_id: "a_run_elsewhere" });
    expect(made.at("model_version")).toMatchObject({ source, run_id: "a_run_elsewhere", version: "1" });
    await t.post("model-versions/create", { name: "m", source: "models:/m/1", run_id: "a_run_elsewhere" });
    await t.post("model-versions/create", { name: "m", source: "models:/m/2/part" });
    const uri = async (version: string) =>
      (await t.get("model-versions/get-download-uri", { name: "m", version })).at("artifact_uri");
    expect([await uri("1"), await uri("2"), await uri("3")]).toEqual([source, source, `${source}/part`]);
    // Another version that gets the number or name of the first one later is not meant.
    await t.send("DELETE", "model-versions/delete", { name: "m", version: "1" });
    expect(await uri("2")).toBe(source);
  });

  test("a logged model may name a run of another server, which counts as none", async () => {
    const made = await t.post("logged-models", { experiment_id: "0", source_run_id: "123" });
    expect(made.at("model.info.source_run_id")).toBe("123");
    // A run that gets this id later, in another experiment, did not make the model either.
    const id = "0123456789abcdef0123456789abcdef";
    const model_id = (await t.post("logged-models", { experiment_id: "0", source_run_id: id })).text(
      "model.info.model_id",
    );
    const other = (await t.post("experiments/create", { name: "other" })).text("experiment_id");
    await t.run({ experiment_id: other, tags: [{ key: "anneal.client_id", value: id }] });
    await t.log(id, { metrics: [{ key: "accuracy", value: 1, timestamp: 1 }] });
    await t.send("PUT", `/api/2.0/mlflow-artifacts/artifacts/0/models/${model_id}/artifacts/MLmodel`, "x");
    await t.send("PATCH", `logged-models/${model_id}`, { status: "LOGGED_MODEL_READY" });
    await t.post("registered-models/create", { name: "m" });
    await t.send("PUT", "/api/anneal/registered-models/m/gates", {
      gates: [{ metric: "accuracy", op: ">", bound: 0 }],
    });
    await t.post("model-versions/create", { name: "m", source: `models:/${model_id}` });
    const promoted = await t.post("model-versions/transition-stage", { name: "m", version: "1", stage: "Production" });
    expect([promoted.status, promoted.at("error_code")]).toEqual([409, "RESOURCE_CONFLICT"]);
  });
});

test("a logged model lists its versions in a tag, and may be registered before it has files", async () => {
  const made = await t.post("logged-models", { experiment_id: "0" });
  const model_id = made.text("model.info.model_id");
  const source = made.text("model.info.artifact_uri");
  await t.post("registered-models/create", { name: "m" });
  const tag = async () =>
    ((await t.get(`logged-models/${model_id}`)).at("model.info.tags") as { key: string; value: string }[]).find(
      ({ key }) => key === "mlflow.modelVersions",
    )?.value;
  await t.post("model-versions/create", { name: "m", source, model_id });
  expect(await tag()).toBe('[{"name": "m", "version": 1}]');
  await t.post("model-versions/create", { name: "m", source, model_id });
  expect(await tag()).toBe('[{"name": "m", "version": 1}, {"name": "m", "version": 2}]');
  // Its files can still be uploaded; half of them cannot be registered.
  const uploaded = await t.send(
    "PUT",
    `/api/2.0/mlflow-artifacts/artifacts/0/models/${model_id}/artifacts/MLmodel`,
    "x",
  );
  expect(uploaded.status).toBe(200);
  const early = t.post("model-versions/create", { name: "m", source, model_id });
  expect(await refused(early, "INVALID_STATE")).toContain("still being uploaded");
});

describe("prompts", () => {
  const IS_PROMPT = { key: "mlflow.prompt.is_prompt", value: "true" };

  /** A version of the prompt "ask", as MLflow's client registers it. */
  async function prompt(text: string): Promise<string> {
    const made = await t.post("model-versions/create", {
      name: "ask",
      source: "prompt-template",
      tags: [IS_PROMPT, { key: "mlflow.prompt.text", value: text }, { key: "_mlflow_prompt_type", value: "text" }],
    });
    return made.text("model_version.version");
  }

  test("are registered, found, loaded by version and alias, and have long texts", async () => {
    await t.post("registered-models/create", {
      name: "ask",
      tags: [IS_PROMPT, { key: "_mlflow_experiment_ids", value: ",0," }],
    });
    const text = "Answer {{question}}. ".repeat(4000);
    expect(await prompt("Answer {{question}}")).toBe("1");
    expect(await prompt(text)).toBe("2");
    const tooLong = t.post("model-versions/create", {
      name: "ask",
      source: "prompt-template",
      tags: [IS_PROMPT, { key: "mlflow.prompt.text", value: "x".repeat(100_001) }],
    });
    expect(await refused(tooLong)).toContain("exceeded length limit of 100000");
    await t.post("registered-models/alias", { name: "ask", alias: "live", version: "1" });
    const by = async (alias: string) =>
      (await t.get("registered-models/alias", { name: "ask", alias })).at("model_version");
    expect(await by("live")).toMatchObject({ version: "1", source: "prompt-template" });
    expect(await by("latest")).toMatchObject({
      version: "2",
      tags: expect.arrayContaining([{ key: "mlflow.prompt.text", value: text }]),
    });
    const found = await t.get("registered-models/search", {
      filter: "tags.`mlflow.prompt.is_prompt` = 'true' AND tags._mlflow_experiment_ids LIKE '%,0,%'",
    });
    expect(found.at("registered_models.0.name")).toBe("ask");
    const uri = await t.get("model-versions/get-download-uri", { name: "ask", version: "1" });
    expect(uri.at("artifact_uri")).toBe("prompt-template");
  });

  test.each([
    "/etc/passwd",
    "file:///etc",
    "mlflow-artifacts://evil.example/x",
    "https://evil.example/x",
    "../x",
    "a/b",
  ])("with the source %s are refused", async (source) => {
    await t.post("registered-models/create", { name: "ask", tags: [IS_PROMPT] });
    const made = await t.post("model-versions/create", { name: "ask", source, tags: [IS_PROMPT] });
    expect([made.status, made.at("error_code")]).toEqual([400, "INVALID_PARAMETER_VALUE"]);
  });

  test("only a prompt's source may be no location", async () => {
    await t.post("registered-models/create", { name: "m" });
    expect((await t.post("model-versions/create", { name: "m", source: "prompt-template" })).status).toBe(400);
  });
});

describe("samples of metrics", () => {
  /** A run whose metric "m" has these steps, each at several times. */
  async function logged(steps: number[], timestamps = [1]): Promise<string> {
    const run_id = await t.run();
    const metrics = timestamps.flatMap((timestamp) =>
      steps.map((step) => ({ key: "m", value: step, timestamp, step })),
    );
    await t.log(run_id, { metrics });
    return run_id;
  }
  const range = (count: number, factor = 1) => Array.from({ length: count }, (_, n) => n * factor);
  const sample = async (run_ids: string[], more: Record<string, string>) => {
    const found = await t.get("metrics/get-history-bulk-interval", { run_ids, metric_key: "m", ...more });
    const points = (found.at("metrics") ?? []) as { run_id: string; step: number }[];
    return run_ids.map((id) => points.filter(({ run_id }) => run_id === id).map(({ step }) => step));
  };

  test("have every n-th step of all runs, and the ends of each", async () => {
    const short = await logged(range(12));
    const long = await logged(range(20));
    expect(await sample([short], { max_results: "5" })).toEqual([[0, 2, 4, 7, 9, 11]]);
    expect(await sample([short], { max_results: "12" })).toEqual([range(12)]);
    expect(await sample([short, long], { max_results: "5" })).toEqual([
      [0, 4, 8, 11],
      [0, 4, 8, 11, 12, 16, 19],
    ]);
    expect(await sample([long], { max_results: "3", start_step: "5", end_step: "8" })).toEqual([[5, 6, 7, 8]]);
    const sparse = await logged(range(10, 7));
    expect(await sample([sparse, short], { max_results: "4", each_run: "true" })).toEqual([
      [0, 14, 35, 49, 63],
      [0, 3, 6, 9, 11],
    ]);
  });

  test("have all points of a step, and none before step 0 unless asked for", async () => {
    const run_id = await logged([-2, 0, 1], [1, 2]);
    expect(await sample([run_id], {})).toEqual([[0, 0, 1, 1]]);
    expect(await sample([run_id], { start_step: "-5", end_step: "0" })).toEqual([[-2, -2, 0, 0]]);
    expect(await sample(["none"], {})).toEqual([[]]);
  });

  test("the points of several runs are by run, time and step", async () => {
    const runs = [await logged([2, 1], [2, 1]), await logged([3])];
    const found = await t.get("metrics/get-history-bulk", { run_id: runs, metric_key: "m" });
    const points = (found.at("metrics") as { run_id: string; timestamp: number; step: number }[]).map(
      ({ run_id, timestamp, step }) => [run_id, timestamp, step],
    );
    const expected = [
      [runs[0], 1, 1],
      [runs[0], 1, 2],
      [runs[0], 2, 1],
      [runs[0], 2, 2],
      [runs[1], 1, 3],
    ];
    expect(points).toEqual(runs[0] < runs[1] ? expected : [expected[4], ...expected.slice(0, 4)]);
  });
});
