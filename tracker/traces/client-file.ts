import type { Span } from "../store/types.ts";

/*
 * Spans as MLflow's Python client writes them to a trace's file: ids in base64, times as numbers, which JavaScript cannot
 * hold, and attributes as JSON texts.
 */

const base64 = (id: string): string =>
  /^(?:[0-9a-f]{2})+$/i.test(id) ? Buffer.from(id, "hex").toString("base64") : id;

/** A value as Python writes JSON. */
function pythonJson(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(pythonJson).join(", ")}]`;
  if (typeof value !== "object" || value === null) return JSON.stringify(value) ?? "null";
  const members = Object.entries(value).map(([key, it]) => `${JSON.stringify(key)}: ${pythonJson(it)}`);
  return `{${members.join(", ")}}`;
}

const spanText = (it: Span): string => {
  const attributes = Object.fromEntries(Object.entries(it.attributes).map(([key, value]) => [key, pythonJson(value)]));
  const events = it.events.map(
    ({ name, time, attributes: own }) =>
      `{"name": ${JSON.stringify(name)}, "time_unix_nano": ${time}, "attributes": ${pythonJson(own)}}`,
  );
  return `{${[
    `"trace_id": ${JSON.stringify(base64(it.traceId.replace(/^tr-/, "")))}`,
    `"span_id": ${JSON.stringify(base64(it.spanId))}`,
    `"parent_span_id": ${it.parentId === null ? "null" : JSON.stringify(base64(it.parentId))}`,
    `"name": ${JSON.stringify(it.name)}`,
    `"start_time_unix_nano": ${it.start}`,
    `"end_time_unix_nano": ${it.end === "0" ? "null" : it.end}`,
    `"events": [${events.join(", ")}]`,
    `"status": ${pythonJson({ code: it.failed ? "STATUS_CODE_ERROR" : "STATUS_CODE_OK", message: it.statusMessage })}`,
    `"attributes": ${pythonJson(attributes)}`,
  ].join(", ")}}`;
};

/** The content of the file. */
export const clientFile = (spans: readonly Span[]): string => `{"spans": [${spans.map(spanText).join(", ")}]}`;
