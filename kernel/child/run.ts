/** Running one cell after another. */
import { types } from "node:util";
import { Script } from "node:vm";
import type { ExecutedCell, MimeBundle } from "../../src/display/notebook.ts";
import type { ExecuteOrder, ExpressionResult, ShownError } from "../host/protocol.ts";
import { breakable } from "./breakable.ts";
import { CellRun, ownership, runningCells, setLatest } from "./cells.ts";
import { doCommand } from "./commands.ts";
import { bundleOf } from "./display.ts";
import { showError } from "./errors.ts";
import { beginCell, endCell, Interrupted, isInterruption, isRaisedFor, markInterrupted, shared } from "./interrupt.ts";
import { executed } from "./notebook.ts";
import { tell } from "./pipes.ts";
import { boundSince, prepareNames } from "./scope.ts";
import { slots } from "./slots.ts";
import { cellFile, rememberCell } from "./stacks.ts";
import { flushStreams, print } from "./streams.ts";

/** What ends the waiting for a cell, whatever its code does. */
const giveUps = new Map<number, (error: Error) => void>();

/**
 * Runs a cell and tells the host what came of it. Never throws.
 * @param folder the notebook's
 */
export async function execute(order: ExecuteOrder, folder: string): Promise<void> {
  const cell = new CellRun(order.cell, order.label, order.allowStdin);
  setLatest(cell);
  rememberCell(order.cell, order);
  const entry: ExecutedCell = {
    ...(order.cellId === undefined ? {} : { id: order.cellId }),
    executionCount: order.executionCount,
    source: order.source,
  };
  if (order.visible) executed.push(entry);
  const before = prepareNames(order.declared);
  if (!order.aside) beginCell(order.cell);
  const expressions: Record<string, ExpressionResult> = {};
  let error: ShownError | undefined;
  const givenUp = new Promise<never>((_resolve, reject) => giveUps.set(order.cell, reject));
  givenUp.catch(() => {});
  const orGivenUp = <T>(value: T) => Promise.race([value, givenUp]);
  runningCells.set(order.cell, cell);
  try {
    await ownership.run(cell.owner, async () => {
      for (const command of order.commands) await orGivenUp(doCommand(command, folder));
      const clock = order.time ? startClock() : undefined;
      try {
        const result = await orGivenUp(run(order.code, cellFile(order.cell)));
        if (clock) print("stdout", clock());
        if (order.visible) await orGivenUp(showResult(cell, result));
        await orGivenUp(Promise.all(cell.pending));
      } catch (thrown) {
        cell.failed = true;
        // A library that was broken by a signal ends here.
        if (isInterruption(thrown)) markInterrupted(cell);
        throw thrown;
      } finally {
        await dispose(cell, givenUp);
      }
      // One turn of the event loop: a promise that was rejected and left alone is told before the cell ends.
      await orGivenUp(new Promise((resolve) => setImmediate(resolve)));
      for (const { name, code } of order.expressions) expressions[name] = await orGivenUp(evaluate(code));
    });
  } catch (thrown) {
    error = showError(isBrokenCommand(thrown, order.cell) ? new Interrupted() : thrown);
    entry.failed = true;
  }
  runningCells.delete(order.cell);
  giveUps.delete(order.cell);
  if (!order.aside) endCell(order.cell);
  flushStreams();
  tell({ type: "done", cell: order.cell, error, bound: boundSince(before), expressions });
}

/** Disposes of what a cell declared with `using`; after an interrupt, in the time that is left to its `finally` blocks. */
function dispose(cell: CellRun, givenUp: Promise<never>): Promise<void> {
  if (!cell.interrupted) return Promise.race([cell.dispose(), givenUp]);
  const timeout = new Promise<void>((resolve) => {
    setTimeout(resolve, Math.max(0, cell.cleanupEnd - performance.now())).unref();
  });
  return ownership.run(cell.cleanupOwner, () => Promise.race([cell.dispose(), timeout]));
}

