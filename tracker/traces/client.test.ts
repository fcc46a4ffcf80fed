// Traces as MLflow's Python client uses them: version 2 of the API, files, assessments and correlations.
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { TestTracker } from "../testing.ts";

let t: TestTracker;
beforeEach(async () => {
  t = await TestTracker.open();
});
afterEach(() => t.close());

const v3 = (path: string) => `/api/3.0/mlflow/traces${path}`;

async function trace(id: string, more: object = {}): Promise<void> {
  const trace_info = { trace_id: id, trace_location: { mlflow_experiment: { experiment_id: "0" } }, ...more };
  expect((await t.post(v3(""), { trace: { trace_info } })).status).toBe(200);
}

describe("version 2", () => {
  test("a trace is started, ended, tagged, searched and deleted", async () => {
    const begun = await t.post("traces", {
      experiment_id: "0",
      timestamp_ms: 1000,
      request_metadata: [{ key: "a", value: "1" }],
      tags: [
        { key: "x", value: "1" },
        { key: "y", value: "1" },
      ],
    });
    expect(begun.at("trace_info")).toMatchObject({ experiment_id: "0", timestamp_ms: 1000, status: "IN_PROGRESS" });
    const id = begun.text("trace_info.request_id");
    expect(id).toMatch(/^tr-[0-9a-f]{32}$/);
    const ended = await t.send("PATCH", `traces/${id}`, {
      timestamp_ms: "3500",
      status: "ERROR",
      request_metadata: [{ key: "b", value: "2" }],
      tags: [{ key: "x", value: "2" }],
    });
    expect(ended.at("trace_info")).toMatchObject({
      timestamp_ms: 1000,
      execution_time_ms: 2500,
      status: "ERROR",
      request_metadata: [
        { key: "a", value: "1" },
        { key: "b", value: "2" },
      ],
    });
    expect(ended.at("trace_info.tags")).toEqual(
      expect.arrayContaining([
        { key: "x", value: "2" },
        { key: "y", value: "1" },
      ]),
    );
    await t.send("PATCH", `traces/${id}/tags`, { key: "z", value: "3" });
    expect((await t.send("DELETE", `traces/${id}/tags`, { key: "y" })).body).toEqual({});
    const { body } = await t.get(`traces/${id}/info`);
    const tags = (body.trace_info as { tags: { key: string }[] }).tags.map(({ key }) => key);
    expect(tags).toContain("z");
    expect(tags).not.toContain("y");
    // It is the same trace in version 3.
    expect((await t.get(v3(`/${id}`))).at("trace.trace_info")).toMatchObject({ state: "ERROR", tags: { z: "3" } });
    const found = await t.get("traces", { experiment_ids: ["0"], filter: "status = 'ERROR'", max_results: "1" });
    expect(found.at("traces.0.request_id")).toBe(id);
    const deleted = await t.post("traces/delete-traces", { experiment_id: "0", request_ids: [id] });
    expect(deleted.body).toEqual({ traces_deleted: 1 });
    expect((await t.get(`traces/${id}/info`)).at("error_code")).toBe("RESOURCE_DOES_NOT_EXIST");
    expect((await t.send("PATCH", "traces/none", { timestamp_ms: 1, status: "OK" })).status).toBe(404);
  });

  test("the tag that leads to a trace's files cannot be changed", async () => {
    await trace("tr-1");
    const key = "mlflow.artifactLocation";
    expect((await t.send("PATCH", "traces/tr-1/tags", { key, value: "s3://x" })).status).toBe(400);
    const tags = [{ key, value: "s3://evil/x" }];
    const begun = await t.post("traces", { experiment_id: "0", timestamp_ms: 1, tags });
    const ended = await t.send("PATCH", `traces/${begun.text("trace_info.request_id")}`, {
      timestamp_ms: 2,
      status: "OK",
      tags,
    });
    for (const { body } of [begun, ended]) expect(JSON.stringify(body)).not.toContain("evil");
  });
});

