import { existsSync, statSync } from "node:fs";
import { join } from "node:path";
import { findTracker, TrackerClient } from "./client.ts";
import { batches, createRun, deliver, type RemoteRun } from "./deliver.ts";
import { TrackerError } from "./error.ts";
import { dataFolder } from "./folder.ts";
import { Journal } from "./journal.ts";
import { outputName } from "./output.ts";
import type { JournalEntry, JournalRecord } from "./records.ts";
import { type Segment, segmentsOf } from "./segment.ts";

/** Interval between two checks of the journal, in milliseconds. */
const interval = 250;
/** Interval when much is logged: fewer, larger requests cost less. */
const busyInterval = 1000;
/** Number of records between two checks from which the longer interval is used. */
const busy = 10;
/** Maximum delay after failures. */
const maxDelay = 5000;
/** Maximum delay that a tracker may request. */
const maxRequestedDelay = 60_000;

/** Interval of heartbeats, in milliseconds. The tracker marks a run as failed after 40 seconds without one. */
const beatInterval = 15_000;

/** A source of records to send. */
export interface RecordSource {
  /** Returns the next records to send. */
  pending(): JournalEntry[];
  /** Marks a record, and all before it, as received by the tracker. */
  acknowledge(entry: JournalEntry): void;
  all(): Iterable<JournalEntry>;
}

/** Returns the segments of a run that processes left when they ended. */
export const leftBefore = (runId: string, data = dataFolder()): Segment[] =>
  segmentsOf(runId, data).filter((segment) => !segment.isOwned);

/**
 * Sends a journal's records to the tracker, in order and in batches, until they arrive: when the tracker is down or restarts,
 * they are only delayed.
 */
export class Shipper {
  readonly #runId: string;
  readonly #current: RecordSource;
  /** Segments of this run that earlier processes left. */
  readonly #earlier: Segment[];
  readonly #quiet: boolean;
  readonly #print: (text: string) => void;
  readonly #data: string;
  #client: TrackerClient | undefined;
  #remote: RemoteRun | undefined;
  #timer: NodeJS.Timeout | undefined;
  #working: Promise<void> | undefined;
  #failures = 0;
  #warned = false;
  #stopped = false;
  #lastError = "it has not answered yet";
  #reachable = true;
  #requestedDelay = 0;
  /** Records sent since the last check. */
  #sent = 0;
  /** Whether to send heartbeats. */
  #beats: boolean;
  #nextBeat = 0;

  /**
   * @param current records of this process
   * @param earlier segments of earlier processes, see {@link leftBefore}; deleted when everything has arrived
   * @param options.quiet do not warn when the tracker does not respond
   * @param options.beats send heartbeats, by which the tracker knows that the run's process is alive
   * @param options.data the data folder
   */
  constructor(
    runId: string,
    current: RecordSource,
    earlier: readonly Segment[],
    {
      quiet = false,
      beats = false,
      print = (text: string): void => void process.stderr.write(text),
      data = dataFolder(),
    } = {},
  ) {
    this.#runId = runId;
    this.#current = current;
    this.#earlier = [...earlier];
    this.#quiet = quiet;
    this.#beats = beats;
    this.#print = print;
    this.#data = data;
    this.#schedule();
  }

