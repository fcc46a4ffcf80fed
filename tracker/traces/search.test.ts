// Traces searched by their spans, their text and their assessments.
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { TestTracker } from "../testing.ts";

let t: TestTracker;

/** A span as OpenTelemetry's JSON; a trace's id is its number in hex. */
const span = (trace: number, id: number, name: string, attributes: Record<string, unknown> = {}, code = 1) => ({
  traceId: trace.toString(16).padStart(32, "0"),
  spanId: id.toString(16).padStart(16, "0"),
  ...(id === 1 ? {} : { parentSpanId: "0000000000000001" }),
  name,
  startTimeUnixNano: `${trace}000000000`,
  endTimeUnixNano: `${trace}500000000`,
  status: { code },
  attributes: Object.entries(attributes).map(([key, value]) => ({
    key,
    value: typeof value === "number" ? { doubleValue: value } : { stringValue: value },
  })),
});

beforeAll(async () => {
  t = await TestTracker.open();
  const spans = [
    span(1, 1, "ask", { "mlflow.spanType": "CHAIN" }),
    span(1, 2, "search_web", { "mlflow.spanType": "TOOL", query: "what's new?" }, 2),
    span(1, 3, "other", { "mlflow.spanType": "TOOL" }),
    span(2, 1, "ask", { "mlflow.spanType": "CHAIN" }),
    span(2, 2, "search_web", { "mlflow.spanType": "TOOL", model: "gpt", temperature: 0.7, "a.b": "90%" }),
    span(3, 1, "plain"),
  ];
  const sent = await t.app.inject({
    method: "POST",
    url: "/v1/traces",
    payload: JSON.stringify({ resourceSpans: [{ scopeSpans: [{ spans }] }] }),
    headers: { "content-type": "application/json" },
  });
  expect(sent.statusCode).toBe(200);
  const assess = (trace: number, assessment: object) =>
    t.post(`/api/3.0/mlflow/traces/tr-${trace.toString(16).padStart(32, "0")}/assessments`, { assessment });
  await assess(1, { assessment_name: "correct", feedback: { value: true } });
  await assess(2, { assessment_name: "correct", feedback: { value: false } });
  await assess(2, { assessment_name: "stars", feedback: { value: 5 } });
  await assess(2, { assessment_name: "quality", feedback: { value: "high" } });
  await assess(3, { assessment_name: "length", expectation: { value: 150 } });
  await t.send("PATCH", `/api/3.0/mlflow/traces/tr-${"3".padStart(32, "0")}/tags`, { key: "team", value: "a-1" });
});
afterAll(() => t.close());

/** The numbers of the found traces, newest first. */
async function search(filter: string, more: object = {}): Promise<string> {
  const found = await t.post("/api/3.0/mlflow/traces/search", { experiment_ids: ["0"], filter, ...more });
  expect([filter, found.status, found.status === 200 ? "" : found.body]).toEqual([filter, 200, ""]);
  return ((found.at("traces") ?? []) as { trace_id: string }[])
    .map(({ trace_id }) => Number(`0x${trace_id.slice(3)}`))
    .join("");
}

test.each([
  ["span.name = 'search_web'", "21"],
  ["span.name = 'search_web' AND span.status = 'OK'", "2"],
  ["span.name = 'other' AND span.status = 'ERROR'", ""],
  ["span.status = 'ERROR'", "1"],
  ["span.name LIKE 'search%'", "21"],
  ["span.name ILIKE 'SEARCH%'", "21"],
  ["span.name IN ('plain', 'other')", "31"],
  ["span.type = 'TOOL' AND span.name NOT IN ('search_web')", "1"],
  ["span.type ILIKE 'chain'", "21"],
  ["span.attributes.model LIKE '%gp%'", "2"],
  ["span.attributes.temperature LIKE '%0.7%'", "2"],
  ["span.attributes.a.b LIKE '90%'", "2"],
  ["span.attributes.nothing LIKE '%'", ""],
  ["span.content LIKE '%gpt%'", "2"],
  ["trace.text LIKE '%what''s new?%'", "1"],
  ["trace.text ILIKE '%SEARCH_WEB%'", "21"],
  ["trace.text LIKE '%search_web%' AND status = 'OK'", "21"],
  ["feedback.correct = 'true'", "1"],
  ["feedback.correct = false", "2"],
  ["feedback.stars = '5'", "2"],
  ["feedback.stars = 5", "2"],
  ["feedback.quality = 'high'", "2"],
  ["feedback.quality LIKE 'hi%'", "2"],
  ["feedback.correct IS NULL", "3"],
  ["feedback.correct IS NOT NULL", "21"],
  ["expectation.length = '150'", "3"],
  ["feedback.length = '150'", ""],
  ["feedback.correct = 'false' AND span.attributes.model LIKE 'gpt'", "2"],
  ["tags.team IS NULL", "21"],
  ["tags.team RLIKE '^[ab]-\\d$'", "3"],
  ["span.name RLIKE 'search|pl..n$'", "321"],
  ["span.name RLIKE '^(search|find)_.*'", "21"],
  ["trace.name RLIKE '^(plain|[^a]sk)$'", "3"],
  ["end_time_ms > 2400", "32"],
])("%s", async (filter, expected) => {
  expect(await search(filter)).toBe(expected);
});

