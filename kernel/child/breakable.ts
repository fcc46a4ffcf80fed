/**
 * Runs code that SIGINT can interrupt.
 *
 * With `breakOnSigint`, Node.js removes the SIGINT listeners before it runs a script and restores them afterwards. A signal
 * during these changes ends the process. The watcher thread therefore sends signals only in the states `outside` and
 * `inside`, and the main thread waits for a signal that is being sent before it changes the state.
 */
import { Script } from "node:vm";
import { shared } from "./interrupt.ts";
import { breakStates, slots } from "./slots.ts";

const current: { work?: () => unknown } = {};
const key = "anneal.breakable";
Object.defineProperty(globalThis, Symbol.for(key), { value: () => current.work?.() });
const script = new Script(`globalThis[Symbol.for("${key}")]()`, { filename: import.meta.url });

const { outside, inside, changing, sending } = breakStates;
let depth = 0;

/**
 * Calls a function that SIGINT or a timeout can interrupt, including the libraries that it calls.
 * @throws what the function throws, or Error with the code ERR_SCRIPT_EXECUTION_INTERRUPTED or
 *   ERR_SCRIPT_EXECUTION_TIMEOUT
 */
export function breakable<T>(work: () => T, timeoutMs?: number): T {
  const outer = current.work;
  current.work = depth === 0 ? () => guarded(work) : work;
  const options = { breakOnSigint: true, ...(timeoutMs === undefined ? {} : { timeout: timeoutMs }) };
  if (depth === 0) enter();
  depth++;
  try {
    return script.runInThisContext(options) as T;
  } catch (error) {
    // The signal interrupted only this call; enclosing calls continue.
    if (depth > 1 && (error as NodeJS.ErrnoException | null)?.code === "ERR_SCRIPT_EXECUTION_INTERRUPTED") {
      Atomics.compareExchange(shared, slots.breaking, sending, inside);
    }
    throw error;
  } finally {
    depth--;
    current.work = outer as () => unknown;
    if (depth === 0) Atomics.store(shared, slots.breaking, outside);
  }
}

function enter(): void {
  while (Atomics.compareExchange(shared, slots.breaking, outside, changing) !== outside) {
    // The watcher thread is sending a signal, which takes microseconds.
  }
}

function guarded<T>(work: () => T): T {
  Atomics.store(shared, slots.breaking, inside);
  try {
    return work();
  } finally {
    // If a signal is being sent, it ends this loop.
    while (Atomics.compareExchange(shared, slots.breaking, inside, changing) === sending);
  }
}
