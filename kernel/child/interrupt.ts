/**
 * Stopping a cell without losing its values.
 *
 * A thread hears the host even while the main thread is busy and raises a flag that the loops of cells look at. Code
 * that waits is given up by the main thread itself. The flag holds the number of the cell to stop (or -1 for code
 * that runs outside of any cell), so that one that was raised too late stops nobody else.
 */
import { executionAsyncResource } from "node:async_hooks";
import { types } from "node:util";
import { MessageChannel, type MessagePort, Worker } from "node:worker_threads";
import { type CellRun, type Owner, ownership, runningCells } from "./cells.ts";
import { fromWatcherFd, watcherFd } from "./pipes.ts";
import { slotCount, slots } from "./slots.ts";

/** Shared with the watching thread; see {@link slots}. */
export const shared = new Int32Array(new SharedArrayBuffer(4 * slotCount));

/** What a stopped cell ends with. */
export class Interrupted extends Error {
  override readonly name = "Interrupted";
  /** The code that it ends; a `catch` of that code does not catch it. */
  readonly #owner: Owner | undefined;

  constructor(owner?: Owner) {
    super("the cell was interrupted; its variables are kept");
    this.#owner = owner;
  }

  ends(owner: Owner | undefined): boolean {
    return this.#owner === owner;
  }
}

/** Whether an error says that somebody interrupted the cell. */
export function isInterruption(error: unknown): boolean {
  if (!types.isNativeError(error)) return false;
  if (error instanceof Interrupted) return true;
  const code = Object.getOwnPropertyDescriptor(error, "code");
  return code?.value === "ERR_SCRIPT_EXECUTION_INTERRUPTED";
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
  const target = runningCells.get(cell);
  const owner = ownership.getStore();
  // The main thread was told before: what still runs may be a `finally` block.
  if (!sticky && target?.interrupted && owner && !mustEnd(owner)) {
    lower(raised);
    return;
  }
  if (target) {
    markInterrupted(target);
    if (sticky) target.cleanupEnd = 0;
  }
  throw new Interrupted(owner);
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

// While code of an interrupted cell may be called back, some timer or promise refers to the cell.
const collected = new FinalizationRegistry(() => Atomics.sub(shared, slots.stopped, 1));

/** Ends a cell's code, but for its `finally` blocks. */
export function markInterrupted(cell: CellRun): void {
  if (!cell.interrupted) {
    collected.register(cell, undefined);
    Atomics.add(shared, slots.stopped, 1);
  }
  cell.interrupt(new Interrupted(cell.owner));
}

function mustEnd({ cell, inCleanup }: Owner): boolean {
  return cell.interrupted && !(inCleanup && performance.now() < cell.cleanupEnd);
}

/** Called with the value of every `await` in a cell: code of an interrupted cell ends here. */
export function resume<T>(value: T): T {
  if (shared[slots.flag] !== 0) stop();
  if (shared[slots.stopped] !== 0) {
    const owner = ownership.getStore();
    if (owner && mustEnd(owner)) throw new Interrupted(owner);
  }
  return value;
}

/**
 * Called by functions of cells as they begin, while there are interrupted cells.
 * @param cell the one that the function was written in; 0 for a file
 */
export function enter(cell: number): void {
  const owner = ownership.getStore();
  // A later cell may have added a listener to something of the interrupted one.
  if (!owner || cell > owner.cell.id || !mustEnd(owner)) return;
  // Where an interval of the interrupted cell calls, it is over with the interval; anything else is not looked at.
  clearInterval(executionAsyncResource() as NodeJS.Timeout);
  throw new Interrupted(owner);
}

/** Called by every `catch` block as it begins. The error is left out where the block gives it no name. */
export function caught(error?: unknown): void {
  if (error instanceof Interrupted && error.ends(ownership.getStore())) throw error;
  resume(undefined);
}

/**
 * Called by every `finally` block as it begins: in an interrupted cell, the block and what it calls may run.
 * @param counted the cell is not over until `leave` was called
 * @returns what `leave` takes when the block ends
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
 * Called with what an `await` waits for that stands in a `try` with a `finally`.
 * @param call the number of the function's call
 */
export function wait<T>(value: T, call: number): T | Promise<Awaited<T>> {
  if ((typeof value !== "object" && typeof value !== "function") || value === null) return value;
  const owner = ownership.getStore();
  return owner && !owner.cell.interrupted ? owner.cell.untilInterrupted(value, call) : value;
}

/** Called with what a `for await` iterates that stands in a `try` with a `finally`. */
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
          // It ends when what it waits for has settled; nobody waits for that.
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
