/**
 * Returns a signal for a running notebook. The first Ctrl-C, or a job scheduler's signal, interrupts the cell, so that its
 * training is saved and the notebook is written; the second ends the process.
 */
export function interruption(): AbortSignal {
  const controller = new AbortController();
  const signals = ["SIGINT", "SIGTERM"] as const;
  const end = () => process.exit(130);
  const interrupt = () => {
    process.stderr.write("\nInterrupting: training stops after this step. Press Ctrl-C again to exit immediately.\n");
    controller.abort();
    for (const signal of signals) process.off(signal, interrupt).on(signal, end);
  };
  for (const signal of signals) process.on(signal, interrupt);
  return controller.signal;
}
