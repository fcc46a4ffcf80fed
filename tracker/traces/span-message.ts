import type { Span } from "../store/types.ts";

/*
 * Spans as MLflow's clients read them: OpenTelemetry's message (opentelemetry/proto/trace/v1, Span) as protobuf's JSON,
 * with ids in base64, 64-bit integers as digits, and attributes as a list.
 */

/** Converts hex ids; other ids from a client's file are unchanged. */
const bytes = (id: string): string => (/^(?:[0-9a-f]{2})+$/i.test(id) ? Buffer.from(id, "hex").toString("base64") : id);

/** @param value JSON */
function anyValue(value: unknown): object {
  if (typeof value === "string") return { string_value: value };
  if (typeof value === "boolean") return { bool_value: value };
  if (typeof value === "number") {
    return Number.isSafeInteger(value) ? { int_value: String(value) } : { double_value: value };
  }
  if (Array.isArray(value)) return { array_value: { values: value.map(anyValue) } };
  // A message without a value is how protobuf writes null.
  return value === null || typeof value !== "object" ? {} : { kvlist_value: { values: keyValues(value) } };
}

const keyValues = (record: object): { key: string; value: object }[] =>
  Object.entries(record).map(([key, value]) => ({ key, value: anyValue(value) }));

export const spanMessage = (it: Span) => ({
  trace_id: bytes(it.traceId.replace(/^tr-/, "")),
  span_id: bytes(it.spanId),
  ...(it.parentId === null ? {} : { parent_span_id: bytes(it.parentId) }),
  name: it.name,
  start_time_unix_nano: it.start,
  end_time_unix_nano: it.end,
  attributes: keyValues(it.attributes),
  events: it.events.map(({ name, time, attributes }) => ({
    name,
    time_unix_nano: time,
    attributes: keyValues(attributes),
  })),
  status: { code: it.failed ? "STATUS_CODE_ERROR" : "STATUS_CODE_OK", message: it.statusMessage },
});
