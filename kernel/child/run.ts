/** Executing cells. */
import { types } from "node:util";
import { Script } from "node:vm";
import type { ExecutedCell, MimeBundle } from "../../src/display/notebook.ts";
import type { ExecuteOrder, ExpressionResult, ShownError } from "../host/protocol.ts";
import { breakable } from "./breakable.ts";
import { CellRun, ownership, runningCells, setLatest } from "./cells.ts";
import { runCommand } from "./commands.ts";
import { bundleOf } from "./display.ts";
import { showError } from "./errors.ts";
import { beginCell, endCell, Interrupted, isInterruption, isRaisedFor, markInterrupted, shared } from "./interrupt.ts";
import { executed } from "./notebook.ts";
import { send } from "./pipes.ts";
import { initializedSince, prepareDeclarations } from "./scope.ts";
import { slots } from "./slots.ts";
import { cellFile, registerCell } from "./stacks.ts";
import { flushStreams, print } from "./streams.ts";

/** Functions that end the wait for a cell, whether or not its code has stopped. */
const abandonCallbacks = new Map<number, (error: Error) => void>();

/**
 * Executes a cell and sends the outcome to the host. Never throws.
 * @param folder the notebook's folder
 */
export async function execute(order: ExecuteOrder, folder: string): Promise<void> {
  const cell = new CellRun(order.cell, order.label, order.allowStdin);
  setLatest(cell);
  registerCell(order.cell, order);
  const entry: ExecutedCell = {
    ...(order.cellId === undefined ? {} : { id: order.cellId }),
    executionCount: order.executionCount,
    source: order.source,
  };
  if (order.visible) executed.push(entry);
  const before = prepareDeclarations(order.declared);
  if (!order.inSubshell) beginCell(order.cell);
  const expressions: Record<string, ExpressionResult> = {};
  let error: ShownError | undefined;
  const abandoned = new Promise<never>((_resolve, reject) => abandonCallbacks.set(order.cell, reject));
  abandoned.catch(() => {});
  const orAbandoned = <T>(value: T) => Promise.race([value, abandoned]);
  runningCells.set(order.cell, cell);
  try {
    await ownership.run(cell.owner, async () => {
      for (const command of order.commands) await orAbandoned(runCommand(command, folder));
      const clock = order.time ? startClock() : undefined;
      try {
        const result = await orAbandoned(run(order.code, cellFile(order.cell)));
        if (clock) print("stdout", clock());
        if (order.visible) await orAbandoned(showResult(cell, result));
        await orAbandoned(Promise.all(cell.pending));
      } catch (thrown) {
        cell.failed = true;
        // A library call that the signal interrupted throws this.
        if (isInterruption(thrown)) markInterrupted(cell);
        throw thrown;
      } finally {
        await dispose(cell, abandoned);
      }
      // Wait one turn of the event loop, so that unhandled rejections are reported before the cell ends.
      await orAbandoned(new Promise((resolve) => setImmediate(resolve)));
      for (const { name, code } of order.expressions) expressions[name] = await orAbandoned(evaluate(code));
    });
  } catch (thrown) {
    error = showError(isInterruptedCommand(thrown, order.cell) ? new Interrupted() : thrown);
    entry.failed = true;
  }
  runningCells.delete(order.cell);
  abandonCallbacks.delete(order.cell);
  if (!order.inSubshell) endCell(order.cell);
  flushStreams();
  send({ type: "done", cell: order.cell, error, bound: initializedSince(before), expressions });
}

/** Disposes the cell's `using` declarations. After an interrupt, the deadline of its `finally` blocks applies. */
function dispose(cell: CellRun, abandoned: Promise<never>): Promise<void> {
  if (!cell.interrupted) return Promise.race([cell.dispose(), abandoned]);
  const timeout = new Promise<void>((resolve) => {
    setTimeout(resolve, Math.max(0, cell.cleanupEnd - performance.now())).unref();
  });
  return ownership.run(cell.cleanupOwner, () => Promise.race([cell.dispose(), timeout]));
}

/** Returns a function that formats the elapsed time like IPython's `%%time`. */
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

/** Whether the error is from a subprocess that ended because of the interrupt's SIGINT, before the cell did. */
function isInterruptedCommand(thrown: unknown, cell: number): boolean {
  if (!types.isNativeError(thrown)) return false;
  return Object.getOwnPropertyDescriptor(thrown, "signal")?.value === "SIGINT" && isRaisedFor(cell);
}

// With breakOnSigint, SIGINT stops synchronous code at once, including library code.
function run(code: string, filename: string): unknown {
  const script = new Script(code, { filename });
  return breakable(() => script.runInThisContext());
}

/** Wraps the value of a cell's last expression, because an async function would await a returned promise. */
export class CellResult {
  readonly #value: unknown;

  constructor(value: unknown) {
    this.#value = value;
  }

  /** The MIME bundle of the value. A promise that settles within 200 ms is replaced by its value. */
  async bundle(): Promise<MimeBundle | undefined> {
    const value = this.#value;
    if (!types.isPromise(value)) return bundleOf(value);
    const isPending = Symbol("pending");
    const timeout = new Promise((resolve) => setTimeout(resolve, promiseMs, isPending));
    // The value of a promise is never a thenable, so it can be awaited.
    const settled = await Promise.race([value, timeout]);
    if (settled !== isPending) return bundleOf(settled);
    // Promise.race() handles rejections; this makes a later one unhandled again, so that it is reported.
    void value.then();
    // Not `inspect`, which would show internal symbols that Node.js adds to the promise.
    return { "text/plain": "Promise { <pending> }" };
  }
}

/** How long a cell waits for a result that is a promise before it displays it as pending. */
const promiseMs = 200;

async function showResult(cell: CellRun, result: unknown): Promise<void> {
  const data = result instanceof CellResult ? await result.bundle() : undefined;
  if (!data) return;
  flushStreams();
  send({ type: "result", cell: cell.id, data, metadata: {} });
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

/** Interrupts a running cell from the main thread's event loop, which means that the cell is awaiting something. */
export function interrupt(id: number): void {
  const cell = runningCells.get(id);
  if (!cell) {
    // If nothing is running, clear the flag, which no code has checked.
    if (runningCells.size === 0) shared[slots.flag] = 0;
    return;
  }
  const reason = new Interrupted(cell.owner);
  if (cell.handlesInterrupt) {
    shared[slots.flag] = 0;
    cell.abort(reason);
    return;
  }
  // A second interrupt skips the wait for `finally` blocks.
  if (cell.signal.aborted) cell.cleanupEnd = 0;
  markInterrupted(cell);
  cell.abort(reason);
  void cell.unwound?.then(() => abandonCallbacks.get(id)?.(reason));
}