/** Returns a function that tells the time since, as IPython words it. */
function startClock(): () => string {
  const cpu = process.cpuUsage();
  const start = performance.now();
  return () => {
    const wall = performance.now() - start;
    const { user, system } = process.cpuUsage(cpu);
    const [u = "", s = "", total = "", w = ""] = [user / 1e3, system / 1e3, (user + system) / 1e3, wall].map(duration);
    return `CPU times: user ${u}, sys: ${s}, total: ${total}\nWall time: ${w}\n`;
  };
}

function duration(ms: number): string {
  if (ms < 1) return `${Math.round(ms * 1000)} µs`;
  if (ms < 1000) return `${Number(ms.toPrecision(3))} ms`;
  if (ms < 60_000) return `${Number((ms / 1000).toPrecision(3))} s`;
  const seconds = Math.round(ms / 1000);
  return `${Math.floor(seconds / 60)} min ${seconds % 60} s`;
}

/** Whether a command that the cell waited for got the signal that was meant for the cell, and was faster. */
function isBrokenCommand(thrown: unknown, cell: number): boolean {
  if (!types.isNativeError(thrown)) return false;
  return Object.getOwnPropertyDescriptor(thrown, "signal")?.value === "SIGINT" && isRaisedFor(cell);
}

// A script that is interrupted by signal ends at once where it is synchronous, libraries included.
function run(code: string, filename: string): unknown {
  const script = new Script(code, { filename });
  return breakable(() => script.runInThisContext());
}

/** Holds the value of a cell's last expression: a promise resolved with the value itself would wait for it. */
export class CellResult {
  readonly #value: unknown;

  constructor(value: unknown) {
    this.#value = value;
  }

  /** The forms of the value, or of what it is a promise of, where that is known soon. */
  async bundle(): Promise<MimeBundle | undefined> {
    const value = this.#value;
    if (!types.isPromise(value)) return bundleOf(value);
    const isPending = Symbol("pending");
    const soon = new Promise((resolve) => setTimeout(resolve, promiseMs, isPending));
    // The value of a promise is no thenable, so it can be handed on.
    const settled = await Promise.race([value, soon]);
    if (settled !== isPending) return bundleOf(settled);
    // It is told when it rejects, as of any promise that nobody waits for.
    void value.then();
    // Not by `inspect`: it would show what Node.js itself keeps with the promise.
    return { "text/plain": "Promise { <pending> }" };
  }
}

/** How long a cell waits for a promise that is its result before it shows it as pending. */
const promiseMs = 200;

async function showResult(cell: CellRun, result: unknown): Promise<void> {
  const data = result instanceof CellResult ? await result.bundle() : undefined;
  if (!data) return;
  flushStreams();
  tell({ type: "result", cell: cell.id, data, metadata: {} });
}

async function evaluate(code: string): Promise<ExpressionResult> {
  try {
    const result = await run(code, "user_expression");
    const data = result instanceof CellResult ? await result.bundle() : undefined;
    return { status: "ok", data: data ?? { "text/plain": "undefined" }, metadata: {} };
  } catch (thrown) {
    return { status: "error", ...showError(thrown) };
  }
}

/** Interrupts the running cell, if it is that one, from the main thread's own course: the cell waits for something. */
export function interrupt(id: number): void {
  const cell = runningCells.get(id);
  if (!cell) {
    // Nothing runs that could have seen the flag.
    if (runningCells.size === 0) shared[slots.flag] = 0;
    return;
  }
  const reason = new Interrupted(cell.owner);
  if (cell.asked) {
    shared[slots.flag] = 0;
    cell.abort(reason);
    return;
  }
  // Who interrupts again does not want to wait for the `finally` blocks.
  if (cell.signal.aborted) cell.cleanupEnd = 0;
  markInterrupted(cell);
  cell.abort(reason);
  void cell.unwound?.then(() => giveUps.get(id)?.(reason));
}
