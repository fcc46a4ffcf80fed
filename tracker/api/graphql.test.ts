import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { TestTracker } from "../testing.ts";

let t: TestTracker;
let experiment_id: string;
let run_id: string;

beforeAll(async () => {
  t = await TestTracker.open();
  experiment_id = (await t.post("experiments/create", { name: "shown", tags: [{ key: "a", value: "b" }] })).text(
    "experiment_id",
  );
  run_id = await t.run({ experiment_id, run_name: "first", start_time: 1_700_000_000_000 });
  await t.post("runs/log-batch", {
    run_id,
    params: [{ key: "lr", value: "0.1" }],
    metrics: [
      { key: "loss", value: 0.5, timestamp: 1_700_000_000_001, step: 1 },
      { key: "loss", value: 0.25, timestamp: 1_700_000_000_002, step: 2 },
      { key: "odd", value: "NaN", timestamp: 1_700_000_000_002, step: 0 },
    ],
  });
  await t.post("registered-models/create", { name: "m" });
  await t.post("model-versions/create", { name: "m", source: `runs:/${run_id}/model`, run_id });
});
afterAll(() => t.close());

const ask = async (query: string, variables?: object, operationName?: string) => {
  const { status, body } = await t.post("/graphql", { query, variables, operationName });
  expect(status).toBe(200);
  return body as { data: Record<string, unknown> | null; errors: string[] | null };
};
const errorOf = async (query: string) => (await ask(query)).errors?.[0];

