import { gzipSync } from "node:zlib";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { TestTracker } from "../testing.ts";

/**
 * What OpenTelemetry's own exporter (Python, 1.45) sends for two spans: "answer", and within it "generate", which failed.
 */
const EXPORTED = [
  "CskECscBCiIKFnRlbGVtZXRyeS5zZGsubGFuZ3VhZ2USCAoGcHl0aG9uCiUKEnRlbGVtZXRyeS5zZGsubmFtZRIPCg1vcGVudGVsZW1ldHJ5Ci",
  "EKFXRlbGVtZXRyeS5zZGsudmVyc2lvbhIICgYxLjQ1LjAKPQoTc2VydmljZS5pbnN0YW5jZS5pZBImCiQ1OWEzZTM3YS00OTI2LTQwZmUtOTM3",
  "Ny1mOWMyNWVkOWNlYTIKGAoMc2VydmljZS5uYW1lEggKBmhlbHBlchL8AgoDCgF4EsUBChAD0TSeyQl9Yqdhvhn3BvVgEgjj9LXuTdlw0SIIlk",
  "mwmiG6JDMqCGdlbmVyYXRlMAE5MMi6xGwV6hhBTvG7xGwV6hhKDAoGdG9rZW5zEgIYDEoYCgt0ZW1wZXJhdHVyZRIJIQAAAAAAAOA/ShQKBHN0",
  "b3ASDCoKCgMKAWEKAwoBYkoMCgZzdHJlYW0SAhABWiAJx4i7xGwV6hgSC2ZpcnN0IHRva2VuGggKAm1zEgIYH3oLEgdjdXQgb2ZmGAKFAQABAA",
  "ASrAEKEAPRNJ7JCX1ip2G+GfcG9WASCJZJsJohuiQzKgZhbnN3ZXIwATn0HLnEbBXqGEEDcrzEbBXqGEo4ChFtbGZsb3cuc3BhbklucHV0cxIj",
  "CiF7InF1ZXN0aW9uIjogIldoYXQgaXMgYSB0ZW5zb3I/In1KMAoSbWxmbG93LnNwYW5PdXRwdXRzEhoKGCJBbiBhcnJheSB3aXRoIGEgc2hhcG",
  "UuInoAhQEAAQAA",
].join("");
const TRACE = "tr-03d1349ec9097d62a761be19f706f560";

let t: TestTracker;
beforeEach(async () => {
  t = await TestTracker.open();
});
afterEach(() => t.close());

const v3 = (path: string) => `/api/3.0/mlflow/${path}`;
/** As pages ask. */
const shown = (trace_id: string) => t.get(`/api/anneal/traces/${trace_id}`);

async function exported(
  payload: Buffer | string,
  headers: Record<string, string> = {},
): Promise<{ status: number; body: string }> {
  const response = await t.app.inject({
    method: "POST",
    url: "/v1/traces",
    payload,
    headers: { "content-type": "application/x-protobuf", ...headers },
  });
  return { status: response.statusCode, body: response.body };
}

/** A trace as MLflow's client starts one. */
const started = (more: object = {}) =>
  t.post(v3("traces"), {
    trace: {
      trace_info: {
        trace_id: "tr-1",
        trace_location: { type: "MLFLOW_EXPERIMENT", mlflow_experiment: { experiment_id: "0" } },
        request_time: "2026-11-01T10:00:00Z",
        state: "IN_PROGRESS",
        request_preview: '{"q": 1}',
        trace_metadata: { "mlflow.sourceRun": "r1" },
        tags: { "mlflow.traceName": "predict" },
        ...more,
      },
    },
  });

