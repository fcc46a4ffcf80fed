/** The cells of this process: which ones are running, and which one the current code belongs to. */
import { AsyncLocalStorage } from "node:async_hooks";
import { createHash } from "node:crypto";
import { basename } from "node:path";

/** The cell that running code belongs to, and whether the code is a `finally` block that runs after an interrupt. */
export interface Owner {
  cell: CellRun;
  inCleanup: boolean;
}

/** Time limit for the `finally` blocks of an interrupted cell. */
export const cleanupMs = 2000;

/** One execution of a cell, including the timers and promises that it left behind. */
export class CellRun {
  readonly id: number;
  readonly label: string;
  readonly allowStdin: boolean;
  readonly #controller = new AbortController();
  /** The cell accessed its interrupt signal and stops itself when the signal aborts. */
  handlesInterrupt = false;
  /** The cell's code threw. */
  failed = false;
  /** The cell was interrupted: only its `finally` blocks may still run. */
  interrupted = false;
  /** Deadline for the `finally` blocks of the interrupted cell, as a `performance.now()` time. */
  cleanupEnd = 0;
  /** Number of running `finally` blocks since the interrupt. */
  cleanups = 0;
  /** Resolves when the `finally` blocks of the interrupted cell have completed or timed out. */
  unwound: Promise<void> | undefined;
  readonly owner: Owner = { cell: this, inCleanup: false };
  readonly cleanupOwner: Owner = { cell: this, inCleanup: true };
  /** Rejects the pending awaits on interrupt; the values are the numbers of the calls that contain them. */
  readonly #waits = new Map<(reason: Error) => void, number>();
  /** Disposers of the cell's `using` declarations, in order. */
  readonly #disposables: (() => unknown)[] = [];
  /** Pending async displays; the cell completes only after them. */
  readonly pending = new Set<Promise<unknown>>();

  constructor(id: number, label: string, allowStdin: boolean) {
    this.id = id;
    this.label = label;
    this.allowStdin = allowStdin;
  }

  /** Aborts when the user interrupts the cell. */
  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** Disposes a value when the cell ends: implements a top-level `using`. */
  use<T>(value: T, kind: "sync" | "async"): T {
    if (value === null || value === undefined) return value;
    const methods = value as Record<symbol, unknown>;
    const method = (kind === "async" ? methods[Symbol.asyncDispose] : undefined) ?? methods[Symbol.dispose];
    if (typeof method !== "function")
      throw new TypeError("the value of a `using` declaration has no [Symbol.dispose]() method");
    this.#disposables.push(() => method.call(value));
    return value;
  }

  /** Disposes the values of `using` declarations in reverse order, and throws the last error. */
  async dispose(): Promise<void> {
    let failure: { error: unknown } | undefined;
    for (const dispose of this.#disposables.splice(0).reverse()) {
      try {
        await dispose();
      } catch (error) {
        failure = { error };
      }
    }
    if (failure) throw failure.error;
  }

  /** Returns a promise that settles like `value`, or rejects when the cell is interrupted. */
  untilInterrupted<T>(value: T, call: number): Promise<Awaited<T>> {
    return new Promise((resolve, reject) => {
      this.#waits.set(reject, call);
      Promise.resolve(value)
        .finally(() => this.#waits.delete(reject))
        .then(resolve, reject);
    });
  }

  /** Stops the cell's code, including later callbacks. */
  interrupt(reason: Error): void {
    if (this.interrupted) return;
    this.interrupted = true;
    this.failed = true;
    this.cleanupEnd = performance.now() + cleanupMs;
    this.unwound = this.#unwind(reason);
  }

  /** Rejects the pending awaits from the innermost call outwards, and waits for the `finally` blocks of each. */
  async #unwind(reason: Error): Promise<void> {
    for (;;) {
      await new Promise((resolve) => setImmediate(resolve));
      const inTime = () => performance.now() < this.cleanupEnd;
      while (this.cleanups > 0 && inTime()) await new Promise((resolve) => setTimeout(resolve, 5));
      const [innermost] = [...this.#waits].sort(([, a], [, b]) => b - a);
      if (!innermost || !inTime()) return;
      const [reject] = innermost;
      this.#waits.delete(reject);
      reject(reason);
    }
  }

  abort(reason: Error): void {
    this.#controller.abort(reason);
  }
}

/** Tracks which cell code belongs to, through timers and promises. */
export const ownership = new AsyncLocalStorage<Owner>();

/** The running cells: at most one of the main shell and one of each subshell. */
export const runningCells = new Map<number, CellRun>();

let latest: CellRun | undefined;

/** Sets the cell that output without an owner belongs to. */
export function setLatest(cell: CellRun): void {
  latest = cell;
}

/** The cell that the current code belongs to, or else the latest cell. */
export function currentCell(): CellRun | undefined {
  return ownership.getStore()?.cell ?? latest;
}

/** The id of {@link currentCell}; 0 before the first cell. */
export function currentCellId(): number {
  return currentCell()?.id ?? 0;
}

let notebookName = "";
const idCounts = new Map<number, number>();

/** Sets the notebook whose name goes into ids, because a page may show several notebooks. */
export function nameNotebook(path: string | undefined): void {
  notebookName = path === undefined ? "" : basename(path);
}

/**
 * Creates an id of 32 hexadecimal digits for a displayed element. It is deterministic, so that restarting the kernel and
 * running all cells does not change the saved notebook.
 * @param content distinguishes ids at the same position after a restart
 */
export function newId(content = ""): string {
  const cell = currentCellId();
  const count = (idCounts.get(cell) ?? 0) + 1;
  idCounts.set(cell, count);
  return createHash("sha256")
    .update(JSON.stringify([notebookName, cell, count, content]))
    .digest("hex")
    .slice(0, 32);
}