describe("GraphQL, as MLflow's pages use it,", () => {
  test("answers an experiment, with its long numbers as texts and the names of types", async () => {
    const query = `query Shown($input: MlflowGetExperimentInput!) @component(name: "page") {
      mlflowGetExperiment(input: $input) {
        apiError { code message }
        experiment { experimentId name creationTime lifecycleStage tags { key value __typename } __typename }
        __typename
      }
    }`;
    const { data, errors } = await ask(query, { input: { experimentId: experiment_id } }, "Shown");
    expect(errors).toBeNull();
    expect(data).toEqual({
      mlflowGetExperiment: {
        apiError: null,
        experiment: {
          experimentId: experiment_id,
          name: "shown",
          creationTime: expect.stringMatching(/^\d{13}$/),
          lifecycleStage: "active",
          tags: [{ key: "a", value: "b", __typename: "MlflowExperimentTag" }],
          __typename: "MlflowExperiment",
        },
        __typename: "MlflowGetExperimentResponse",
      },
    });
  });

  test("answers a run with its experiment and the versions that came from it", async () => {
    const { data } = await ask(`{
      one: mlflowGetRun(input: {runId: "${run_id}"}) {
        run {
          info { runName startTime endTime status }
          data { params { key value } metrics { ...point } }
          inputs { datasetInputs { dataset { name } } }
          experiment { name }
          modelVersions { name version runId aliases }
        }
      }
    }
    fragment point on MlflowMetric { key value step timestamp }`);
    expect(data).toEqual({
      one: {
        run: {
          info: { runName: "first", startTime: "1700000000000", endTime: null, status: "RUNNING" },
          data: {
            params: [{ key: "lr", value: "0.1" }],
            metrics: [
              { key: "loss", value: 0.25, step: "2", timestamp: "1700000000002" },
              { key: "odd", value: null, step: "0", timestamp: "1700000000002" },
            ],
          },
          inputs: { datasetInputs: [] },
          experiment: { name: "shown" },
          modelVersions: [{ name: "m", version: "1", runId: run_id, aliases: [] }],
        },
      },
    });
  });

  test("samples metrics", async () => {
    const query = `query Chart($input: MlflowGetMetricHistoryBulkIntervalInput!) {
      mlflowGetMetricHistoryBulkInterval(input: $input) { metrics { runId step value } }
    }`;
    const input = { runIds: [run_id], metricKey: "loss", startStep: null, endStep: null, maxResults: 10 };
    expect((await ask(query, { input })).data).toEqual({
      mlflowGetMetricHistoryBulkInterval: {
        metrics: [
          { runId: run_id, step: "1", value: 0.5 },
          { runId: run_id, step: "2", value: 0.25 },
        ],
      },
    });
  });

  test("searches runs, versions, data sets and files", async () => {
    await t.post("runs/log-inputs", { run_id, datasets: [{ dataset: { name: "d", digest: "1" } }] });
    const { artifact_uri } = (await t.get("runs/get", { run_id })).at("run.info") as { artifact_uri: string };
    const url = artifact_uri.replace("mlflow-artifacts:/", "/api/2.0/mlflow-artifacts/artifacts/");
    await t.request({ method: "PUT", url: `${url}/folder/file.txt`, payload: "text" });
    const { data, errors } = await ask(
      `mutation Find($ids: [String], $run: String) {
        mlflowSearchRuns(input: {experimentIds: $ids, filter: "params.lr = '0.1'", runViewType: ACTIVE_ONLY}) {
          runs { info { runId } experiment { name } modelVersions { version } }
          nextPageToken
        }
        mlflowSearchModelVersions(input: {filter: "name = 'm'"}) { modelVersions { name } }
        mlflowSearchDatasets(input: {experimentIds: $ids}) { datasetSummaries { name context } }
        mlflowListArtifacts(input: {runId: $run}) { files { path isDir fileSize } }
        test(inputString: "abc") { output }
      }`,
      { ids: [experiment_id], run: run_id },
    );
    expect(errors).toBeNull();
    expect(data).toEqual({
      mlflowSearchRuns: {
        runs: [{ info: { runId: run_id }, experiment: { name: "shown" }, modelVersions: [{ version: "1" }] }],
        nextPageToken: null,
      },
      mlflowSearchModelVersions: { modelVersions: [{ name: "m" }] },
      mlflowSearchDatasets: { datasetSummaries: [{ name: "d", context: "" }] },
      mlflowListArtifacts: { files: [{ path: "folder", isDir: true, fileSize: "0" }] },
      test: { output: "abc" },
    });
  });

  test("answers null, and why, for what is not there", async () => {
    const { data, errors } = await ask(`{
      there: mlflowGetExperiment(input: {experimentId: "${experiment_id}"}) { experiment { name } }
      gone: mlflowGetExperiment(input: {experimentId: "4711"}) { experiment { name } }
    }`);
    expect(data).toEqual({ there: { experiment: { name: "shown" } }, gone: null });
    expect(errors).toEqual([expect.stringContaining("4711")]);
    expect(await errorOf("{ mlflowGetExperiment { experiment { name } } }")).toContain("experiment_id");
  });

  test("answers what is long, but not several times", async () => {
    const runs: string[] = [];
    const value = "v".repeat(2000);
    const params = Array.from({ length: 100 }, (_, n) => ({ key: `p${n}`, value }));
    const made = await t.post("experiments/create", { name: "long" });
    for (let n = 0; n < 25; n++) {
      runs.push(await t.run({ experiment_id: made.text("experiment_id") }));
      await t.post("runs/log-batch", { run_id: runs.at(-1), params });
    }
    const search = `mlflowSearchRuns(input: {experimentIds: ["${made.text("experiment_id")}"]}) {
      runs { info { runId } data { params { key value } } }
    }`;
    const { data, errors } = await ask(`{ one: ${search} two: ${search} three: ${search} }`);
    expect(JSON.stringify(data).match(/vvv"/g)).toHaveLength(5000);
    expect(data?.three).toBeNull();
    expect(errors).toEqual(["The answer without 'three' is long: ask for it alone."]);
  });

  test("skips fields, and takes a variable's default", async () => {
    const query = `query ($id: String = "${experiment_id}", $brief: Boolean!) {
      mlflowGetExperiment(input: {experimentId: $id}) {
        ... on MlflowGetExperimentResponse { experiment { name tags @skip(if: $brief) { key } } }
        apiError @include(if: false) { code }
      }
    }`;
    expect((await ask(query, { brief: true })).data).toEqual({
      mlflowGetExperiment: { experiment: { name: "shown" } },
    });
  });
});

describe("GraphQL refuses", () => {
  const experiment = (fields: string) => `{ mlflowGetExperiment(input: {experimentId: "0"}) { ${fields} } }`;
  const many = (count: number, text: (index: number) => string) => Array.from({ length: count }, (_, i) => text(i));

  test.each([
    ["what is not a query", "{", "Syntax Error: Unexpected <EOF>."],
    ["a text without an end", '{ test(inputString: "', "Syntax Error"],
    ["another kind of operation", "subscription { test { output } }", "Syntax Error"],
    ["nothing", " # nothing", "Must provide an operation."],
    ["two operations without a name", "query a { test { output } } query b { test { output } }", "operation name"],
    [
      "unknown fields",
      experiment("experiment { nothing }"),
      "Cannot query field 'nothing' on type 'MlflowExperiment'.",
    ],
    ["the fields that all objects of JavaScript have", "{ constructor { name } }", "Cannot query field 'constructor'"],
    ["the fields of a text", experiment("experiment { name { name } }"), "must not have a selection"],
    ["an object without its fields", experiment("experiment"), "must have a selection"],
    ["unknown fragments", "{ ...nothing }", "Unknown fragment 'nothing'."],
    ["two values under one name", experiment("experiment { a: name a: experimentId }"), "conflict"],
    ["a text as the input", '{ mlflowGetRun(input: "x") { run { info { runId } } } }', "must be an object"],
    [
      "more than ten root fields",
      `{ ${many(11, (i) => `k${i}: test { output }`).join(" ")} }`,
      "GraphQL queries should have at most 10 root fields",
    ],
    [
      "more than ten aliases",
      experiment(many(11, (i) => `k${i}: experiment { name }`).join(" ")),
      "queries should have at most 10 aliases",
    ],
    [
      "deep queries",
      experiment(`experiment { ${"name { ".repeat(12)} name ${"} ".repeat(12)} }`),
      "Query exceeds maximum depth of 10",
    ],
    ["very deep queries", "{ a ".repeat(10_000), "Query exceeds maximum depth"],
    ["fragments that contain themselves", "{ ...a } fragment a on Query { ...a }", "Query exceeds maximum depth of 10"],
    [
      "fragments that grow",
      `{ ...f0 } ${many(9, (i) => `fragment f${i} on Query { ${`...f${i + 1} `.repeat(10)} }`).join(" ")}
       fragment f9 on Query { test { output } }`,
      "Query exceeds maximum",
    ],
    [
      "many selections",
      experiment(`experiment { ${"name ".repeat(1001)} }`),
      "Query exceeds maximum total selections of 1000",
    ],
    ["long queries", `{ test { output } } ${"#".repeat(60_000)}`, "longer than"],
  ])("%s", async (_what, query, message) => {
    const start = performance.now();
    expect(await errorOf(query)).toContain(message);
    expect(performance.now() - start).toBeLessThan(1000);
  });

  test("requests without a query", async () => {
    expect((await t.post("/graphql", {})).status).toBe(400);
  });
});
