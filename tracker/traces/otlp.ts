import { promisify } from "node:util";
import { brotliDecompress, gunzip, inflate } from "node:zlib";
import { type Static, Type } from "@sinclair/typebox";
import protobuf from "protobufjs";
import { invalid } from "../errors.ts";
import { parseJson } from "../json.ts";
import { parseMessage } from "../message.ts";
import type { Span } from "../store/types.ts";

/*
 * OTLP traces over HTTP: https://opentelemetry.io/docs/specs/otlp/#otlphttp, as protobuf or JSON.
 * Only the stored fields of the messages (opentelemetry/proto/trace/v1) are declared.
 */

const { root } = protobuf.parse(`
  syntax = "proto3";
  message TracesData { repeated ResourceSpans resource_spans = 1; }
  message ResourceSpans { Resource resource = 1; repeated ScopeSpans scope_spans = 2; }
  message Resource { repeated KeyValue attributes = 1; }
  message ScopeSpans { repeated Span spans = 2; }
  message Span {
    bytes trace_id = 1;
    bytes span_id = 2;
    bytes parent_span_id = 4;
    string name = 5;
    fixed64 start_time_unix_nano = 7;
    fixed64 end_time_unix_nano = 8;
    repeated KeyValue attributes = 9;
    repeated Event events = 11;
    Status status = 15;
  }
  message Event { fixed64 time_unix_nano = 1; string name = 2; repeated KeyValue attributes = 3; }
  message Status { string message = 2; int32 code = 3; }
  message KeyValue { string key = 1; AnyValue value = 2; }
  message AnyValue {
    oneof value {
      string string_value = 1;
      bool bool_value = 2;
      int64 int_value = 3;
      double double_value = 4;
      ArrayValue array_value = 5;
      KeyValueList kvlist_value = 6;
      bytes bytes_value = 7;
    }
  }
  message ArrayValue { repeated AnyValue values = 1; }
  message KeyValueList { repeated KeyValue values = 1; }
`);
root.resolveAll();
const TracesData = root.lookupType("TracesData");

/** Maximum size of a decompressed request in bytes, against decompression bombs. */
const LARGEST = 16 * 2 ** 20;
/** Fields of a request: some 4000 spans with 20 attributes each. An empty span takes two bytes, and much memory when parsed. */
const MAX_FIELDS = 400_000;
/** Nesting of messages. A value in an attribute's list is nine levels deep. */
const MAX_DEPTH = 64;

/** Attributes as the protocol writes them: a list of keys, each with a value of one of several kinds. */
const Attributes = Type.Optional(Type.Array(Type.Object({ key: Type.String(), value: Type.Optional(Type.Unknown()) })));
const Nanoseconds = Type.Optional(Type.Union([Type.String({ pattern: "^\\d{1,20}$" }), Type.Integer({ minimum: 0 })]));
const Request = Type.Object({
  resourceSpans: Type.Array(
    Type.Object({
      resource: Type.Optional(Type.Object({ attributes: Attributes })),
      scopeSpans: Type.Optional(
        Type.Array(
          Type.Object({
            spans: Type.Optional(
              Type.Array(
                Type.Object({
                  traceId: Type.String({ pattern: "^[0-9a-fA-F]{32}$", title: "32 hex digits" }),
                  spanId: Type.String({ pattern: "^[0-9a-fA-F]{16}$", title: "16 hex digits" }),
                  parentSpanId: Type.Optional(Type.String({ pattern: "^([0-9a-fA-F]{16})?$" })),
                  name: Type.Optional(Type.String()),
                  startTimeUnixNano: Nanoseconds,
                  endTimeUnixNano: Nanoseconds,
                  attributes: Attributes,
                  events: Type.Optional(
                    Type.Array(
                      Type.Object({
                        timeUnixNano: Nanoseconds,
                        name: Type.Optional(Type.String()),
                        attributes: Attributes,
                      }),
                    ),
                  ),
                  status: Type.Optional(
                    Type.Object({
                      code: Type.Optional(Type.Union([Type.Integer(), Type.String()])),
                      message: Type.Optional(Type.String()),
                    }),
                  ),
                }),
              ),
            ),
          }),
        ),
      ),
    }),
  ),
});

async function unpacked(body: Buffer, encoding: string): Promise<Buffer> {
  const unpack = { gzip: gunzip, deflate: inflate, br: brotliDecompress }[encoding];
  if (encoding === "" || encoding === "identity") return body;
  if (!unpack) throw invalid(`Unknown content-encoding '${encoding}': expected gzip, deflate, br or none.`);
  try {
    return await promisify<Buffer, object, Buffer>(unpack)(body, { maxOutputLength: LARGEST });
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw invalid(`The body cannot be unpacked as ${encoding}, or holds more than ${LARGEST} bytes: ${why}.`);
  }
}

