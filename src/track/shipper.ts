import { existsSync } from "node:fs";
import { join } from "node:path";
import { findTracker, TrackerClient } from "./client.ts";
import { batches, createRun, deliver, type RemoteRun } from "./deliver.ts";
import { TrackerError } from "./error.ts";
import { dataFolder } from "./folder.ts";
import { Journal } from "./journal.ts";
import { outputName } from "./output.ts";
import type { JournalEntry, JournalRecord } from "./records.ts";
import { type Segment, segmentsOf } from "./segment.ts";

/** Wait between two looks at the journal. */
const interval = 250;
/** Wait while much is logged: fewer and fuller requests cost less. */
const busyInterval = 1000;
/** Records between two looks that are much. */
const busy = 10;
/** Longest wait after failures. */
const longestWait = 5000;
/** Longest wait that a tracker may ask for. */
const longestAskedWait = 60_000;

/** Where records wait to be sent. */
export interface RecordSource {
  /** The next that the tracker does not have. */
  pending(): JournalEntry[];
  /** The tracker has one of them, and all before it. */
  acknowledge(entry: JournalEntry): void;
  all(): Iterable<JournalEntry>;
}

/** What processes that are gone left of a run. */
export const leftBefore = (runId: string, data = dataFolder()): Segment[] =>
  segmentsOf(runId, data).filter((segment) => !segment.isOwned);

/**
 * Sends a journal's records to the tracker, in order and in batches, for as long as it takes: a tracker that is down
 * or restarts costs nothing but delay.
 */
export class Shipper {
  readonly #runId: string;
  readonly #own: RecordSource;
  /** What earlier processes left of this run. */
  readonly #earlier: Segment[];
  readonly #quiet: boolean;
  readonly #say: (text: string) => void;
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
  #askedWait = 0;
  /** Records sent since the last look. */
  #sent = 0;

  /**
   * @param own what is written just now
   * @param earlier what was left before, see {@link leftBefore}; deleted when all has arrived
   * @param options.quiet says nothing when the tracker does not answer
   * @param options.data the data folder
   */
  constructor(
    runId: string,
    own: RecordSource,
    earlier: readonly Segment[],
    { quiet = false, say = (text: string): void => void process.stderr.write(text), data = dataFolder() } = {},
  ) {
    this.#runId = runId;
    this.#own = own;
    this.#earlier = [...earlier];
    this.#quiet = quiet;
    this.#say = say;
    this.#data = data;
    this.#schedule();
  }