describe("by OpenTelemetry", () => {
  test.each([
    ["as it comes", (bytes: Buffer) => bytes, {}],
    ["packed", gzipSync, { "content-encoding": "gzip" }],
  ] as const)("a trace is taken %s and told with its spans", async (_, pack, headers) => {
    expect(await exported(pack(Buffer.from(EXPORTED, "base64")), headers)).toEqual({ status: 200, body: "" });
    const { body } = await t.get(v3(`traces/${TRACE}`));
    expect(body).toMatchObject({
      trace: {
        trace_info: {
          trace_id: TRACE,
          trace_location: { mlflow_experiment: { experiment_id: "0" } },
          state: "OK",
          request_preview: '{"question":"What is a tensor?"}',
          response_preview: "An array with a shape.",
          tags: { "mlflow.traceName": "answer" },
        },
      },
    });
    const whole = await shown(TRACE);
    const [root, child] = whole.at("trace.spans") as Record<string, unknown>[];
    expect(root).toMatchObject({
      name: "answer",
      start_time_unix_nano: "1795270958361681140",
      attributes: { "service.name": "helper", "mlflow.spanInputs": { question: "What is a tensor?" } },
    });
    expect(child).toMatchObject({
      name: "generate",
      parent_span_id: root?.span_id,
      status: { code: "STATUS_CODE_ERROR", message: "cut off" },
      attributes: { tokens: 12, temperature: 0.5, stop: ["a", "b"], stream: true },
      events: [{ name: "first token", attributes: { ms: 31 } }],
    });
  });

  test("returns spans as protobuf JSON, for one trace or several", async () => {
    await exported(Buffer.from(EXPORTED, "base64"));
    const { trace_info, spans } = (await t.get(v3("traces/get"), { trace_id: TRACE })).body.trace as {
      trace_info: object;
      spans: Record<string, unknown>[];
    };
    expect(trace_info).toMatchObject({ trace_id: TRACE, tags: { "mlflow.trace.spansLocation": "TRACKING_STORE" } });
    const [root, child] = spans;
    expect(root?.trace_id).toBe("A9E0nskJfWKnYb4Z9wb1YA==");
    expect(child).toMatchObject({
      name: "generate",
      parent_span_id: root?.span_id,
      start_time_unix_nano: expect.stringMatching(/^\d{19}$/),
      status: { code: "STATUS_CODE_ERROR", message: "cut off" },
      events: [{ name: "first token", attributes: [{ key: "ms", value: { int_value: "31" } }] }],
    });
    expect(child?.attributes).toEqual(
      expect.arrayContaining([
        { key: "tokens", value: { int_value: "12" } },
        { key: "temperature", value: { double_value: 0.5 } },
        { key: "stop", value: { array_value: { values: [{ string_value: "a" }, { string_value: "b" }] } } },
        { key: "stream", value: { bool_value: true } },
      ]),
    );
    expect(root?.attributes).toContainEqual({
      key: "mlflow.spanInputs",
      value: { kvlist_value: { values: [{ key: "question", value: { string_value: "What is a tensor?" } }] } },
    });
    const several = await t.get(v3("traces/batchGet"), { trace_ids: [TRACE, "tr-0"] });
    expect(several.body).toEqual({ traces: [{ trace_info, spans }] });
    const many = Array.from({ length: 101 }, (_, i) => `tr-${i}`);
    expect((await t.get(v3("traces/batchGet"), { trace_ids: many })).status).toBe(400);
  });

  test("accepts spans in several requests, children first, repeated, and as JSON", async () => {
    const span = (spanId: string, more: object = {}) => ({
      traceId: "0123456789abcdef0123456789ABCDEF",
      spanId,
      name: spanId,
      startTimeUnixNano: "1795270988000000001",
      endTimeUnixNano: "1795270990000000000",
      ...more,
    });
    const send = (...spans: object[]) =>
      exported(JSON.stringify({ resourceSpans: [{ scopeSpans: [{ spans }] }] }), {
        "content-type": "application/json",
      });
    const id = "tr-0123456789abcdef0123456789abcdef";
    const state = async () => (await t.get(v3(`traces/${id}`))).at("trace.trace_info.state");
    expect((await send(span("000000000000000b", { parentSpanId: "000000000000000a" }))).status).toBe(200);
    expect(await state()).toBe("IN_PROGRESS");
    for (let again = 0; again < 2; again++) await send(span("000000000000000a", { status: { code: 2 } }));
    expect(await state()).toBe("ERROR");
    const { body } = await shown(id);
    expect(body).toMatchObject({ trace: { trace_info: { execution_duration: "2s" } } });
    expect((body.trace as { spans: unknown[] }).spans).toHaveLength(2);
  });

  test("rejects invalid bodies, decompression bombs and another experiment's location", async () => {
    const bytes = Buffer.from(EXPORTED, "base64");
    const bomb = gzipSync(Buffer.alloc(200 * 2 ** 20));
    expect(bomb.length).toBeLessThan(300_000);
    for (const [payload, headers] of [
      [Buffer.from("no message"), {}],
      [bytes.subarray(0, 300), {}],
      [bytes, { "content-type": "text/plain" }],
      [bytes, { "content-encoding": "gzip" }],
      [bytes, { "content-encoding": "zip" }],
      [bomb, { "content-encoding": "gzip" }],
      ['{"resourceSpans": [{"scopeSpans": [{"spans": [{"traceId": "x"}]}]}]}', { "content-type": "application/json" }],
      ["{", { "content-type": "application/json" }],
      [bytes, { "x-mlflow-experiment-id": "7' OR 1=1" }],
    ] as const) {
      const { status } = await exported(payload, headers);
      expect([String(payload).slice(0, 20), headers, status >= 400 && status < 500]).toEqual([
        String(payload).slice(0, 20),
        headers,
        true,
      ]);
    }
  });
});

