import { existsSync } from "node:fs";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { findTracker, TrackerClient, TrackerError } from "./client.ts";
import { Journal, type JournalEntry, type JournalRecord, outputName } from "./journal.ts";

/** Wait between two looks at the journal. */
const interval = 250;
/** Longest wait after failures. */
const longestWait = 5000;
/** Metrics in one request: MLflow's limit for a batch. */
const batchSize = 1000;

interface RemoteRun {
  id: string;
  experimentId: string;
}

/**
 * Sends a journal's records to the tracker, in order and in batches, for as long as it takes: a tracker that is down
 * or restarts costs nothing but delay.
 */
export class Shipper {
  readonly #journal: Journal;
  readonly #quiet: boolean;
  #client: TrackerClient | undefined;
  #remote: RemoteRun | undefined;
  #timer: NodeJS.Timeout | undefined;
  #working: Promise<void> | undefined;
  #failures = 0;
  #warned = false;
  #stopped = false;
  #lastError = "it has not answered yet";
  #reachable = true;

  /** @param options.quiet says nothing when the tracker does not answer */
  constructor(journal: Journal, { quiet = false } = {}) {
    this.#journal = journal;
    this.#quiet = quiet;
    this.#schedule();
  }

  /**
   * Send what there is now; true when nothing is left to send. Waits for at most `patience` milliseconds while the
   * tracker takes records, and not at all for one that does not answer twice.
   */
  async drain(patience: number): Promise<boolean> {
    const deadline = Date.now() + patience;
    const failures = this.#failures;
    while (true) {
      // A tracker that takes a request and never answers must not hold the end of a run for longer.
      await within(this.#work(), deadline - Date.now());
      if (this.#journal.pending(1).length === 0) return true;
      if (Date.now() >= deadline || this.#failures > failures + 1) return false;
      await new Promise((resolve) => setTimeout(resolve, Math.min(200, deadline - Date.now())));
    }
  }

  stop(): void {
    this.#stopped = true;
    clearTimeout(this.#timer);
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
    const wait = Math.min(longestWait, interval * 2 ** Math.min(this.#failures, 5));
    this.#timer = setTimeout(() => void this.#work().then(() => this.#schedule()), wait);
    this.#timer.unref();
  }

  #work(): Promise<void> {
    this.#working ??= this.#send()
      .then(() => {
        this.#failures = 0;
      })
      .catch((error: Error) => {
        this.#failures++;
        this.#lastError = error.message;
        this.#reachable = !(error instanceof TrackerError && error.code === "UNREACHABLE");
        this.#client = undefined; // It may be back under another address.
        if (this.#warned || this.#quiet) return;
        this.#warned = true;
        process.stderr.write(
          `${error.message} Nothing is lost: the run is kept in a journal and sent when it is back.\n`,
        );
      })
      .finally(() => {
        this.#working = undefined;
      });
    return this.#working;
  }

  async #send(): Promise<void> {
    while (true) {
      const entries = this.#journal.pending(5000);
      if (entries.length === 0 || this.#stopped) return;
      await this.#connect();
      for (const batch of batches(entries)) {
        await this.#deliver(batch.map(({ record }) => record));
        this.#journal.acknowledge(batch[batch.length - 1].end);
      }
    }
  }

  async #connect(): Promise<void> {
    if (this.#client && this.#remote) return;
    const address = await findTracker();
    if (!address) throw new TrackerError("No tracker runs on this data folder.", "UNREACHABLE", true);
    const client = new TrackerClient(address);
    this.#client = client;
    // The first record of a journal says what to create; creating it again finds what is there.
    this.#remote ??= await createRun(client, this.#journal.runId, this.#journal.first());
  }

  async #deliver(records: readonly JournalRecord[]): Promise<void> {
    const [client, remote] = [this.#client, this.#remote];
    if (!client || !remote) throw new TrackerError("Not connected.", "UNREACHABLE", true);
    try {
      await deliver(client, remote, records);
    } catch (error) {
      if (!(error instanceof TrackerError) || error.temporary) throw error;
      if (records.length > 1) {
        for (const record of records) await this.#deliver([record]);
        return;
      }
      this.#journal.reject(records[0], error.message);
      process.stderr.write(`The tracker refused a record of this run, which is kept aside: ${error.message}\n`);
    }
  }
}

/** Neighbours that one log-batch request can carry. */
function* batches(entries: readonly JournalEntry[]): Generator<JournalEntry[]> {
  let current: JournalEntry[] = [];
  let points = 0;
  for (const entry of entries) {
    const size = entry.record.kind === "metrics" ? entry.record.points.length : 0;
    const joins =
      entry.record.kind === "metrics" && current[0]?.record.kind === "metrics" && points + size <= batchSize;
    if (!joins && current.length > 0) {
      yield current;
      current = [];
      points = 0;
    }
    current.push(entry);
    points += size;
  }
  if (current.length > 0) yield current;
}

async function createRun(
  client: TrackerClient,
  runId: string,
  record: JournalRecord & { kind: "create" },
): Promise<RemoteRun> {
  const known = await runNamed(client, runId);
  if (known) return known;
  const experimentId = await experimentNamed(client, record.experiment);
  const ours = await runTagged(client, experimentId, runId);
  if (ours) return ours;
  const { run } = await client.call<{ run: { info: { run_id: string } } }>("POST", "runs/create", {
    experiment_id: experimentId,
    run_name: record.name,
    start_time: record.startTime,
    tags: Object.entries({ ...record.tags, "anneal.client_id": runId }).map(([key, value]) => ({ key, value })),
  });
  return { id: run.info.run_id, experimentId };
}

/** A run whose id the tracker took from us. */
async function runNamed(client: TrackerClient, id: string): Promise<RemoteRun | undefined> {
  try {
    const { run } = await client.call<{ run: { info: { experiment_id: string } } }>("GET", "runs/get", { run_id: id });
    return { id, experimentId: run.info.experiment_id };
  } catch (error) {
    if (error instanceof TrackerError && !error.temporary) return undefined;
    throw error;
  }
}

/** A run that we created at a tracker which gives ids of its own, as MLflow's does; else each process would create another. */
async function runTagged(client: TrackerClient, experiment: string, id: string): Promise<RemoteRun | undefined> {
  const { runs = [] } = await client.call<{ runs?: { info: { run_id: string; experiment_id: string } }[] }>(
    "POST",
    "runs/search",
    { experiment_ids: [experiment], filter: `tags.\`anneal.client_id\` = '${id}'`, max_results: 1 },
  );
  const [found] = runs;
  return found && { id: found.info.run_id, experimentId: found.info.experiment_id };
}

async function experimentNamed(client: TrackerClient, name: string): Promise<string> {
  const find = () =>
    client.call<{ experiment: { experiment_id: string } }>("GET", "experiments/get-by-name", { experiment_name: name });
  try {
    return (await find()).experiment.experiment_id;
  } catch (error) {
    if (!(error instanceof TrackerError) || error.code !== "RESOURCE_DOES_NOT_EXIST") throw error;
  }
  try {
    return (await client.call<{ experiment_id: string }>("POST", "experiments/create", { name })).experiment_id;
  } catch (error) {
    // Somebody else was faster.
    if (error instanceof TrackerError && error.code === "RESOURCE_ALREADY_EXISTS") {
      return (await find()).experiment.experiment_id;
    }
    throw error;
  }
}

async function deliver(client: TrackerClient, run: RemoteRun, records: readonly JournalRecord[]): Promise<void> {
  const [record] = records;
  const pairs = (map: Record<string, string>) => Object.entries(map).map(([key, value]) => ({ key, value }));
  switch (record.kind) {
    case "create":
      return;
    case "metrics": {
      const points = records.flatMap((r) => (r.kind === "metrics" ? r.points : []));
      const metrics = points.map((p) => ({ ...p, value: Number.isFinite(p.value) ? p.value : wireNumber(p.value) }));
      for (let i = 0; i < metrics.length; i += batchSize) {
        await client.call("POST", "runs/log-batch", { run_id: run.id, metrics: metrics.slice(i, i + batchSize) });
      }
      return;
    }
    case "params": {
      const params = pairs(record.params);
      for (let i = 0; i < params.length; i += 100) {
        await client.call("POST", "runs/log-batch", { run_id: run.id, params: params.slice(i, i + 100) });
      }
      return;
    }
    case "tags":
      await client.call("POST", "runs/log-batch", { run_id: run.id, tags: pairs(record.tags) });
      return;
    case "dataset": {
      const { name, digest, context, profile } = record.dataset;
      const dataset = {
        name,
        digest,
        source_type: "local",
        source: JSON.stringify({ name }),
        profile: JSON.stringify(profile),
      };
      const tags = [{ key: "mlflow.data.context", value: context }];
      await client.call("POST", "runs/log-inputs", { run_id: run.id, datasets: [{ dataset, tags }] });
      return;
    }
    case "artifact":
      // Sent before, and then removed, when the acknowledgement was lost.
      if (!existsSync(record.file)) return;
      await client.uploadArtifact(run.experimentId, run.id, record.path, record.file);
      await rm(record.file, { force: true });
      return;
    case "status":
      await client.call("POST", "runs/update", { run_id: run.id, status: record.status, end_time: record.endTime });
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

const wireNumber = (value: number) => (Number.isNaN(value) ? "NaN" : value > 0 ? "Infinity" : "-Infinity");

/**
 * Send what processes that ended before their time left behind, and mark their runs as failed. What cannot be sent now
 * stays for the next time; a journal that cannot be read keeps no new run from starting.
 */
export async function recoverJournals(): Promise<void> {
  for (const runId of Journal.orphans()) {
    // Somebody may have gone on with it while we were busy with the others. A journal that is damaged or refused must
    // not keep the others; a tracker that does not answer one answers none.
    if (Journal.isOrphan(runId) && !(await recover(runId).catch(() => true))) return;
  }
}

/** Send one journal; false when the tracker does not answer. */
async function recover(runId: string): Promise<boolean> {
  const journal = new Journal(runId);
  const shipper = new Shipper(journal, { quiet: true });
  try {
    if (isUnfinished(journal)) {
      // What it printed before it died is what one wants to read.
      const output = join(journal.filesFolder, outputName);
      if (existsSync(output)) journal.append({ kind: "artifact", path: outputName, file: output });
      journal.append({ kind: "status", status: "FAILED", endTime: Date.now() });
    }
    return (await shipper.drain(5000)) || shipper.reachable;
  } finally {
    shipper.stop();
    journal.close();
  }
}

/** Whether a run was begun and not ended; what was only added to a run that is over does not count. */
function isUnfinished(journal: Journal): boolean {
  const last = journal.all().findLast(({ record }) => {
    return record.kind === "status" || (record.kind === "create" && record.amend !== true);
  })?.record;
  return last?.kind === "create" || (last?.kind === "status" && last.status === "RUNNING");
}
