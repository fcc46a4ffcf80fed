/** The cells of this process: which one runs, and which one a piece of code belongs to. */
import { AsyncLocalStorage } from "node:async_hooks";
import { createHash } from "node:crypto";
import { basename } from "node:path";

/** What running code belongs to: a cell, and whether it is a `finally` block that runs after an interrupt. */
export interface Owner {
  cell: CellRun;
  inCleanup: boolean;
}

/** How long the `finally` blocks of an interrupted cell may take. */
export const cleanupMs = 2000;

/** One execution of a cell, as long as any of its code may still run. */
export class CellRun {
  readonly id: number;
  readonly label: string;
  readonly allowStdin: boolean;
  readonly #controller = new AbortController();
  /** The cell promised to stop by itself when its signal aborts. */
  asked = false;
  /** The cell's code threw. */
  failed = false;
  /** The cell was interrupted: nothing but its `finally` blocks may go on. */
  interrupted = false;
  /** When the `finally` blocks of the interrupted cell must have ended, on the clock of `performance.now()`. */
  cleanupEnd = 0;
  /** `finally` blocks that run now, since the interrupt. */
  cleanups = 0;
  /** When no `finally` block of the interrupted cell runs any more, or their time is over. */
  unwound: Promise<void> | undefined;
  readonly owner: Owner = { cell: this, inCleanup: false };
  readonly cleanupOwner: Owner = { cell: this, inCleanup: true };
  /** What ends each `await` that ends with an interrupt, and the number of the call that it stands in. */
  readonly #waits = new Map<(reason: Error) => void, number>();
  /** What the cell declared with `using`, in order. */
  readonly #disposables: (() => unknown)[] = [];
  /** Displays that are still being made; the cell is done only after them. */
  readonly pending = new Set<Promise<unknown>>();

  constructor(id: number, label: string, allowStdin: boolean) {
    this.id = id;
    this.label = label;
    this.allowStdin = allowStdin;
  }

  /** Aborted when the user interrupts this cell. */
  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** Disposes of a value when the cell ends: `using` at its top level. */
  use<T>(value: T, kind: "sync" | "async"): T {
    if (value === null || value === undefined) return value;
    const methods = value as Record<symbol, unknown>;
    const method = (kind === "async" ? methods[Symbol.asyncDispose] : undefined) ?? methods[Symbol.dispose];
    if (typeof method !== "function") throw new TypeError("a value declared with `using` has no [Symbol.dispose]()");
    this.#disposables.push(() => method.call(value));
    return value;
  }

  /** Disposes of what was declared with `using`, the last first, and throws the last error there was. */
  async dispose(): Promise<void> {
    let failed: { error: unknown } | undefined;
    for (const dispose of this.#disposables.splice(0).reverse()) {
      try {
        await dispose();
      } catch (error) {
        failed = { error };
      }
    }
    if (failed) throw failed.error;
  }

  /** A promise that settles as the given one does, or rejects when the cell is interrupted. */
  untilInterrupted<T>(value: T, call: number): Promise<Awaited<T>> {
    return new Promise((resolve, reject) => {
      this.#waits.set(reject, call);
      Promise.resolve(value)
        .finally(() => this.#waits.delete(reject))
        .then(resolve, reject);
    });
  }

  /** Ends the cell's code, now and whenever it is called back. */
  interrupt(reason: Error): void {
    if (this.interrupted) return;
    this.interrupted = true;
    this.failed = true;
    this.cleanupEnd = performance.now() + cleanupMs;
    this.unwound = this.#unwind(reason);
  }

  /** Ends what the cell waits for: a function before the one that called it, with its `finally` blocks. */
  async #unwind(reason: Error): Promise<void> {
    for (;;) {
      await new Promise((resolve) => setImmediate(resolve));
      const inTime = () => performance.now() < this.cleanupEnd;
      while (this.cleanups > 0 && inTime()) await new Promise((resolve) => setTimeout(resolve, 5));
      const [last] = [...this.#waits].sort(([, a], [, b]) => b - a);
      if (!last || !inTime()) return;
      const [reject] = last;
      this.#waits.delete(reject);
      reject(reason);
    }
  }

  abort(reason: Error): void {
    this.#controller.abort(reason);
  }
}

/** Follows the code of a cell through timers and promises. */
export const ownership = new AsyncLocalStorage<Owner>();

/** The cells whose end the host waits for: one of the shell, and one of each subshell. */
export const runningCells = new Map<number, CellRun>();

let latest: CellRun | undefined;

/** Makes a cell the one that unowned output goes to. */
export function setLatest(cell: CellRun): void {
  latest = cell;
}

/** The cell that the running code belongs to: its own, else the latest. */
export function currentCell(): CellRun | undefined {
  return ownership.getStore()?.cell ?? latest;
}

/** The id of {@link currentCell}, 0 before any cell. */
export function currentCellId(): number {
  return currentCell()?.id ?? 0;
}

let notebookName = "";
const made = new Map<number, number>();

/** Ids are of this notebook: a page may show several. */
export function nameNotebook(path: string | undefined): void {
  notebookName = path === undefined ? "" : basename(path);
}

/**
 * An id of something that is shown, 32 hexadecimal digits. It is no random one, so that a notebook that is run again from
 * its beginning is saved as it was.
 * @param content tells apart what has the same place in two lives of the kernel
 */
export function newId(content = ""): string {
  const cell = currentCellId();
  const count = (made.get(cell) ?? 0) + 1;
  made.set(cell, count);
  return createHash("sha256")
    .update(JSON.stringify([notebookName, cell, count, content]))
    .digest("hex")
    .slice(0, 32);
}