describe("by MLflow's version 3", () => {
  test("a trace is started and ended, and keeps its earlier metadata", async () => {
    const begun = await started();
    expect(begun.at("trace.trace_info.tags")).toMatchObject({
      "mlflow.traceName": "predict",
      "mlflow.artifactLocation": "mlflow-artifacts:/0/traces/tr-1/artifacts",
    });
    await t.send("PATCH", v3("traces/tr-1/tags"), { key: "reviewed", value: "yes" });
    await started({ state: "OK", execution_duration: "1.25s", response_preview: "42", request_preview: undefined });
    const { trace_info } = (await t.get(v3("traces/tr-1"))).body.trace as { trace_info: object };
    expect(trace_info).toMatchObject({
      state: "OK",
      request_time: "2026-11-01T10:00:00.000Z",
      execution_duration: "1.25s",
      request_preview: '{"q": 1}',
      response_preview: "42",
      tags: { reviewed: "yes" },
      trace_metadata: { "mlflow.sourceRun": "r1" },
    });
    expect((await t.send("DELETE", v3("traces/tr-1/tags"), { key: "reviewed" })).status).toBe(200);
    expect((await t.send("DELETE", v3("traces/tr-1/tags"), { key: "reviewed" })).status).toBe(404);
    expect((await t.get(v3("traces/tr-2"))).status).toBe(404);
    expect((await started({ trace_id: "../x" })).status).toBe(400);
    expect((await started({ execution_duration: "soon" })).status).toBe(400);
  });

  test("spans in a client's traces.json are shown and deleted with the trace", async () => {
    await started();
    const span = {
      name: "predict",
      span_id: "s1",
      parent_span_id: null,
      start_time_unix_nano: 1795270988574105844n.toString(),
      end_time_unix_nano: "1795270988674105844",
      attributes: { "mlflow.spanInputs": '{"q": 1}' },
      status: { code: "STATUS_CODE_OK" },
    };
    await t.app.inject({
      method: "PUT",
      url: "/api/2.0/mlflow-artifacts/artifacts/0/traces/tr-1/artifacts/traces.json",
      payload: JSON.stringify({ spans: [span] }),
    });
    const whole = await shown("tr-1");
    expect(whole.at("trace.spans.0")).toMatchObject({ name: "predict", attributes: { "mlflow.spanInputs": { q: 1 } } });
    await t.post(v3("traces/delete-traces"), { experiment_id: "0", trace_ids: ["tr-1"] });
    expect(await t.tracker.artifacts.list("0/traces/tr-1/artifacts")).toEqual([]);
  });

  test("traces are searched with pagination, linked to runs and deleted", async () => {
    for (let i = 0; i < 5; i++) {
      await started({
        trace_id: `tr-${i}`,
        request_time: 1000 * i,
        state: i % 2 ? "ERROR" : "OK",
        execution_duration: `${i}s`,
        tags: { "mlflow.traceName": i < 3 ? "a" : "b" },
      });
    }
    const locations = [{ type: "MLFLOW_EXPERIMENT", mlflow_experiment: { experiment_id: "0" } }];
    const search = async (more: object) => {
      const found = await t.post(v3("traces/search"), { locations, ...more });
      expect(found.status).toBe(200);
      return ((found.at("traces") ?? []) as { trace_id: string }[]).map(({ trace_id }) => trace_id.slice(3)).join("");
    };
    expect(await search({})).toBe("43210");
    expect(await search({ filter: "status = 'ERROR'" })).toBe("31");
    expect(await search({ filter: "trace.status = 'OK' AND attributes.name = 'a'" })).toBe("20");
    expect(await search({ filter: "timestamp_ms > 1500 AND execution_time < 4000" })).toBe("32");
    expect(await search({ filter: "tag.`mlflow.traceName` = 'b'", order_by: ["timestamp_ms ASC"] })).toBe("34");
    expect(await search({ filter: "metadata.`mlflow.sourceRun` = 'r1' AND run_id = 'r1'", max_results: 2 })).toBe("43");
    const first = await t.post(v3("traces/search"), { locations, max_results: 3 });
    expect(await search({ max_results: 3, page_token: first.text("next_page_token") })).toBe("10");
    const run_id = await t.run();
    await t.post("traces/link-to-run", { trace_ids: ["tr-0"], run_id });
    expect(await search({ filter: `run_id = '${run_id}'` })).toBe("0");
    const remove = (more: object) => t.post(v3("traces/delete-traces"), { experiment_id: "0", ...more });
    expect((await remove({ request_ids: ["tr-4", "tr-9"] })).at("traces_deleted")).toBe(1);
    expect((await remove({ max_timestamp_millis: 2000, max_traces: 2 })).at("traces_deleted")).toBe(2);
    expect(await search({})).toBe("32");
    expect((await remove({})).status).toBe(400);
  });

  test("traces have assessments", async () => {
    await started();
    const feedback = { assessment_name: "correct", source: { source_type: "HUMAN" }, feedback: { value: true } };
    const made = await t.post(v3("traces/tr-1/assessments"), { assessment: feedback });
    const id = made.text("assessment.assessment_id");
    await t.send("PATCH", v3(`traces/tr-1/assessments/${id}`), { assessment: { feedback: { value: false } } });
    expect((await t.get(v3("traces/tr-1"))).at("trace.trace_info.assessments.0")).toMatchObject({
      assessment_name: "correct",
      feedback: { value: false },
    });
    expect((await t.send("DELETE", v3(`traces/tr-1/assessments/${id}`))).status).toBe(200);
    expect((await t.get(v3(`traces/tr-1/assessments/${id}`))).status).toBe(404);
  });
});