/** Checks what decoding would cost, without decoding. */
function checkCost(body: Buffer): void {
  const reader = protobuf.Reader.create(body);
  let fields = 0;
  const visit = (type: protobuf.Type, end: number, depth: number): void => {
    if (depth > MAX_DEPTH) throw new Error(`messages are nested more than ${MAX_DEPTH} levels deep`);
    while (reader.pos < end) {
      if (++fields > MAX_FIELDS) throw new Error(`more than ${MAX_FIELDS} fields: send smaller batches`);
      const tag = reader.uint32();
      const of = (tag & 7) === 2 ? type.fieldsById[tag >>> 3]?.resolvedType : undefined;
      if (of instanceof protobuf.Type) {
        const length = reader.uint32();
        visit(of, reader.pos + length, depth + 1);
      } else reader.skipType(tag & 7);
    }
  };
  visit(TracesData, reader.len, 0);
}

/** A protobuf message as its JSON: ids in hex, 64-bit integers as digits. */
function decode(body: Buffer): unknown {
  try {
    checkCost(body);
    const message = TracesData.toObject(TracesData.decode(body), { longs: String, bytes: Array });
    return inHex(message);
  } catch (error) {
    throw invalid(
      `The body is no ExportTraceServiceRequest: ${error instanceof Error ? error.message : String(error)}.`,
    );
  }
}

const ID = new Set(["traceId", "spanId", "parentSpanId"]);

function inHex(value: unknown, key = ""): unknown {
  if (Array.isArray(value)) {
    if (ID.has(key)) return Buffer.from(value as number[]).toString("hex");
    return key === "bytesValue" ? Buffer.from(value as number[]).toString("base64") : value.map((it) => inHex(it));
  }
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([name, it]) => [name, inHex(it, name)]));
}

/** An attribute's value as JSON. JSON strings from MLflow's clients are parsed. */
function plain(value: unknown, depth = 0): unknown {
  if (typeof value !== "object" || value === null || depth > 20) return null;
  const [kind, held] = Object.entries(value)[0] ?? [];
  if (kind === "intValue") return Number(held);
  if (kind === "arrayValue") return listIn(held).map((it) => plain(it, depth + 1));
  if (kind === "kvlistValue") {
    return Object.fromEntries(
      listIn(held).flatMap((it) =>
        typeof it === "object" && it !== null && "key" in it
          ? [[String(it.key), plain("value" in it ? it.value : null, depth + 1)]]
          : [],
      ),
    );
  }
  return held ?? null;
}

const listIn = (value: unknown): unknown[] =>
  typeof value === "object" && value !== null && "values" in value && Array.isArray(value.values) ? value.values : [];

function attributesOf(list: Static<typeof Attributes> = []): Record<string, unknown> {
  return Object.fromEntries(
    list.map(({ key, value }) => {
      const held = plain(value);
      if (!key.startsWith("mlflow.") || typeof held !== "string") return [key, held];
      try {
        return [key, parseJson(held)];
      } catch {
        return [key, held];
      }
    }),
  );
}

const isError = (code: number | string | undefined): boolean => code === 2 || code === "STATUS_CODE_ERROR";

/**
 * The spans of a request.
 * @throws INVALID_PARAMETER_VALUE for an invalid body
 */
export async function parseSpans(
  body: Buffer,
  { type, encoding }: { type: string; encoding: string },
): Promise<Span[]> {
  const bytes = await unpacked(body, encoding.toLowerCase());
  let message: unknown;
  if (type.startsWith("application/json")) message = parseJson(bytes.toString(), "The body", MAX_FIELDS);
  else if (type.startsWith("application/x-protobuf")) message = decode(bytes);
  else throw invalid(`Unknown content-type '${type}': expected application/x-protobuf or application/json.`);
  const { resourceSpans } = parseMessage(Request, message ?? {});
  return resourceSpans.flatMap(({ resource, scopeSpans = [] }) => {
    const service = attributesOf(resource?.attributes)["service.name"];
    return scopeSpans.flatMap(({ spans = [] }) =>
      spans.map(
        (span): Span => ({
          // MLflow's id format for OpenTelemetry traces.
          traceId: `tr-${span.traceId.toLowerCase()}`,
          spanId: span.spanId.toLowerCase(),
          parentId: span.parentSpanId?.toLowerCase() || null,
          name: span.name ?? "",
          start: String(span.startTimeUnixNano ?? 0),
          end: String(span.endTimeUnixNano ?? 0),
          failed: isError(span.status?.code),
          statusMessage: span.status?.message ?? "",
          attributes: {
            ...(service === undefined ? {} : { "service.name": service }),
            ...attributesOf(span.attributes),
          },
          events: (span.events ?? []).map((event) => ({
            name: event.name ?? "",
            time: String(event.timeUnixNano ?? 0),
            attributes: attributesOf(event.attributes),
          })),
        }),
      ),
    );
  });
}
