import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { TestTracker } from "../testing.ts";

/** MLflow's endpoints of version 2.0, as `METHODS path`. */
const v2 = `
  POST experiments/create
  POST experiments/delete
  POST experiments/restore
  POST experiments/update
  POST experiments/set-experiment-tag
  POST experiments/delete-experiment-tag
  GET experiments/get
  GET experiments/get-by-name
  GET,POST experiments/search
  GET experiments/list
  POST experiments/search-datasets
  POST runs/create
  POST runs/update
  POST runs/delete
  POST runs/restore
  POST runs/search
  POST runs/log-metric
  POST runs/log-parameter
  POST runs/log-batch
  POST runs/log-model
  POST runs/log-inputs
  POST runs/outputs
  POST runs/set-tag
  POST runs/delete-tag
  GET runs/get
  GET metrics/get-history
  GET metrics/get-history-bulk
  GET metrics/get-history-bulk-interval
  GET artifacts/list
  POST registered-models/create
  POST registered-models/rename
  POST registered-models/set-tag
  GET registered-models/get
  GET,POST registered-models/search
  PATCH registered-models/update
  DELETE registered-models/delete
  DELETE registered-models/delete-tag
  GET,POST registered-models/get-latest-versions
  GET,POST,DELETE registered-models/alias
  POST model-versions/create
  POST model-versions/transition-stage
  POST model-versions/set-tag
  GET model-versions/get
  GET model-versions/search
  GET model-versions/get-download-uri
  PATCH model-versions/update
  DELETE model-versions/delete
  DELETE model-versions/delete-tag
  POST logged-models
  POST logged-models/search
  GET,PATCH,DELETE logged-models/m-1
  POST logged-models/m-1/params
  PATCH logged-models/m-1/tags
  DELETE logged-models/m-1/tags/t
  GET logged-models/m-1/artifacts/directories
  GET logged-models/m-1/artifacts/files
  GET,POST traces
  PATCH traces/tr-1
  GET traces/tr-1/info
  PATCH,DELETE traces/tr-1/tags
  POST traces/delete-traces
  POST traces/link-to-run
  POST traces/link-prompts
  GET get-trace-artifact
  GET,POST webhooks
  GET,PATCH,DELETE webhooks/w
  POST webhooks/w/test
`;

const v3 = `
  GET server-info
  POST traces
  GET traces/get
  GET traces/batchGet
  GET traces/tr-1
  POST traces/search
  POST traces/delete-traces
  POST traces/calculate-filter-correlation
  PATCH,DELETE traces/tr-1/tags
  POST traces/tr-1/assessments
  GET,PATCH,DELETE traces/tr-1/assessments/a-1
  POST datasets/create
  GET,POST datasets/search
  GET,DELETE datasets/d-1
  PATCH datasets/d-1/tags
  DELETE datasets/d-1/tags/k
  GET,POST,DELETE datasets/d-1/records
  GET datasets/d-1/experiment-ids
  POST datasets/d-1/add-experiments
  POST datasets/d-1/remove-experiments
  POST scorers/register
  GET scorers/list
  GET scorers/versions
  GET scorers/get
  DELETE scorers/delete
`;

const artifacts = `
  GET artifacts
  GET,PUT,DELETE artifacts/folder/file
  POST mpu/create/folder
  POST mpu/complete/folder
  POST mpu/abort/folder
`;

const others = `
  GET /health
  GET /version
  GET /get-artifact
  GET /model-versions/get-artifact
  POST /ajax-api/2.0/mlflow/upload-artifact
  POST /v1/traces
  POST /graphql
`;

const listed = (text: string, prefix = ""): { method: "GET" | "POST"; url: string }[] =>
  text
    .trim()
    .split("\n")
    .flatMap((line) => {
      const [methods = "", path = ""] = line.trim().split(" ");
      return methods.split(",").map((method) => ({ method: method as "GET" | "POST", url: `${prefix}${path}` }));
    });

let t: TestTracker;
beforeAll(async () => {
  t = await TestTracker.open();
});
afterAll(() => t.close());

describe("MLflow's endpoints are there", () => {
  const endpoints = [
    ...["/api", "/ajax-api"].flatMap((api) => [
      ...listed(v2, `${api}/2.0/mlflow/`),
      ...listed(v3, `${api}/3.0/mlflow/`),
      ...listed(artifacts, `${api}/2.0/mlflow-artifacts/`),
    ]),
    ...listed(others),
  ];
  test.each(endpoints)("$method $url", async ({ method, url }) => {
    const payload = method === "GET" ? {} : { payload: "{}", headers: { "content-type": "application/json" } };
    const { statusCode, body } = await t.app.inject({ method, url, ...payload });
    expect([method, url, body]).not.toEqual([method, url, expect.stringContaining("ENDPOINT_NOT_FOUND")]);
    // Without what it needs it refuses; it must not fail, and what it does not find is told as such.
    expect([200, 400, 404]).toContain(statusCode);
    if (statusCode === 404) expect(JSON.parse(body)).toMatchObject({ error_code: "RESOURCE_DOES_NOT_EXIST" });
  });

  test.each([
    ["GET", "/api/2.0/mlflow/experiments/nothing"],
    ["DELETE", "/api/2.0/mlflow/runs/get"],
    ["GET", "/ajax-api/3.0/mlflow/gateway/secrets/list"],
  ] as const)("%s %s is not one of them", async (method, url) => {
    const { status, body } = await t.request({ method, url });
    expect([status, body.error_code]).toEqual([404, "ENDPOINT_NOT_FOUND"]);
  });
});

test("MLflow's pages store a file of a run, and load one of a logged model", async () => {
  const run_uuid = await t.run();
  const upload = (query: Record<string, string>) =>
    t.request({
      method: "POST",
      url: "/ajax-api/2.0/mlflow/upload-artifact",
      query,
      payload: "a,b\n1,2\n",
      headers: { "content-type": "text/csv" },
    });
  expect((await upload({ run_uuid, path: "eval/table.csv" })).body).toEqual({});
  const file = await t.app.inject({ url: "/get-artifact", query: { run_id: run_uuid, path: "eval/table.csv" } });
  expect(file.body).toBe("a,b\n1,2\n");
  for (const [query, status] of [
    [{ run_uuid }, 400],
    [{ run_uuid, path: "../out" }, 400],
    [{ run_uuid: "nobody", path: "x" }, 404],
  ] as const) {
    expect((await upload(query)).status).toBe(status);
  }

  const made = await t.post("logged-models", { experiment_id: "0", name: "m" });
  const [model_id, uri] = [made.text("model.info.model_id"), made.text("model.info.artifact_uri")];
  const folder = uri.replace("mlflow-artifacts:/", "/api/2.0/mlflow-artifacts/artifacts/");
  await t.request({ method: "PUT", url: `${folder}/conf/MLmodel`, payload: "flavors: {}" });
  const url = `/ajax-api/2.0/mlflow/logged-models/${model_id}/artifacts/files`;
  const loaded = await t.app.inject({ url, query: { artifact_file_path: "conf/MLmodel" } });
  expect([loaded.body, loaded.headers["content-disposition"]]).toEqual([
    "flavors: {}",
    expect.stringContaining("attachment"),
  ]);
  expect((await t.app.inject({ url, query: { artifact_file_path: "conf/nothing" } })).statusCode).toBe(404);
});
