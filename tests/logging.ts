// `node logging.js '<json>'`: a process for tests of crashes and failures, which only logs. It prints each step after logging
// it. The logged data depends only on the step, so that tests know what must arrive.
import { performance } from "node:perf_hooks";
import { setTimeout as pause } from "node:timers/promises";
import { startRun } from "../src/track/index.ts";

/** Options of the process. */
export interface LoggingOrder {
  /** The run to continue. */
  id?: string;
  first: number;
  last: number;
  /** Pause between steps in milliseconds; 0 logs a thousand steps per turn of the event loop. */
  pause: number;
  /** Metrics per step. */
  metrics: number;
  /** Number of steps between extras (a tag, a parameter and a file); 0 for none. */
  extras: number;
  /** Moves the clock at each step: by hours back and forth, or forward by a number of milliseconds. */
  clock?: "jumps" | number;
  /** Wait until the tracker has everything, instead of ending the run. */
  stay?: boolean;
}

/** The value of a metric at a step. */
export const valueAt = (step: number, metric: number): number => Math.sin(step) + metric;
/** The file that a step logs. */
export const fileAt = (step: number): string => `what step ${step} has to say\n`.repeat(500 + step);

if (process.argv[1]?.endsWith("logging.js")) await log(JSON.parse(process.argv[2]) as LoggingOrder);

async function log({ id, first, last, pause: ms, metrics, extras, clock, stay }: LoggingOrder): Promise<void> {
  const say = (text: string) => process.stdout.write(`${text}\n`);
  const start = Date.now();
  let moved = 0;
  if (clock !== undefined) Date.now = () => start + moved;
  const run = startRun({ name: "logged", experiment: "logging", ...(id === undefined ? {} : { id }) });
  say(`run ${run.id}`);
  let slowest = 0;
  for (let step = first; step <= last; step++) {
    moved = clock === "jumps" ? Math.round(1e7 * Math.sin(step * step)) : step * (clock ?? 0);
    const values = Object.fromEntries(Array.from({ length: metrics }, (_, i) => [`m${i}`, valueAt(step, i)]));
    const before = performance.now();
    run.logMetrics(values, step);
    slowest = Math.max(slowest, performance.now() - before);
    if (ms > 0 || step % 1000 === 0) say(`step ${step}`);
    if (extras > 0 && step % extras === 0) {
      run.logParams({ [`param ${step}`]: step });
      run.setTags({ [`tag ${step}`]: String(step) });
      run.logText(fileAt(step), `files/${step}.txt`);
      say(`extras ${step}`);
    }
    if (ms > 0 || step % 1000 === 0) await pause(ms);
  }
  const memory = () => Math.round(process.memoryUsage.rss() / 2 ** 20);
  say(`logged, slowest ${slowest.toFixed(1)} ms, memory ${memory()} MiB`);
  if (stay) {
    const began = performance.now();
    while (!(await run.flush())) say("not yet");
    say(`arrived in ${Math.round(performance.now() - began)} ms, memory ${memory()} MiB`);
  }
  await run.end();
  say("ended");
}
