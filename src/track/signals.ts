/** Ends the active run when a signal ends the process. */

/** Milliseconds after a signal within which an exit is taken for its effect. */
const effectMs = 60_000;

/** A run, as seen from here. */
interface Killable {
  /** Records that the run was killed now, and sends what it can. */
  kill(): Promise<void>;
  /** The same when the process is about to exit: only records it. */
  recordKill(): void;
}

/**
 * Watches for signals while a run is active.
 *
 * If nothing else in the process handles a signal, the run ends and then the signal ends the process, as it would have. If
 * something does, such as a program that saves a checkpoint first, it decides: the run is recorded as killed only if the
 * process then exits while it is active.
 * @param signals signals that ask the process to end
 * @returns a function that ends the watch
 */
export function watchSignals(run: Killable, signals: readonly NodeJS.Signals[]): () => void {
  let askedAt = Number.NEGATIVE_INFINITY;
  const handlers = signals.map((signal) => {
    const handle = (): void => {
      if (process.listenerCount(signal) > 1) {
        askedAt = performance.now();
        return;
      }
      void run.kill().finally(() => {
        stop();
        process.kill(process.pid, signal);
      });
      // The same signal once more ends the process at once.
      process.off(signal, handle);
    };
    process.on(signal, handle);
    return [signal, handle] as const;
  });
  const exit = (): void => {
    if (performance.now() - askedAt < effectMs) run.recordKill();
  };
  process.on("exit", exit);
  function stop(): void {
    for (const [signal, handle] of handlers) process.off(signal, handle);
    process.off("exit", exit);
  }
  return stop;
}
