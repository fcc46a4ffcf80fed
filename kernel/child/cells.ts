/** The cells of this process: which one runs, and which one a piece of code belongs to. */
import { AsyncLocalStorage } from "node:async_hooks";

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
  /** The cell was given up: its code must not go on. */
  dead = false;
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

  abort(reason: Error): void {
    this.#controller.abort(reason);
  }
}

/** Follows the code of a cell through timers and promises. */
export const ownership = new AsyncLocalStorage<CellRun>();

let latest: CellRun | undefined;

/** Makes a cell the one that unowned output goes to. */
export function setLatest(cell: CellRun): void {
  latest = cell;
}

/** The cell that the running code belongs to: its own, else the latest. */
export function currentCell(): CellRun | undefined {
  return ownership.getStore() ?? latest;
}

/** The id of {@link currentCell}, 0 before any cell. */
export function currentCellId(): number {
  return currentCell()?.id ?? 0;
}
