/**
 * Stopping a cell without losing its values.
 *
 * A thread hears the host even while the main thread is busy and raises a flag that the loops of cells look at. Code
 * that waits is given up by the main thread itself. The flag holds the number of the cell to stop (or -1 for code
 * that runs outside of any cell), so that one that was raised too late stops nobody else.
 */
import { MessageChannel, type MessagePort, Worker } from "node:worker_threads";
import { ownership } from "./cells.ts";
import { fromWatcherFd, watcherFd } from "./pipes.ts";

/** Slots of the memory that the main thread shares with the watching thread. */
export const slots = {
  /** Which cell to stop; 0 for none. Looked at by every loop. */
  flag: 0,
  /** Which cell's own course runs now; 0 for none. */
  running: 1,
  /** 1 when the running cell promised to stop by itself. */
  asked: 2,
  /** Goes up with every answer to a question, to wake a thread that waits for one. */
  answers: 3,
  /** The last cell that ended: what comes for it comes too late. */
  finished: 4,
} as const;

/** Shared with the watching thread; see {@link slots}. */
export const shared = new Int32Array(new SharedArrayBuffer(4 * Object.keys(slots).length));

/** What a stopped cell ends with. */
export class Interrupted extends Error {
  override readonly name = "Interrupted";

  constructor() {
    super("the cell was interrupted; its variables are kept");
  }
}

/** Whether an error says that somebody interrupted the cell. */
export function isInterruption(error: unknown): boolean {
  if (error instanceof Interrupted) return true;
  return error instanceof Error && (error as NodeJS.ErrnoException).code === "ERR_SCRIPT_EXECUTION_INTERRUPTED";
}

/** Called by a loop that found the flag raised. */
export function stop(): void {
  const raised = shared[slots.flag] ?? 0;
  const running = shared[slots.running] ?? 0;
  if (raised === 0) return;
  // A flag of 2^30 and more stays up until the cell has ended: the first stop was caught and ignored.
  const sticky = raised >= stickyBit;
  const cell = sticky ? raised - stickyBit : raised;
  if (cell > 0 && running !== 0 && cell !== running) {
    lower(raised);
    return;
  }
  // A timer of an earlier cell may keep the thread from the cell that is to stop: then both do.
  if (!sticky && (cell < 0 || running !== 0)) lower(raised);
  throw new Interrupted();
}

function lower(raised: number): void {
  Atomics.compareExchange(shared, slots.flag, raised, 0);
}

/** Whether somebody wants a cell to stop. */
export function isRaisedFor(cell: number): boolean {
  const raised = Atomics.load(shared, slots.flag);
  return raised === cell || raised === cell + stickyBit;
}

/** A cell begins. An interrupt that came for it before stays. */
export function beginCell(cell: number): void {
  const raised = Atomics.load(shared, slots.flag);
  if (raised !== cell) lower(raised);
  shared[slots.asked] = 0;
  Atomics.store(shared, slots.running, cell);
}

/** A cell has ended: nobody may be stopped in its name. */
export function endCell(cell: number): void {
  Atomics.store(shared, slots.finished, cell);
  Atomics.store(shared, slots.running, 0);
  Atomics.store(shared, slots.flag, 0);
  shared[slots.asked] = 0;
}

const stickyBit = 2 ** 30;

let anyDead = false;

/** Cells that were given up exist from now on: what resumes must be looked at. */
export function markDead(): void {
  anyDead = true;
}

/** Called with the value of every `await` in a cell: code of a cell that was given up ends here. */
export function resume<T>(value: T): T {
  if (shared[slots.flag] !== 0) stop();
  if (anyDead && ownership.getStore()?.dead) throw new Interrupted();
  return value;
}

/**
 * Starts the thread that hears the host.
 * @returns the thread, and the port where answers to questions arrive
 */
export function startWatcher(): { worker: Worker; port: MessagePort } {
  const { port1, port2 } = new MessageChannel();
  const worker = new Worker(new URL("./watcher.js", import.meta.url), {
    workerData: { shared, fd: watcherFd, outFd: fromWatcherFd, sticky: stickyBit, port: port2 },
    transferList: [port2],
    // The watcher is no place for the user's --require, and its own few objects need no room; what a debugger asks for
    // may need some.
    execArgv: [],
    resourceLimits: { maxOldGenerationSizeMb: 256, maxYoungGenerationSizeMb: 2 },
  });
  worker.unref();
  return { worker, port: port1 };
}
