import {
  closeSync,
  existsSync,
  fstatSync,
  fsyncSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  renameSync,
  rmSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import { crc32 } from "node:zlib";
import { dataFolder } from "./client.ts";

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
  | { kind: "artifact"; path: string; file: string }
  | { kind: "status"; status: string; endTime?: number };

/** Records read from a journal, with the byte at which each ends. */
export interface JournalEntry {
  record: JournalRecord;
  end: number;
}

/** What the process printed, among a journal's files and as an artifact. */
export const outputName = "output.log";

const folder = () => join(dataFolder(), "journal");

/** How often appended records are forced to disk: a machine that loses power loses at most this much. */
const flushInterval = 1000;

/** How often each run's journal is open in this process: a run may be recovered, or added to, while it goes on. */
const opened = new Map<string, number>();

/**
 * A run's points on their way to a tracker. Records are appended to a file, each line with a checksum, before
 * anything is sent; a mark beside it says how far the tracker has acknowledged. What was appended and not
 * acknowledged is sent again by this process or a later one; every record may be sent twice without harm.
 *
 * The same journal may be open several times: appending keeps every line whole, and the last to close it cleans up.
 */
export class Journal {
  readonly runId: string;
  readonly #path: string;
  readonly #file: number;
  #unflushed = false;
  readonly #timer: NodeJS.Timeout;
  #closed = false;

  constructor(runId: string) {
    this.runId = runId;
    mkdirSync(folder(), { recursive: true });
    this.#path = join(folder(), `${runId}.jsonl`);
    this.#file = openSync(this.#path, "a+");
    if (!isOpenHere(runId) && !isOwned(runId)) {
      // A line that a crash cut short would make the next one unreadable.
      ftruncateSync(this.#file, readEntries(this.#path, 0).at(-1)?.end ?? 0);
    }
    opened.set(runId, (opened.get(runId) ?? 0) + 1);
    writeFileSync(ownerPath(runId), String(process.pid));
    this.#timer = setInterval(() => this.flush(), flushInterval);
    this.#timer.unref();
  }

  /** Folder for files that wait to be sent with this run. */
  get filesFolder(): string {
    return join(folder(), `${this.runId}.files`);
  }

  /** Add a record; ignored once the journal is closed. */
  append(record: JournalRecord): void {
    if (this.#closed) return;
    const json = JSON.stringify(record, (_, value) =>
      typeof value === "number" && !Number.isFinite(value) ? String(value) : value,
    );
    const line = Buffer.from(`${crc32(json).toString(16).padStart(8, "0")} ${json}\n`);
    writeSync(this.#file, line);
    this.#unflushed = true;
  }

  /** Records from a byte on that have not been acknowledged. */
  pending(limit = Number.POSITIVE_INFINITY): JournalEntry[] {
    return readEntries(this.#path, this.acknowledged, limit);
  }

  /** All records, sent or not. */
  all(): JournalEntry[] {
    return readEntries(this.#path, 0);
  }

  /** What the run is. */
  first(): JournalRecord & { kind: "create" } {
    const [entry] = readEntries(this.#path, 0, 1);
    if (entry?.record.kind !== "create") throw new Error(`The journal ${this.#path} does not begin with its run.`);
    return entry.record;
  }

  /** Byte up to which the tracker has everything. */
  get acknowledged(): number {
    const mark = join(folder(), `${this.runId}.sent`);
    return existsSync(mark) ? Number(readFileSync(mark, "utf8")) : 0;
  }

  acknowledge(end: number): void {
    if (end <= this.acknowledged) return;
    const mark = join(folder(), `${this.runId}.sent`);
    writeFileSync(`${mark}.new`, String(end));
    renameSync(`${mark}.new`, mark);
  }

  /** Keep a record that the tracker refuses for good where a person finds it. */
  reject(record: JournalRecord, reason: string): void {
    writeFileSync(join(folder(), `${this.runId}.rejected.jsonl`), `${JSON.stringify({ reason, record })}\n`, {
      flag: "a",
    });
  }

  flush(): void {
    if (!this.#unflushed) return;
    this.#unflushed = false;
    fsyncSync(this.#file);
  }

  /** Close it, and delete what lies on disk once nobody writes to it any more and every record has arrived. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    clearInterval(this.#timer);
    this.flush();
    closeSync(this.#file);
    const others = (opened.get(this.runId) ?? 1) - 1;
    if (others > 0) {
      opened.set(this.runId, others);
      return;
    }
    opened.delete(this.runId);
    // Another process has gone on with the run meanwhile: the journal is that one's.
    if (readOwner(this.runId) !== process.pid) return;
    const endings = this.pending(1).length === 0 ? ["jsonl", "sent", "files", "owner"] : ["owner"];
    for (const ending of endings) {
      rmSync(join(folder(), `${this.runId}.${ending}`), { force: true, recursive: true });
    }
  }

  /** Whether something of this run may be left to send. */
  static exists(runId: string): boolean {
    return existsSync(join(folder(), `${runId}.jsonl`));
  }

  /** Runs whose process is gone and left something to send. */
  static orphans(): string[] {
    if (!existsSync(folder())) return [];
    return readdirSync(folder())
      .filter((name) => name.endsWith(".jsonl") && !name.endsWith(".rejected.jsonl"))
      .map((name) => name.slice(0, -".jsonl".length))
      .filter(Journal.isOrphan);
  }

  /** Whether no living process writes to a run's journal. */
  static isOrphan(runId: string): boolean {
    return Journal.exists(runId) && !isOpenHere(runId) && !isOwned(runId);
  }
}

const ownerPath = (runId: string) => join(folder(), `${runId}.owner`);

const isOpenHere = (runId: string) => opened.has(runId);

function readOwner(runId: string): number | undefined {
  const path = ownerPath(runId);
  return existsSync(path) ? Number(readFileSync(path, "utf8")) : undefined;
}

/** Whether another living process writes to a run's journal. */
function isOwned(runId: string): boolean {
  const pid = readOwner(runId);
  // Our own id in a file that we did not write: a process before us had it, as happens in containers.
  if (pid === undefined || pid === process.pid) return false;
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
}

/** Bytes read at a time, so that a journal of any size is read in pieces; a record that is longer makes it grow. */
const chunk = 4 * 2 ** 20;

function readEntries(path: string, from: number, limit = Number.POSITIVE_INFINITY): JournalEntry[] {
  if (!existsSync(path)) return [];
  const file = openSync(path, "r");
  try {
    const entries: JournalEntry[] = [];
    const { size } = fstatSync(file);
    let bytes = Buffer.alloc(Math.max(0, Math.min(chunk, size - from)));
    let start = from;
    while (entries.length < limit) {
      const length = readSync(file, bytes, 0, bytes.length, start);
      const whole = parseLines(bytes.subarray(0, length), start, limit - entries.length);
      if (whole.length === 0) {
        if (length < bytes.length || start + length >= size || bytes.includes(10)) break;
        bytes = Buffer.alloc(2 * bytes.length);
        continue;
      }
      entries.push(...whole);
      start = whole[whole.length - 1].end;
    }
    return entries;
  } finally {
    closeSync(file);
  }
}

/** The whole lines at the start of `bytes`, which lie in the file from `offset` on. */
function parseLines(bytes: Buffer, offset: number, limit: number): JournalEntry[] {
  const entries: JournalEntry[] = [];
  let start = 0;
  while (entries.length < limit) {
    const newline = bytes.indexOf(10, start);
    if (newline === -1) break;
    const line = bytes.toString("utf8", start, newline);
    const json = line.slice(9);
    if (crc32(json) !== Number.parseInt(line.slice(0, 8), 16)) break; // Torn by a crash: nothing after it is whole.
    entries.push({ record: revive(JSON.parse(json) as JournalRecord), end: offset + newline + 1 });
    start = newline + 1;
  }
  return entries;
}

/** NaN and infinities travel as strings. */
function revive(record: JournalRecord): JournalRecord {
  if (record.kind !== "metrics") return record;
  return { ...record, points: record.points.map((point) => ({ ...point, value: Number(point.value) })) };
}
