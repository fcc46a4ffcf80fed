import type { Events } from "./events.ts";
import type { RunStore } from "./store/store.ts";

/** Milliseconds without a heartbeat after which a run is lost. Clients send one every 15 seconds. */
const LOST_MS = 40_000;
/** Milliseconds between checks. */
const CHECK_MS = 10_000;

/**
 * Marks runs as failed whose process no longer sends heartbeats, because it was killed or its machine stopped.
 * @returns a function that ends the checks
 */
export function watchHeartbeats(
  runs: Pick<RunStore, "lose">,
  events: Events,
  { lostMs = LOST_MS, checkMs = CHECK_MS } = {},
): () => void {
  // While this process did not run, it received no heartbeats: after a start or a pause clients get their time again.
  let since = Date.now();
  let last = since;
  const check = async (): Promise<void> => {
    const now = Date.now();
    if (now - last > 2 * checkMs) since = now;
    last = now;
    if (now - since < lostMs) return;
    for (const { experimentId, id } of await runs.lose(now - lostMs)) {
      events.publish({ type: "run", experimentId, runId: id, change: "updated" });
    }
  };
  const timer = setInterval(() => {
    // A database that does not answer now is asked again with the next check.
    check().catch((error: unknown) => process.stderr.write(`Heartbeats were not checked: ${String(error)}\n`));
  }, checkMs);
  timer.unref();
  return () => clearInterval(timer);
}
