import { crc32 } from "node:zlib";
import type { RunInfo } from "./api/types.ts";

/** A metric value. */
export interface MetricPoint {
  key: string;
  value: number;
  /** Milliseconds since 1970. */
  timestamp: number;
  step: number;
}

/** A data set in MLflow's form. */
export interface DatasetInput {
  name: string;
  digest: string;
  /** Purpose: train, eval, test. */
  context: string;
  /** Statistics such as `{ rows: 1000 }`. */
  profile: Record<string, unknown>;
}

/** A record of a run's journal. */
export type JournalRecord =
  | {
      kind: "create";
      experiment: string;
      name: string;
      startTime: number;
      tags: Record<string, string>;
      /** Only adds to an existing run. */
      amend?: boolean;
    }
  | { kind: "params"; params: Record<string, string> }
  | { kind: "metrics"; points: MetricPoint[] }
  | { kind: "tags"; tags: Record<string, string> }
  | { kind: "dataset"; dataset: DatasetInput }
  | { kind: "artifact"; path: string; file: string; model?: { id: string; path: string } }
  | LoggedModelRecord
  | { kind: "model-ready"; model: string }
  /** Takes back the metrics after a step. */
  | { kind: "rewind"; id: string; step: number; time: number }
  | { kind: "status"; status: RunInfo["status"]; endTime?: number };

/** A model of a run; its files follow as artifacts with its id, then a record that it is complete. */
export interface LoggedModelRecord {
  kind: "model";
  /** Local id; the tracker assigns another. */
  model: string;
  /** Its folder in the run's artifacts. */
  name: string;
  modelType: string;
  step: number;
  params: Record<string, string>;
  tags: Record<string, string>;
}

const [space, newline] = [32, 10];
const metricsStart = '{"kind":"metrics","points":[';
const metricsEnd = "]}";
const pointStart = Buffer.from('{"key":');

/** Encoded beginnings of points by key: a run logs the same keys at each step. */
const prefixes = new Map<string, string>();

function prefixOf(key: string): string {
  let prefix = prefixes.get(key);
  if (prefix === undefined) {
    if (prefixes.size >= 10_000) prefixes.clear();
    prefix = `{"key":${JSON.stringify(key)},"value":`;
    prefixes.set(key, prefix);
  }
  return prefix;
}

/** JSON has neither NaN nor infinities; MLflow's protocol encodes them as strings. */
const numberText = (value: number) => (Number.isFinite(value) ? String(value) : `"${value}"`);

/** Encodes metrics as a record whose points have the form of the protocol. */
export function encodeMetrics(
  keys: readonly string[],
  values: ArrayLike<number>,
  timestamp: number,
  step: number,
): string {
  const tail = `,"timestamp":${timestamp},"step":${step}}`;
  let text = metricsStart;
  for (const [i, key] of keys.entries()) text += `${i > 0 ? "," : ""}${prefixOf(key)}${numberText(values[i])}${tail}`;
  return text + metricsEnd;
}

const valuesStart = '{"kind":"values","keys":';
const keysStart = '{"kind":"keys",';

/** Encodes a list of metric names, which records of values refer to by its offset in the file. */
export const encodeKeys = (keys: readonly string[]): string => `${keysStart}"keys":${JSON.stringify(keys)}}`;

/**
 * Encodes metric values whose names are elsewhere in the file. Takes a tenth of the bytes and of the time of
 * {@link encodeMetrics}.
 * @param values 64-bit floating-point numbers, little-endian
 */
export const encodeValues = (keysAt: number, values: Buffer, timestamp: number, step: number): string =>
  `${valuesStart}${keysAt},"time":${timestamp},"step":${step},"values":"${values.toString("base64")}"}`;

/**
 * Resolves an entry: adds the names to values, and returns undefined for a list of names.
 * @param keysAt returns the list of names at an offset of the file
 */
