import { buffer } from "node:stream/consumers";
import type { ArtifactFile } from "../artifacts/artifacts.ts";
import { invalid } from "../errors.ts";
import type { Span } from "../store/types.ts";

/** Maximum size of a span file, in bytes. */
const LARGEST = 32 * 2 ** 20;

const textOf = (value: unknown, fallback = ""): string => (typeof value === "string" ? value : fallback);

/** Clients write values as JSON strings. */
function unwrapped(value: unknown): unknown {
  if (typeof value !== "string") return value;
  try {
    return JSON.parse(value) as unknown;
  } catch {
    return value;
  }
}

const recordOf = (value: unknown): Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value) ? (value as Record<string, unknown>) : {};

/** The spans of a `traces.json`, which MLflow's clients write if they do not send the spans. */
export async function spansIn(file: ArtifactFile, traceId: string): Promise<Span[]> {
  if (file.size > LARGEST) throw invalid(`The trace's file has ${file.size} bytes; at most ${LARGEST} are shown.`);
  // An unavailable store is not the same as an invalid file.
  const bytes = await buffer(await file.open());
  let content: unknown;
  try {
    content = JSON.parse(bytes.toString());
  } catch {
    throw invalid("The trace's file is not JSON.");
  }
  const { spans } = recordOf(content);
  return (Array.isArray(spans) ? spans : []).map((it): Span => {
    const span = recordOf(it);
    const status = recordOf(span.status);
    const attributes = Object.entries(recordOf(span.attributes)).map(([key, value]) => [key, unwrapped(value)]);
    const events = Array.isArray(span.events) ? span.events.map(recordOf) : [];
    return {
      traceId,
      spanId: textOf(span.span_id),
      parentId: textOf(span.parent_span_id) || textOf(span.parent_id) || null,
      name: textOf(span.name),
      start: digits(span.start_time_unix_nano ?? span.start_time_ns ?? span.start_time),
      end: digits(span.end_time_unix_nano ?? span.end_time_ns ?? span.end_time),
      failed: /ERROR/.test(textOf(status.code, textOf(span.status_code))),
      statusMessage: textOf(status.message, textOf(span.status_message)),
      attributes: Object.fromEntries(attributes),
      events: events.map((event) => ({
        name: textOf(event.name),
        time: digits(event.time_unix_nano ?? event.timestamp),
        attributes: recordOf(event.attributes),
      })),
    };
  });
}

const digits = (value: unknown): string => (/^\d{1,20}$/.test(String(value)) ? String(value) : "0");
