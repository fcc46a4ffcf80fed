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

/** Interval of fsync, in milliseconds: the most that a power failure can lose. */
const flushInterval = 1000;

/** Maximum bytes in memory while the disk is not writable. */
const maxInMemory = 256 * 2 ** 20;

const force = promisify(fsync);

interface Line {
  bytes: Buffer;
  entry: JournalEntry;
}

/**
 * Journal of a run's records. Records are appended to a file, each line with a checksum, before they are sent; a second file
 * stores how far the tracker has acknowledged. Records that were not acknowledged are sent again by this process or a later
 * one; sending a record twice is harmless.
 *
 * While the disk is not writable, records are kept in memory and sent from there.
 */
export class Journal {
  readonly runId: string;
  #segment: Segment | undefined;
  #file: number | undefined;
  /** Lines that could not be written to disk, in order. */
  #waiting: Line[] = [];
  #waitingBytes = 0;
  #lost = 0;
  /** Whether the file ends within a line. */
  #torn = false;
  /** Size of the file in bytes. */
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
   * Folder for files to send with this run.
   * @throws when the disk is not writable
   */
  get filesFolder(): string {
    return this.#open().path("files");
  }

  /** Appends a record; ignored once the journal is closed. */
  append(record: JournalRecord): void {
    if (!this.#closed) this.#write(lineOf(encodeRecord(record)));
  }

  /**
   * Appends metrics; ignored once the journal is closed.
   * @throws TypeError for a value that is not a number
   */
  appendMetrics(metrics: Readonly<Record<string, number>>, timestamp: number, step: number): void {
    if (this.#closed) return;
    const keys = Object.keys(metrics);
    if (this.#values.length < keys.length) this.#values = new Float64Array(2 * keys.length);
    for (let i = 0; i < keys.length; i++) {
      const value = metrics[keys[i]];
      if (typeof value !== "number") {
        throw new TypeError(`The metric ${keys[i]} is ${JSON.stringify(value)}, not a number.`);
      }
      this.#values[i] = value;
    }
    const at = this.#keys.find(keys, () => this.#writeKeys(keys));
    const bytes = Buffer.from(this.#values.buffer, 0, 8 * keys.length);
    if (at !== undefined && this.#store(lineOf(encodeValues(at, bytes, timestamp, step)))) return;
    this.#write(lineOf(encodeMetrics(keys, this.#values, timestamp, step)));
  }

  /** The segment that this process writes; undefined while the disk is not writable. */
  get segment(): Segment | undefined {
    return this.#segment;
  }

  /** The records in memory only. */
  readonly inMemory = {
    pending: (): JournalEntry[] => this.#waiting.slice(0, 1000).map(({ entry }) => entry),
    acknowledge: (entry: JournalEntry): void => {
      const index = this.#waiting.findIndex((line) => line.entry === entry);
      for (const { bytes } of this.#waiting.splice(0, index + 1)) this.#waitingBytes -= bytes.length;
    },
    all: () => this.all(),
  };

  /** Returns the next records to send, at least one if there is any. */
  pending(): JournalEntry[] {
    const stored = this.#segment?.pending() ?? [];
    return stored.length > 0 ? stored : this.inMemory.pending();
  }

  /** Returns all records, sent or not. */
  *all(): Generator<JournalEntry> {
    if (this.#segment) yield* this.#segment.all();
    for (const { entry } of this.#waiting) yield entry;
  }

  /** Marks a record of {@link pending}, and all before it, as received by the tracker. */
  acknowledge(entry: JournalEntry): void {
    this.#segment?.acknowledge(entry);
    this.inMemory.acknowledge(entry);
  }

  /** Flushes all records to disk, if it is writable. Never blocks the thread. */
  async flush(): Promise<void> {
    this.#writeWaiting();
    if (!this.#unflushed || this.#file === undefined) return this.#flushing;
    // One fsync at a time, because a slow disk could otherwise occupy the whole thread pool.
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

  /** Closes the journal, and deletes its files if every record has been received. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    clearInterval(this.#timer);
    await this.flush();
    if (this.#waiting.length + this.#lost > 0) {
      process.stderr.write(
        `${this.#waiting.length + this.#lost} records of run ${this.runId} are lost: they could neither be written to disk nor sent to a tracker.\n`,
      );
    }
    if (this.#file !== undefined) closeSync(this.#file);
    if (!this.#segment) return;
    if (this.#segment.pending().length === 0) this.#segment.remove();
    else this.#segment.disown();
  }

  /** Returns this process's segment, created on first use. */
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
    if (this.#waitingBytes + bytes.length > maxInMemory) {
      this.#lost++;
      return;
    }
    this.#waiting.push({ bytes, entry: new JournalEntry(bytes.subarray(9, -1), undefined) });
    this.#waitingBytes += bytes.length;
  }

  /** Writes a line to disk; false when that fails, or other lines must be written first. */
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

  /** Retries writing the lines in memory. */
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
    // A torn line is terminated, and skipped by readers.
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

  /** Writes a list of names as a line; returns its offset if it was written. */
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
      `The journal of run ${this.runId} cannot be written (${reason}). Records are kept in memory until it can be, or until the tracker has them.\n`,
    );
  }

  /** Saves a record that the tracker rejects permanently to a separate file. */
  static reject(runId: string, record: JournalRecord, reason: string, data = dataFolder()): void {
    const path = join(journalFolder(data), `${runId}.rejected.jsonl`);
    writeFileSync(path, `${JSON.stringify({ reason, record })}\n`, { flag: "a" });
  }

  /** Whether there may be records of this run to send. */
  static exists(runId: string): boolean {
    return segmentsOf(runId).length > 0;
  }

  /** Returns the runs with records to send whose process has ended. */
  static orphans(data = dataFolder()): string[] {
    sweep(data);
    const segments = allSegments(data);
    const owned = new Set(segments.filter((segment) => segment.isOwned).map(({ runId }) => runId));
    return [...new Set(segments.map(({ runId }) => runId))].filter((runId) => !owned.has(runId));
  }

  /** Whether no live process writes to a run's journal. */
  static isOrphan(runId: string, data = dataFolder()): boolean {
    const segments = segmentsOf(runId, data);
    return segments.length > 0 && segments.every((segment) => !segment.isOwned);
  }
}
