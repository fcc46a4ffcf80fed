/**
 * Interrupting cells without losing variables.
 *
 * The watcher thread receives interrupts even while the main thread is busy, and sets a flag that loops in cells check.
 * Pending awaits are rejected by the main thread. The flag holds the number of the cell to stop (or -1 for code outside
 * of any running cell), so that an interrupt that comes too late does not stop another cell.
 */
import { executionAsyncResource } from "node:async_hooks";
import { types } from "node:util";
import { MessageChannel, type MessagePort, Worker } from "node:worker_threads";
import { type CellRun, type Owner, ownership, runningCells } from "./cells.ts";
import { fromWatcherFd, watcherFd } from "./pipes.ts";
import { slotCount, slots } from "./slots.ts";

/** Memory shared with the watcher thread; see {@link slots}. */
export const shared = new Int32Array(new SharedArrayBuffer(4 * slotCount));

/** The error that ends an interrupted cell. */
export class Interrupted extends Error {
  override readonly name = "Interrupted";
  /** The code that is being stopped. Its own `catch` blocks rethrow the error. */
  readonly #owner: Owner | undefined;

  constructor(owner?: Owner) {
    super("the cell was interrupted; its variables are kept");
    this.#owner = owner;
  }

  ends(owner: Owner | undefined): boolean {
    return this.#owner === owner;
  }
}

/** Whether an error was caused by an interrupt. */
export function isInterruption(error: unknown): boolean {
  if (!types.isNativeError(error)) return false;
  if (error instanceof Interrupted) return true;
  const code = Object.getOwnPropertyDescriptor(error, "code");
  return code?.value === "ERR_SCRIPT_EXECUTION_INTERRUPTED";
}

/** Called by loops when the flag is set. @throws Interrupted if the flag is meant for the running code */
export function stop(): void {
  const raised = shared[slots.flag] ?? 0;
  const running = shared[slots.running] ?? 0;
  if (raised === 0) return;
  // With the sticky bit, the flag stays set until the cell ends, because the code caught and ignored the first error.
  const sticky = raised >= stickyBit;
  const cell = sticky ? raised - stickyBit : raised;
  if (cell > 0 && running !== 0 && cell !== running) {
    clearFlag(raised);
    return;
  }
  // A timer callback of an earlier cell may block the thread. Then both that cell and the running one stop.
  if (!sticky && (cell < 0 || running !== 0)) clearFlag(raised);
  const target = runningCells.get(cell);
  const owner = ownership.getStore();
  // The main thread has already handled the interrupt: this code may be a `finally` block.
  if (!sticky && target?.interrupted && owner && !mustStop(owner)) {
    clearFlag(raised);
    return;
  }
  if (target) {
    markInterrupted(target);
    if (sticky) target.cleanupEnd = 0;
  }
  throw new Interrupted(owner);
}

function clearFlag(raised: number): void {
  Atomics.compareExchange(shared, slots.flag, raised, 0);
}

/** Whether the interrupt flag is set for a cell. */
export function isRaisedFor(cell: number): boolean {
  const raised = Atomics.load(shared, slots.flag);
  return raised === cell || raised === cell + stickyBit;
}

/** Marks a cell as running. An interrupt that arrived for it earlier stays set. */
export function beginCell(cell: number): void {
  const raised = Atomics.load(shared, slots.flag);
  if (raised !== cell) clearFlag(raised);
  shared[slots.handlesInterrupt] = 0;
  Atomics.store(shared, slots.running, cell);
}

/** Marks a cell as finished and clears the flag. */
export function endCell(cell: number): void {
  Atomics.store(shared, slots.finished, cell);
  Atomics.store(shared, slots.running, 0);
  Atomics.store(shared, slots.flag, 0);
  shared[slots.handlesInterrupt] = 0;
}

const stickyBit = 2 ** 30;

// Timers and promises reference their cell. Once it is collected, none of its code can run again.
const collected = new FinalizationRegistry(() => Atomics.sub(shared, slots.stopped, 1));

/** Stops a cell's code except its `finally` blocks. */
export function markInterrupted(cell: CellRun): void {
  if (!cell.interrupted) {
    collected.register(cell, undefined);
    Atomics.add(shared, slots.stopped, 1);
  }
  cell.interrupt(new Interrupted(cell.owner));
}