test("prompts are linked to a trace once each", async () => {
  await trace("tr-1");
  const link = (...prompt_versions: object[]) => t.post("traces/link-prompts", { trace_id: "tr-1", prompt_versions });
  await link({ name: "ask", version: "1" }, { name: "say", version: "2" });
  await link({ name: "ask", version: "1" }, { name: "ask", version: "2" });
  const { tags } = (await t.get(v3("/tr-1"))).at("trace.trace_info") as { tags: Record<string, string> };
  expect(JSON.parse(tags["mlflow.linkedPrompts"] ?? "")).toEqual([
    { name: "ask", version: "1" },
    { name: "say", version: "2" },
    { name: "ask", version: "2" },
  ]);
  expect((await t.post("traces/link-prompts", { trace_id: "tr-0", prompt_versions: [] })).status).toBe(404);
});

test("spans are answered as the protocol has them under both prefixes, and as a file with exact times", async () => {
  const span = {
    traceId: "0af7651916cd43dd8448eb211c80319c",
    spanId: "00f067aa0ba902b0",
    name: "test",
    startTimeUnixNano: "1795270988574105844",
    endTimeUnixNano: "1795270988674105845",
    status: { code: 1 },
    attributes: [
      { key: "fruit", value: { stringValue: "apple" } },
      { key: "mlflow.spanInputs", value: { stringValue: '{"a": [1, "x"], "b": null}' } },
    ],
    events: [{ name: "e", timeUnixNano: "99999", attributes: [{ key: "foo", value: { stringValue: "bar" } }] }],
  };
  await t.app.inject({
    method: "POST",
    url: "/v1/traces",
    payload: JSON.stringify({ resourceSpans: [{ scopeSpans: [{ spans: [span] }] }] }),
    headers: { "content-type": "application/json" },
  });
  const trace_id = `tr-${span.traceId}`;
  for (const api of ["api", "ajax-api"]) {
    const found = await t.get(`/${api}/3.0/mlflow/traces/get`, { trace_id });
    expect(found.at("trace.spans.0.attributes")).toContainEqual({ key: "fruit", value: { string_value: "apple" } });
  }
  for (const [experiment_ids, count] of [
    [["0"], 1],
    [["1"], 0],
  ] as const) {
    const found = await t.get(v3("/batchGet"), { trace_ids: [trace_id], experiment_ids: [...experiment_ids] });
    expect(found.at("traces.length")).toBe(count);
  }
  const url = `/ajax-api/2.0/mlflow/get-trace-artifact?request_id=${trace_id}`;
  const { headers, body } = await t.app.inject({ url });
  expect(headers["content-disposition"]).toBe("attachment; filename=traces.json");
  expect(body).toContain('"start_time_unix_nano": 1795270988574105844');
  expect(body).toContain('"end_time_unix_nano": 1795270988674105845');
  expect(JSON.parse(body)).toMatchObject({
    spans: [
      {
        trace_id: "CvdlGRbNQ92ESOshHIAxnA==",
        span_id: "APBnqgupArA=",
        parent_span_id: null,
        name: "test",
        status: { code: "STATUS_CODE_OK", message: "" },
        attributes: { fruit: '"apple"', "mlflow.spanInputs": '{"a": [1, "x"], "b": null}' },
        events: [{ name: "e", time_unix_nano: 99999, attributes: { foo: "bar" } }],
      },
    ],
  });
});