  /**
   * Send what there is now; true when nothing is left to send. Waits for at most `patience` milliseconds while the
   * tracker takes records, and not at all for one that does not answer twice.
   */
  async drain(patience: number): Promise<boolean> {
    // A clock that somebody sets meanwhile must not make it longer.
    const deadline = performance.now() + patience;
    const failures = this.#failures;
    while (true) {
      // A tracker that takes a request and never answers must not hold the end of a run for longer.
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
    return [...this.#earlier, this.#own].every((source) => source.pending().length === 0);
  }

  /** Why the last attempt failed. */
  get problem(): string {
    return this.#lastError;
  }

  /** Whether the tracker answered at the last attempt, if only to refuse. */
  get reachable(): boolean {
    return this.#reachable;
  }

  #schedule(): void {
    if (this.#stopped) return;
    const usual = this.#sent > busy ? busyInterval : interval;
    const wait = Math.max(this.#askedWait, Math.min(longestWait, usual * 2 ** Math.min(this.#failures, 5)));
    this.#sent = 0;
    this.#timer = setTimeout(() => void this.#work().then(() => this.#schedule()), wait);
    this.#timer.unref();
  }

  #work(): Promise<void> {
    this.#working ??= this.#send()
      .then(() => {
        this.#failures = 0;
        this.#askedWait = 0;
      })
      .catch((error: Error) => {
        this.#failures++;
        this.#lastError = error.message;
        this.#askedWait = error instanceof TrackerError ? Math.min(longestAskedWait, error.retryAfter ?? 0) : 0;
        this.#reachable = !(error instanceof TrackerError && error.code === "UNREACHABLE");
        this.#client = undefined; // It may be back under another address.
        if (this.#warned || this.#quiet) return;
        this.#warned = true;
        this.#say(`${error.message} Nothing is lost: the run is kept in a journal and sent when it is back.\n`);
      })
      .finally(() => {
        this.#working = undefined;
      });
    return this.#working;
  }

  async #send(): Promise<void> {
    for (const source of [...this.#earlier, this.#own]) {
      while (true) {
        const entries = source.pending();
        if (entries.length === 0 || this.#stopped) break;
        const { client, remote } = await this.#connect();
        this.#sent += entries.length;
        for (const batch of batches(entries)) {
          await this.#deliver(client, remote, batch);
          source.acknowledge(batch[batch.length - 1]);
          this.#failures = 0;
        }
      }
    }
    if (this.#stopped) return;
    // Only now: what came later may speak of files that lie there.
    for (const segment of this.#earlier.splice(0)) segment.remove();
  }

  async #connect(): Promise<{ client: TrackerClient; remote: RemoteRun }> {
    if (!this.#client) {
      const address = await findTracker(this.#data);
      if (!address) throw new TrackerError("No tracker runs on this data folder.", "UNREACHABLE", true);
      this.#client = new TrackerClient(address);
    }
    // A journal says first what to create; creating it again finds what is there.
    this.#remote ??= await createRun(this.#client, this.#runId, this.#first());
    return { client: this.#client, remote: this.#remote };
  }

  /** What the run is, from the first of its records that says so. */
  #first(): JournalRecord & { kind: "create" } {
    for (const source of [...this.#earlier.map((segment) => segment.all()), this.#own.all()]) {
      for (const entry of source) {
        if (entry.isMetrics) continue;
        const { record } = entry;
        if (record.kind === "create") return record;
      }
    }
    throw new Error(`The journal of run ${this.#runId} does not say what the run is.`);
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
      this.#say(`The tracker refused a record of this run, which is kept aside: ${error.message}\n`);
    }
  }
}

/** Wait for work, but for no longer than `ms`. */
async function within(work: Promise<void>, ms: number): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, Math.max(0, ms));
  });
  await Promise.race([work, late]);
  clearTimeout(timer);
}

/**
 * Send what processes that ended before their time left behind, and mark their runs as failed. What cannot be sent now
 * stays for the next time; a journal that cannot be read keeps no new run from starting.
 * @param data the data folder; {@link dataFolder} when left out
 */
export async function recoverJournals(data = dataFolder()): Promise<void> {
  for (const runId of Journal.orphans(data)) {
    // Somebody may have gone on with it while we were busy with the others. A journal that is damaged or refused must
    // not keep the others; a tracker that does not answer one answers none.
    if (Journal.isOrphan(runId, data) && !(await recover(runId, data).catch(() => true))) return;
  }
}

/** Send one run's journal; false when the tracker does not answer. */
async function recover(runId: string, data: string): Promise<boolean> {
  const left = leftBefore(runId, data);
  const journal = new Journal(runId, data);
  const shipper = new Shipper(runId, journal, left, { quiet: true, data });
  try {
    if (isUnfinished(left)) {
      // What it printed before it died is what one wants to read.
      const output = left.map((segment) => join(segment.path("files"), outputName)).findLast(existsSync);
      if (output) journal.append({ kind: "artifact", path: outputName, file: output });
      journal.append({ kind: "status", status: "FAILED", endTime: Date.now() });
    }
    return (await shipper.drain(5000)) || shipper.reachable;
  } finally {
    shipper.stop();
    await journal.close();
  }
}

/** Whether a run was begun and not ended; what was only added to a run that is over does not count. */
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