function mustStop({ cell, inCleanup }: Owner): boolean {
  return cell.interrupted && !(inCleanup && performance.now() < cell.cleanupEnd);
}

/** Called with the value of every `await` in a cell. @throws Interrupted if the cell was interrupted */
export function resume<T>(value: T): T {
  if (shared[slots.flag] !== 0) stop();
  if (shared[slots.stopped] !== 0) {
    const owner = ownership.getStore();
    if (owner && mustStop(owner)) throw new Interrupted(owner);
  }
  return value;
}

/**
 * Called at the start of functions in cells, while there are interrupted cells.
 * @param cell the cell that defines the function; 0 for a file
 */
export function enter(cell: number): void {
  const owner = ownership.getStore();
  // Functions of later cells may run: for example, listeners on an object of the interrupted cell.
  if (!owner || cell > owner.cell.id || !mustStop(owner)) return;
  // Stops the interval if this is the callback of one. clearInterval() ignores other resources.
  clearInterval(executionAsyncResource() as NodeJS.Timeout);
  throw new Interrupted(owner);
}

/** Called at the start of every `catch` block. @param error undefined if the block has no binding */
export function caught(error?: unknown): void {
  if (error instanceof Interrupted && error.ends(ownership.getStore())) throw error;
  resume(undefined);
}

/**
 * Called at the start of every `finally` block: in an interrupted cell, the block and the functions it calls may run.
 * @param counted whether the cell's end must wait until `leave` is called
 * @returns the argument for `leave`, called at the end of the block
 */
export function cleanup(counted: boolean): Owner | undefined {
  if (shared[slots.stopped] === 0) return undefined;
  const owner = ownership.getStore();
  if (!owner?.cell.interrupted) return undefined;
  if (counted) owner.cell.cleanups++;
  ownership.enterWith(owner.cell.cleanupOwner);
  return owner;
}

export function leave(owner: Owner | undefined): void {
  if (!owner) return;
  owner.cell.cleanups--;
  ownership.enterWith(owner);
}

/**
 * Called with the operand of an `await` inside a `try` with a `finally`.
 * @param call the number of the function call
 */
export function wait<T>(value: T, call: number): T | Promise<Awaited<T>> {
  if ((typeof value !== "object" && typeof value !== "function") || value === null) return value;
  const owner = ownership.getStore();
  return owner && !owner.cell.interrupted ? owner.cell.untilInterrupted(value, call) : value;
}

/** Called with the iterable of a `for await` inside a `try` with a `finally`. */
export function iterate<T>(iterable: AsyncIterable<T>, call: number): AsyncIterable<T> {
  const owner = ownership.getStore();
  const iterator = iterable?.[Symbol.asyncIterator]?.();
  if (!owner || !iterator) return iterable;
  const close = async (): Promise<IteratorResult<T>> => (await iterator.return?.()) ?? { done: true, value: undefined };
  return {
    [Symbol.asyncIterator]: () => ({
      async next() {
        try {
          return await wait(iterator.next(), call);
        } catch (error) {
          // The iterator closes once its pending promise settles, which the interrupted code does not wait for.
          if (error instanceof Interrupted) close().catch(() => {});
          throw error;
        }
      },
      async return() {
        const counted = owner.cell.interrupted ? 1 : 0;
        owner.cell.cleanups += counted;
        try {
          return await close();
        } finally {
          owner.cell.cleanups -= counted;
        }
      },
    }),
  };
}

/**
 * Starts the watcher thread.
 * @returns the thread, and the port that receives input replies
 */
export function startWatcher(): { worker: Worker; port: MessagePort } {
  const { port1, port2 } = new MessageChannel();
  const worker = new Worker(new URL("./watcher.js", import.meta.url), {
    workerData: { shared, fd: watcherFd, outFd: fromWatcherFd, sticky: stickyBit, port: port2 },
    transferList: [port2],
    // No user flags such as --require in the watcher. It needs little memory, except for replies of the inspector.
    execArgv: [],
    resourceLimits: { maxOldGenerationSizeMb: 256, maxYoungGenerationSizeMb: 2 },
  });
  worker.unref();
  return { worker, port: port1 };
}