  /**
   * Sends all current records; true when none are left. Waits at most `patience` milliseconds as long as the tracker accepts
   * records, and gives up after two failures.
   */
  async drain(patience: number): Promise<boolean> {
    // A monotonic clock, because the system time may be changed.
    const deadline = performance.now() + patience;
    const failures = this.#failures;
    while (true) {
      // A tracker that accepts a request but never responds must not delay the end of a run.
      await within(this.#work(), deadline - performance.now());
      if (this.#isDone) return true;
      if (performance.now() >= deadline || this.#failures > failures + 1) return false;
      await new Promise((resolve) => setTimeout(resolve, Math.min(200, deadline - performance.now())));
    }
  }

  stop(): void {
    this.#stopped = true;
    clearTimeout(this.#timer);
  }

  get #isDone(): boolean {
    return [...this.#earlier, this.#current].every((source) => source.pending().length === 0);
  }

  /** Why the last attempt failed. */
  get problem(): string {
    return this.#lastError;
  }

  /** Whether the tracker responded in the last attempt, even with an error. */
  get reachable(): boolean {
    return this.#reachable;
  }

  #schedule(): void {
    if (this.#stopped) return;
    const usual = this.#sent > busy ? busyInterval : interval;
    const wait = Math.max(this.#requestedDelay, Math.min(maxDelay, usual * 2 ** Math.min(this.#failures, 5)));
    this.#sent = 0;
    this.#timer = setTimeout(() => void this.#work().then(() => this.#schedule()), wait);
    this.#timer.unref();
  }

  #work(): Promise<void> {
    this.#working ??= this.#send()
      .then(() => {
        this.#failures = 0;
        this.#requestedDelay = 0;
      })
      .catch((error: Error) => {
        this.#failures++;
        this.#lastError = error.message;
        this.#requestedDelay = error instanceof TrackerError ? Math.min(maxRequestedDelay, error.retryAfter ?? 0) : 0;
        this.#reachable = !(error instanceof TrackerError && error.code === "UNREACHABLE");
        this.#client = undefined; // The tracker may restart at another address.
        if (this.#warned || this.#quiet) return;
        this.#warned = true;
        this.#print(
          `${error.message} No data is lost: the run is stored in a journal, which is uploaded when the tracker is available again.\n`,
        );
      })
      .finally(() => {
        this.#working = undefined;
      });
    return this.#working;
  }

  async #send(): Promise<void> {
    for (const source of [...this.#earlier, this.#current]) {
      while (true) {
        const entries = source.pending();
        if (entries.length === 0 || this.#stopped) break;
        const { client, remote } = await this.#connect();
        this.#sent += entries.length;
        for (const batch of batches(entries)) {
          await this.#deliver(client, remote, batch);
          source.acknowledge(batch[batch.length - 1]);
          this.#failures = 0;
          // A process that logs all the time is never done here.
          await this.#beat();
        }
      }
    }
    if (this.#stopped) return;
    await this.#beat();
    // Only now, because later records may refer to files in the earlier segments.
    for (const segment of this.#earlier.splice(0)) segment.remove();
  }

  async #beat(): Promise<void> {
    if (!this.#beats || performance.now() < this.#nextBeat) return;
    this.#nextBeat = performance.now() + beatInterval;
    const { client, remote } = await this.#connect();
    try {
      await client.request("POST", `/api/anneal/runs/${remote.id}/heartbeat`, {});
    } catch (error) {
      if (!(error instanceof TrackerError) || error.temporary) throw error;
      // Another tracker than Anneal's, or a run that was deleted there.
      this.#beats = false;
    }
  }

  async #connect(): Promise<{ client: TrackerClient; remote: RemoteRun }> {
    if (!this.#client) {
      const address = await findTracker(this.#data);
      if (!address) throw new TrackerError("There is no running tracker for this data folder.", "UNREACHABLE", true);
      this.#client = new TrackerClient(address);
    }
    // The journal starts with the run to create; creating it again returns the existing one.
    this.#remote ??= await createRun(this.#client, this.#runId, this.#first());
    return { client: this.#client, remote: this.#remote };
  }

  /** Returns the first record that creates the run. */
  #first(): JournalRecord & { kind: "create" } {
    for (const source of [...this.#earlier.map((segment) => segment.all()), this.#current.all()]) {
      for (const entry of source) {
        if (entry.isMetrics) continue;
        const { record } = entry;
        if (record.kind === "create") return record;
      }
    }
    throw new Error(`The journal of run ${this.#runId} has no record that creates the run.`);
  }

  async #deliver(client: TrackerClient, remote: RemoteRun, entries: readonly JournalEntry[]): Promise<void> {
    try {
      await deliver(client, remote, entries);
    } catch (error) {
      if (!(error instanceof TrackerError) || error.temporary) throw error;
      if (entries.length > 1) {
        for (const entry of entries) await this.#deliver(client, remote, [entry]);
        return;
      }
      Journal.reject(this.#runId, entries[0].record, error.message, this.#data);
      this.#print(`The tracker rejected a record of this run, which is saved separately: ${error.message}\n`);
    }
  }
}

/** Waits for a promise, at most `ms` milliseconds. */
async function within(work: Promise<void>, ms: number): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, Math.max(0, ms));
  });
  await Promise.race([work, late]);
  clearTimeout(timer);
}

/**
 * Sends the journals of processes that ended early, and marks their runs as failed. Journals that cannot be sent now are kept
 * for the next time; a damaged journal does not prevent new runs.
 * @param data the data folder; default: {@link dataFolder}
 */
export async function recoverJournals(data = dataFolder()): Promise<void> {
  for (const runId of Journal.orphans(data)) {
    // Another process may have resumed the run in the meantime. A damaged or rejected journal does not affect the others; if
    // the tracker does not respond, the others are not tried.
    if (Journal.isOrphan(runId, data) && !(await recover(runId, data).catch(() => true))) return;
  }
}

/** Sends one run's journal; false when the tracker does not respond. */
async function recover(runId: string, data: string): Promise<boolean> {
  const left = leftBefore(runId, data);
  const journal = new Journal(runId, data);
  const shipper = new Shipper(runId, journal, left, { quiet: true, data });
  try {
    if (isUnfinished(left)) {
      // Also logs the output that the process printed before it died.
      const output = left.map((segment) => join(segment.path("files"), outputName)).findLast(existsSync);
      if (output) journal.append({ kind: "artifact", path: outputName, file: output });
      journal.append({ kind: "status", status: "FAILED", endTime: lastWrite(left) });
    }
    return (await shipper.drain(5000)) || shipper.reachable;
  } finally {
    shipper.stop();
    await journal.close();
  }
}

/** When a process last wrote to a run's journal: its last sign of life, to a few seconds. */
function lastWrite(segments: readonly Segment[]): number {
  const times = segments.map((segment) => statSync(segment.path("jsonl"), { throwIfNoEntry: false })?.mtimeMs ?? 0);
  return Math.round(Math.max(...times)) || Date.now();
}

/** Whether a run was started and not ended, not counting additions to a run that has ended. */
function isUnfinished(segments: readonly Segment[]): boolean {
  let unfinished = false;
  for (const segment of segments) {
    for (const entry of segment.all()) {
      if (entry.isMetrics) continue;
      const { record } = entry;
      if (record.kind === "create" && record.amend !== true) unfinished = true;
      if (record.kind === "status") unfinished = record.status === "RUNNING";
    }
  }
  return unfinished;
}
