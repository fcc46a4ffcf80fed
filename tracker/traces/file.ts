import { buffer } from "node:stream/consumers";
import type { ArtifactFile } from "../artifacts/disk.ts";
import { invalid } from "../errors.ts";
import type { Span } from "../store/types.ts";

/** Bytes of a file of spans that are read at once, to show them. */
const LARGEST = 32 * 2 ** 20;

const textOf = (value: unknown, fallback = ""): string => (typeof value === "string" ? value : fallback);

/** Clients write values as JSON within text. */
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

/** The spans of a `traces.json`, as MLflow's clients write it beside a trace whose spans they do not send. */
export async function spansIn(file: ArtifactFile, traceId: string): Promise<Span[]> {
  if (file.size > LARGEST) throw invalid(`The trace's file has ${file.size} bytes; at most ${LARGEST} are shown.`);
  let content: unknown;
  try {
    content = JSON.parse((await buffer(file.open())).toString());
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
