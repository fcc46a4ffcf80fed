/**
 * Runs code that a signal may break.
 *
 * Node.js takes the listeners of SIGINT away while a script runs that the signal may break, and puts them back afterwards.
 * A signal that arrives in between ends the process. So the watching thread sends one only in the states `outside` and
 * `inside`, and code that finds that a signal is on its way waits for it before it goes on.
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
 * Calls a function, libraries it calls included, until it returns, a signal breaks it, or its time is over.
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
    // The signal broke this call; the ones around it go on.
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
    // The watching thread is sending a signal: a matter of microseconds.
  }
}

function guarded<T>(work: () => T): T {
  Atomics.store(shared, slots.breaking, inside);
  try {
    return work();
  } finally {
    // A signal that is on its way ends this loop.
    while (Atomics.compareExchange(shared, slots.breaking, inside, changing) === sending);
  }
}