describe("assessments", () => {
  beforeEach(() => trace("tr-1"));
  const create = async (assessment: object) => t.post(v3("/tr-1/assessments"), { assessment });
  const get = async (id: string) => (await t.get(v3(`/tr-1/assessments/${id}`))).at("assessment");

  test("are valid until another overrides them, and again when that is deleted", async () => {
    const first = await create({ assessment_name: "good", feedback: { value: { stars: 4 } } });
    expect(first.at("assessment")).toMatchObject({ valid: true, feedback: { value: { stars: 4 } } });
    const id = first.text("assessment.assessment_id");
    const second = await create({ assessment_name: "good", feedback: { value: 2 }, overrides: id });
    const other = second.text("assessment.assessment_id");
    expect(await get(id)).toMatchObject({ valid: false });
    expect(await get(other)).toMatchObject({ valid: true, overrides: id });
    await t.send("DELETE", v3(`/tr-1/assessments/${other}`));
    expect(await get(id)).toMatchObject({ valid: true });
    expect((await t.get(v3(`/tr-1/assessments/${other}`))).status).toBe(404);
    expect((await create({ assessment_name: "good", feedback: { value: 2 }, overrides: "a-none" })).status).toBe(404);
  });

  test("change in what the mask names", async () => {
    const made = await create({ assessment_name: "good", feedback: { value: 1 }, metadata: { a: "1" } });
    const id = made.text("assessment.assessment_id");
    const changed = await t.send("PATCH", v3(`/tr-1/assessments/${id}`), {
      assessment: { assessment_id: id, assessment_name: "better", rationale: "why", metadata: { b: "2" } },
      update_mask: "assessmentName,metadata",
    });
    expect(changed.at("assessment")).toMatchObject({
      assessment_id: id,
      assessment_name: "better",
      feedback: { value: 1 },
      metadata: { a: "1", b: "2" },
    });
    expect(changed.at("assessment.rationale")).toBeUndefined();
    const wrong = { assessment: { expectation: { value: 1 } } };
    expect((await t.send("PATCH", v3(`/tr-1/assessments/${id}`), wrong)).status).toBe(400);
  });

  test("an expectation that is an object or a list is JSON in a field of its own", async () => {
    for (const value of [{ a: 1 }, [1, "x"]]) {
      const made = await create({ assessment_name: "facts", expectation: { value } });
      expect(made.at("assessment.expectation.serialized_value.serialization_format")).toBe("JSON_FORMAT");
      expect(JSON.parse(made.text("assessment.expectation.serialized_value.value"))).toEqual(value);
    }
    const plain = await create({ assessment_name: "facts", expectation: { value: "short" } });
    expect(plain.at("assessment.expectation")).toEqual({ value: "short" });
  });
});

test("the correlation of two filters", async () => {
  for (let n = 0; n < 10; n++) {
    const [env, kind] = [n < 6 ? "prod" : "dev", n < 7 ? "TOOL" : "LLM"];
    await trace(`tr-${n}`, { tags: { env, kind } });
  }
  const correlate = async (filter_string1: string, filter_string2: string, more: object = {}) =>
    (
      await t.post(v3("/calculate-filter-correlation"), {
        experiment_ids: ["0"],
        filter_string1,
        filter_string2,
        ...more,
      })
    ).body;
  expect(await correlate("tags.env = 'prod'", "tags.kind = 'TOOL'")).toEqual({
    total_count: 10,
    filter1_count: 6,
    filter2_count: 7,
    joint_count: 6,
    // log(0.6 / (0.6 * 0.7)) / -log(0.6)
    npmi: expect.closeTo(0.6982, 3),
    npmi_smoothed: expect.any(Number),
  });
  expect(await correlate("tags.env = 'prod'", "tags.kind = 'LLM'")).toMatchObject({ joint_count: 0, npmi: -1 });
  expect(await correlate("tags.env = 'none'", "tags.kind = 'LLM'")).toMatchObject({ filter1_count: 0, npmi: "NaN" });
  expect(await correlate("status = 'OK'", "status != 'x'")).toMatchObject({ filter1_count: 0 });
  const all = { base_filter: "tags.env = 'dev'" };
  expect(await correlate("tags.env = 'dev'", "tags.env != 'x'", all)).toMatchObject({ total_count: 4, npmi: 1 });
  expect(await correlate("wrong.key = 'x'", "tags.a = 'b'")).toMatchObject({ error_code: "INVALID_PARAMETER_VALUE" });
});
