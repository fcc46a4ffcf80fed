import { crc32 } from "node:zlib";
import type { RunInfo } from "./api/types.ts";

/** One measured value. */
export interface MetricPoint {
  key: string;
  value: number;
  /** Milliseconds since 1970. */
  timestamp: number;
  step: number;
}

/** A data set as MLflow records it. */
export interface DatasetInput {
  name: string;
  digest: string;
  /** What it was used for: train, eval, test. */
  context: string;
  /** Facts such as `{ rows: 1000 }`. */
  profile: Record<string, unknown>;
}

/** What a run's journal is made of, in the order it happened. */
export type JournalRecord =
  | {
      kind: "create";
      experiment: string;
      name: string;
      startTime: number;
      tags: Record<string, string>;
      /** Only adds to a run that is there. */
      amend?: boolean;
    }
  | { kind: "params"; params: Record<string, string> }
  | { kind: "metrics"; points: MetricPoint[] }
  | { kind: "tags"; tags: Record<string, string> }
  | { kind: "dataset"; dataset: DatasetInput }
  | { kind: "artifact"; path: string; file: string; model?: { id: string; path: string } }
  | LoggedModelRecord
  | { kind: "model-ready"; model: string }
  | { kind: "status"; status: RunInfo["status"]; endTime?: number };

/** A model that a run made; its files follow as artifacts with its id, and then a record that it is ready. */
export interface LoggedModelRecord {
  kind: "model";
  /** Given here; the tracker gives another. */
  model: string;
  /** Its folder among the run's files. */
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

/** Starts of points by key, as JSON: a run logs the same keys at each step. */
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

/** JSON has neither NaN nor infinities; MLflow's protocol writes them as strings. */
const numberText = (value: number) => (Number.isFinite(value) ? String(value) : `"${value}"`);

/** A record of measured values, as JSON and as the protocol takes its points. */
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

/** Names of measured values, which records of values refer to by their place in the file. */
export const encodeKeys = (keys: readonly string[]): string => `${keysStart}"keys":${JSON.stringify(keys)}}`;

/**
 * A record of many measured values whose names stand elsewhere in the file: a tenth of the bytes, and of the time,
 * that each step of a training pays.
 * @param values 64-bit floating-point numbers, little-endian
 */
export const encodeValues = (keysAt: number, values: Buffer, timestamp: number, step: number): string =>
  `${valuesStart}${keysAt},"time":${timestamp},"step":${step},"values":"${values.toString("base64")}"}`;

/**
 * An entry as the rest of the house reads it: values with their names, and nothing for a list of names.
 * @param keysAt gives the list of names at a place in the file
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

/** The names that a line holds. */
export function keysIn(line: Buffer): readonly string[] | undefined {
  const [entry] = parseLines(line, 0).entries;
  return entry && startsWith(entry.json, keysStart)
    ? (JSON.parse(entry.json.toString()) as { keys: string[] }).keys
    : undefined;
}

const startsWith = (json: Buffer, start: string) => json.toString("latin1", 0, start.length) === start;

/** A record as JSON. */
export const encodeRecord = (record: JournalRecord): string =>
  JSON.stringify(record, (_, value) => (typeof value === "number" && !Number.isFinite(value) ? String(value) : value));

/** A record's line: its checksum and its JSON. */
export function lineOf(json: string): Buffer {
  const length = Buffer.byteLength(json);
  const bytes = Buffer.allocUnsafe(length + 10);
  // Most is plain ASCII, of which a byte is a letter.
  bytes.write(json, 9, length === json.length ? "latin1" : "utf8");
  bytes[8] = space;
  bytes[length + 9] = newline;
  bytes.write(crc32(bytes.subarray(9, -1)).toString(16).padStart(8, "0"), 0, "latin1");
  return bytes;
}

/** A record as it was read. It stays bytes where nobody has to look into it. */
export class JournalEntry {
  readonly json: Buffer;
  /** Where the next record begins in the file; undefined for a record that is not in it. */
  readonly end: number | undefined;

  constructor(json: Buffer, end: number | undefined) {
    this.json = json;
    this.end = end;
  }

  get isMetrics(): boolean {
    return startsWith(this.json, metricsStart);
  }

  /** How many points a record of measured values has. */
  get pointCount(): number {
    let count = 0;
    // Quotes within a key are escaped: this is nothing but the start of a point.
    for (let at = this.json.indexOf(pointStart); at !== -1; at = this.json.indexOf(pointStart, at + 1)) count++;
    return count;
  }

  /** Points of a record of measured values, as the protocol takes them, without the brackets of their list. */
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
 * The whole lines at the start of `bytes`, which lie in the file from `offset` on. A line whose checksum does not hold
 * was torn by a crash or a full disk, or damaged since: it is passed over, and what follows is read.
 * @returns the records, and how many bytes they and the damaged lines between take
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