test("the pages of a search by text are those of one", async () => {
  const filter = "trace.text LIKE '%name%'";
  const first = await t.post("/api/3.0/mlflow/traces/search", { experiment_ids: ["0"], filter, max_results: 2 });
  expect(await search(filter, { max_results: 2 })).toBe("32");
  expect(await search(filter, { max_results: 2, page_token: first.text("next_page_token") })).toBe("1");
  expect(await search(filter, { order_by: ["timestamp_ms ASC"] })).toBe("123");
});

test.each([
  ["span.duration = '1'", "Invalid span attribute 'duration'. Supported attributes: name, status, type, attributes."],
  ["span.content = 'x'", "Invalid comparator '='"],
  ["trace.text = 'x'", "Invalid comparator '='"],
  ["tags.k RLIKE '(a+)+$'", "Invalid RLIKE expression"],
  ["tags.k RLIKE '(.*)\\1'", "Invalid RLIKE expression"],
  ["tags.k RLIKE '[a'", "not closed"],
  ["tags.k RLIKE '(a|b)(a|b)(a|b)(a|b)(a|b)'", "alternatives"],
])("%s is refused", async (filter, why) => {
  const refused = await t.post("/api/3.0/mlflow/traces/search", { experiment_ids: ["0"], filter });
  expect([refused.status, refused.text("message")]).toEqual([400, expect.stringContaining(why)]);
});

describe("expressions of RLIKE", () => {
  test.each([
    "a",
    "^a",
    "b$",
    "^$",
    "a.c",
    "a.+c",
    "x|^y",
    "[a-c]x",
    "[^a-c]x",
    "[\\]-]",
    "[\\^]",
    "[^^]$",
    "\\.",
    "\\d\\w",
    "\\D$",
    "a\\*",
    "(ab|c)d",
    "[*?]",
    "\\[",
    "\\s",
  ])("%s matches what it matches elsewhere", async (source) => {
    const words = [
      "",
      "a",
      "b",
      "ab",
      "abc",
      "ac",
      "axc",
      "x",
      "y",
      "bx",
      "dx",
      "]",
      "-",
      "^",
      ".",
      "1a",
      "a*",
      "abd",
      "cd",
      "?",
      "[",
      "a b",
      "1",
    ];
    const run = words.map((value, n) => ({ value, id: `tr-r${n}` }));
    const experiment_id = (await t.post("experiments/create", { name: `for ${source}` })).text("experiment_id");
    for (const { value, id } of run) {
      const trace_info = {
        trace_id: `${id}-${experiment_id}`,
        trace_location: { mlflow_experiment: { experiment_id } },
        tags: { word: value },
      };
      await t.post("/api/3.0/mlflow/traces", { trace: { trace_info } });
    }
    const filter = `tags.word RLIKE '${source}'`;
    const found = await t.post("/api/3.0/mlflow/traces/search", { experiment_ids: [experiment_id], filter });
    expect(found.status).toBe(200);
    const tags = ((found.at("traces") ?? []) as { tags: { word: string } }[]).map(({ tags }) => tags.word);
    expect(tags.sort()).toEqual(words.filter((word) => new RegExp(source, "s").test(word)).sort());
  });
});