export function resolveEntry(
  entry: JournalEntry,
  keysAt: (offset: number) => readonly string[] | undefined,
): JournalEntry | undefined {
  if (startsWith(entry.json, keysStart)) return undefined;
  if (!startsWith(entry.json, valuesStart)) return entry;
  const {
    keys: at,
    time,
    step,
    values,
  } = JSON.parse(entry.json.toString()) as Record<"keys" | "time" | "step", number> & {
    values: string;
  };
  const keys = keysAt(at);
  if (!keys) return undefined;
  const bytes = Buffer.from(values, "base64");
  const numbers = new Float64Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length));
  return new JournalEntry(Buffer.from(encodeMetrics(keys, numbers, time, step)), entry.end);
}

/** Returns the list of names in a line. */
export function keysIn(line: Buffer): readonly string[] | undefined {
  const [entry] = parseLines(line, 0).entries;
  return entry && startsWith(entry.json, keysStart)
    ? (JSON.parse(entry.json.toString()) as { keys: string[] }).keys
    : undefined;
}

const startsWith = (json: Buffer, start: string) => json.toString("latin1", 0, start.length) === start;

/** Encodes a record as JSON. */
export const encodeRecord = (record: JournalRecord): string =>
  JSON.stringify(record, (_, value) => (typeof value === "number" && !Number.isFinite(value) ? String(value) : value));

/** Encodes a record's line: its checksum and its JSON. */
export function lineOf(json: string): Buffer {
  const length = Buffer.byteLength(json);
  const bytes = Buffer.allocUnsafe(length + 10);
  // Mostly plain ASCII, where the number of bytes equals that of characters.
  bytes.write(json, 9, length === json.length ? "latin1" : "utf8");
  bytes[8] = space;
  bytes[length + 9] = newline;
  bytes.write(crc32(bytes.subarray(9, -1)).toString(16).padStart(8, "0"), 0, "latin1");
  return bytes;
}

/** A record that was read. It is parsed only when needed. */
export class JournalEntry {
  readonly json: Buffer;
  /** Offset of the next record in the file; undefined for a record that is not in the file. */
  readonly end: number | undefined;

  constructor(json: Buffer, end: number | undefined) {
    this.json = json;
    this.end = end;
  }

  get isMetrics(): boolean {
    return startsWith(this.json, metricsStart);
  }

  /** Number of points in a metrics record. */
  get pointCount(): number {
    let count = 0;
    // Quotes in keys are escaped, so this matches only the beginnings of points.
    for (let at = this.json.indexOf(pointStart); at !== -1; at = this.json.indexOf(pointStart, at + 1)) count++;
    return count;
  }

  /** The points of a metrics record in the form of the protocol, without the enclosing brackets. */
  get points(): Buffer {
    return this.json.subarray(metricsStart.length, -metricsEnd.length);
  }

  get record(): JournalRecord {
    const record = JSON.parse(this.json.toString()) as JournalRecord;
    if (record.kind !== "metrics") return record;
    return { ...record, points: record.points.map((point) => ({ ...point, value: Number(point.value) })) };
  }
}

/**
 * Parses the complete lines at the start of `bytes`, which begin at `offset` of the file. A line with a wrong checksum, from
 * a crash, a full disk or damage, is skipped.
 * @returns the records, and the number of bytes of all complete lines
 */
export function parseLines(bytes: Buffer, offset: number): { entries: JournalEntry[]; length: number } {
  const entries: JournalEntry[] = [];
  let start = 0;
  for (let end = bytes.indexOf(newline); end !== -1; end = bytes.indexOf(newline, start)) {
    const json = bytes.subarray(start + 9, end);
    const checksum = bytes.toString("latin1", start, start + 8);
    if (end - start > 9 && crc32(json) === Number.parseInt(checksum, 16)) {
      entries.push(new JournalEntry(json, offset + end + 1));
    }
    start = end + 1;
  }
  return { entries, length: start };
}
