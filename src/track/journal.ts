import { closeSync, fsync, mkdirSync, openSync, writeFileSync, writeSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { dataFolder } from "./folder.ts";
import {
  encodeKeys,
  encodeMetrics,
  encodeRecord,
  encodeValues,
  JournalEntry,
  type JournalRecord,
  lineOf,
} from "./records.ts";
import { allSegments, journalFolder, Segment, segmentsOf, sweep } from "./segment.ts";
import { KeyLists } from "./values.ts";

/** How often appended records are forced to disk: a machine that loses power loses at most this much. */
const flushInterval = 1000;

/** Most that is held in memory while a disk takes nothing, in bytes. */
const mostInMemory = 256 * 2 ** 20;

const force = promisify(fsync);

interface Line {
  bytes: Buffer;
  entry: JournalEntry;
}

/**
 * A run's points on their way to a tracker. Records are appended to a file, each line with a checksum, before
 * anything is sent; a mark beside it says how far the tracker has acknowledged. What was appended and not
 * acknowledged is sent again by this process or a later one; every record may be sent twice without harm.
 *
 * While the disk takes nothing, records wait in memory and are sent from there.
 */
export class Journal {
  readonly runId: string;
  #segment: Segment | undefined;
  #file: number | undefined;
  /** What the disk did not take, in order. */
  #waiting: Line[] = [];
  #waitingBytes = 0;
  #lost = 0;
  /** The file ends within a line. */
  #torn = false;
  /** Bytes in the file. */
  #size = 0;
  readonly #keys = new KeyLists();
  #values = new Float64Array(128);
  #warned = false;
  #flushing: Promise<void> | undefined;
  #unflushed = false;
  readonly #data: string;
  readonly #timer: NodeJS.Timeout;
  #closed = false;

  /** @param data the data folder */
  constructor(runId: string, data = dataFolder()) {
    this.runId = runId;
    this.#data = data;
    this.#writeWaiting();
    this.#timer = setInterval(() => void this.flush(), flushInterval);
    this.#timer.unref();
  }

  /**
   * Folder for files that wait to be sent with this run.
   * @throws when the disk takes nothing
   */
  get filesFolder(): string {
    return this.#open().path("files");
  }

  /** Add a record; ignored once the journal is closed. */
  append(record: JournalRecord): void {
    if (!this.#closed) this.#write(lineOf(encodeRecord(record)));
  }

  /**
   * Add measured values; ignored once the journal is closed.
   * @throws TypeError for what is no number
   */
  appendMetrics(metrics: Readonly<Record<string, number>>, timestamp: number, step: number): void {
    if (this.#closed) return;
    const keys = Object.keys(metrics);
    if (this.#values.length < keys.length) this.#values = new Float64Array(2 * keys.length);
    for (let i = 0; i < keys.length; i++) {
      const value = metrics[keys[i]];
      if (typeof value !== "number") {
        throw new TypeError(`The metric ${keys[i]} is ${JSON.stringify(value)}; log numbers only.`);
      }
      this.#values[i] = value;
    }
    const at = this.#keys.find(keys, () => this.#writeKeys(keys));
    const bytes = Buffer.from(this.#values.buffer, 0, 8 * keys.length);
    if (at !== undefined && this.#store(lineOf(encodeValues(at, bytes, timestamp, step)))) return;
    this.#write(lineOf(encodeMetrics(keys, this.#values, timestamp, step)));
  }

  /** What this process writes to; undefined while the disk takes nothing. */
  get segment(): Segment | undefined {
    return this.#segment;
  }

  /** The records that wait in memory, alone. */
  readonly held = {
    pending: (): JournalEntry[] => this.#waiting.slice(0, 1000).map(({ entry }) => entry),
    acknowledge: (entry: JournalEntry): void => {
      const known = this.#waiting.findIndex((line) => line.entry === entry);
      for (const { bytes } of this.#waiting.splice(0, known + 1)) this.#waitingBytes -= bytes.length;
    },
    all: () => this.all(),
  };

  /** The next records that the tracker does not have, and at least one if there is any. */
  pending(): JournalEntry[] {
    const stored = this.#segment?.pending() ?? [];
    return stored.length > 0 ? stored : this.held.pending();
  }

  /** All records, sent or not. */
  *all(): Generator<JournalEntry> {
    if (this.#segment) yield* this.#segment.all();
    for (const { entry } of this.#waiting) yield entry;
  }

  /** The tracker has a record of {@link pending}, and all before it. */
  acknowledge(entry: JournalEntry): void {
    this.#segment?.acknowledge(entry);
    this.held.acknowledge(entry);
  }

  /** Have all that was appended on disk, as far as it takes it. Never blocks the thread. */
  async flush(): Promise<void> {
    this.#writeWaiting();
    if (!this.#unflushed || this.#file === undefined) return this.#flushing;
    // One at a time: a disk that is slow to force would otherwise keep every thread of the pool.
    await this.#flushing;
    if (!this.#unflushed || this.#file === undefined) return this.#flushing;
    this.#unflushed = false;
    this.#flushing = force(this.#file)
      .catch(() => {
        this.#unflushed = true;
      })
      .finally(() => {
        this.#flushing = undefined;
      });
    return this.#flushing;
  }

  /** Close it, and delete what lies on disk when every record has arrived. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    clearInterval(this.#timer);
    await this.flush();
    if (this.#waiting.length + this.#lost > 0) {
      process.stderr.write(
        `${this.#waiting.length + this.#lost} records of run ${this.runId} are lost: there was no place for them on disk, and no tracker took them.\n`,
      );
    }
    if (this.#file !== undefined) closeSync(this.#file);
    if (!this.#segment) return;
    if (this.#segment.pending().length === 0) this.#segment.remove();
    else this.#segment.disown();
  }

  /** This process's segment, made where there is none yet. */
  #open(): Segment {
    if (!this.#segment) {
      mkdirSync(journalFolder(this.#data), { recursive: true });
      this.#segment = Segment.claim(this.runId, this.#data);
    }
    this.#file ??= openSync(this.#segment.path("jsonl"), "a");
    return this.#segment;
  }

  #write(bytes: Buffer): void {
    if (this.#store(bytes)) return;
    if (this.#waitingBytes + bytes.length > mostInMemory) {
      this.#lost++;
      return;
    }
    this.#waiting.push({ bytes, entry: new JournalEntry(bytes.subarray(9, -1), undefined) });
    this.#waitingBytes += bytes.length;
  }

  /** Have a line on disk; false when it does not take it, or has to take others first. */
  #store(bytes: Buffer): boolean {
    if (this.#waiting.length > 0 || this.#file === undefined) return false;
    try {
      this.#writeWhole(this.#file, bytes);
      return true;
    } catch (error) {
      this.#warn(error);
      return false;
    }
  }

  /** Try again to have on disk what it did not take. */
  #writeWaiting(): void {
    try {
      this.#open();
      if (this.#file === undefined) return;
      while (this.#waiting.length > 0) {
        this.#writeWhole(this.#file, this.#waiting[0].bytes);
        this.#waitingBytes -= this.#waiting[0].bytes.length;
        this.#waiting.shift();
      }
    } catch (error) {
      this.#warn(error);
    }
  }

  #writeWhole(file: number, line: Buffer): void {
    // What was cut short becomes a line of its own, which nobody reads.
    if (this.#torn) writeSync(file, "\n");
    if (this.#torn) this.#size++;
    this.#torn = true;
    for (let written = 0; written < line.length; ) {
      const more = writeSync(file, line, written);
      written += more;
      this.#size += more;
    }
    this.#torn = false;
    this.#unflushed = true;
  }

  /** Names of values as a line of their own; where it begins, if the disk takes it. */
  #writeKeys(keys: readonly string[]): number | undefined {
    if (this.#file === undefined || this.#waiting.length > 0 || this.#torn) return undefined;
    const at = this.#size;
    try {
      this.#writeWhole(this.#file, lineOf(encodeKeys(keys)));
      return at;
    } catch (error) {
      this.#warn(error);
      return undefined;
    }
  }

  #warn(error: unknown): void {
    if (this.#warned) return;
    this.#warned = true;
    const reason = error instanceof Error ? error.message : String(error);
    process.stderr.write(
      `The journal of run ${this.runId} cannot be written (${reason}). Records wait in memory until it can, or the tracker has them.\n`,
    );
  }

  /** Keep a record that the tracker refuses for good where a person finds it. */
  static reject(runId: string, record: JournalRecord, reason: string, data = dataFolder()): void {
    const path = join(journalFolder(data), `${runId}.rejected.jsonl`);
    writeFileSync(path, `${JSON.stringify({ reason, record })}\n`, { flag: "a" });
  }

  /** Whether something of this run may be left to send. */
  static exists(runId: string): boolean {
    return segmentsOf(runId).length > 0;
  }

  /** Runs whose process is gone and left something to send. */
  static orphans(data = dataFolder()): string[] {
    sweep(data);
    const segments = allSegments(data);
    const owned = new Set(segments.filter((segment) => segment.isOwned).map(({ runId }) => runId));
    return [...new Set(segments.map(({ runId }) => runId))].filter((runId) => !owned.has(runId));
  }

  /** Whether no living process writes to a run's journal. */
  static isOrphan(runId: string, data = dataFolder()): boolean {
    const segments = segmentsOf(runId, data);
    return segments.length > 0 && segments.every((segment) => !segment.isOwned);
  }
}
