import { SHARE_ENV, Worker } from "node:worker_threads";
import type { Journal } from "./journal.ts";
import type { DrainRequest, ShipOrder, ShipReport } from "./ship-worker.ts";
import { leftBefore, Shipper } from "./shipper.ts";

/**
 * Sends a run's journal while the run is active, from a separate thread, because large requests would take time from the
 * thread that trains. Records that could not be written to disk are sent from this thread.
 */
export class RunShipper {
  readonly #journal: Journal;
  #worker: Worker | undefined;
  /** Sends from this thread: the records in memory, or everything if the worker fails. */
  #here: Shipper;
  readonly #drains = new Map<number, (sent: boolean) => void>();
  #count = 0;
  #problem: string | undefined;

  constructor(journal: Journal) {
    this.#journal = journal;
    const { runId, segment } = journal;
    const earlier = leftBefore(runId);
    if (!segment) {
      this.#here = new Shipper(runId, journal, earlier, { beats: true });
      return;
    }
    this.#here = new Shipper(runId, journal.inMemory, [], { quiet: true });
    const order: ShipOrder = { runId, segment: segment.name, earlier: earlier.map(({ name }) => name) };
    this.#worker = new Worker(new URL("./ship-worker.js", import.meta.url), { workerData: order, env: SHARE_ENV });
    this.#worker.unref();
    this.#worker.on("message", (report: ShipReport) => this.#handleReport(report));
    this.#worker.on("error", () => this.#sendFromHere());
  }

  /** Sends all current records: see {@link Shipper.drain}. */
  async drain(patience: number): Promise<boolean> {
    const sent = await Promise.all([this.#here.drain(patience), this.#drainThread(patience)]);
    return sent.every(Boolean);
  }

  /** Why the last attempt failed. */
  get problem(): string {
    return this.#problem ?? this.#here.problem;
  }

  async stop(): Promise<void> {
    this.#here.stop();
    const worker = this.#worker;
    this.#worker = undefined;
    await worker?.terminate();
  }

  async #drainThread(patience: number): Promise<boolean> {
    const worker = this.#worker;
    if (!worker) return true;
    // Pending drains keep the process alive.
    worker.ref();
    const request: DrainRequest = { id: this.#count++, patience };
    try {
      return await new Promise<boolean>((resolve) => {
        this.#drains.set(request.id, resolve);
        worker.postMessage(request);
      });
    } finally {
      worker.unref();
    }
  }

  #handleReport(report: ShipReport): void {
    if ("print" in report) {
      process.stderr.write(report.print);
      return;
    }
    this.#problem = report.sent ? undefined : report.problem;
    this.#drains.get(report.id)?.(report.sent);
    this.#drains.delete(report.id);
  }

  /** Sends from this thread after the worker has failed, for example out of memory. */
  #sendFromHere(): void {
    if (!this.#worker) return;
    this.#worker = undefined;
    this.#here.stop();
    this.#here = new Shipper(this.#journal.runId, this.#journal, leftBefore(this.#journal.runId), { beats: true });
    for (const [, resolve] of this.#drains) resolve(false);
    this.#drains.clear();
  }
}
