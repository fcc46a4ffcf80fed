import { formatDuration, LiveOutput } from "./live.ts";
import { notebook } from "./notebook.ts";

/** Minimum time between two updates, in milliseconds. */
const interval = 200;

/** A progress line in a notebook or a terminal. Shows nothing for work of less than half a second. */
export class Progress {
  readonly #title: string;
  readonly #output = new LiveOutput();
  readonly #start = performance.now();
  #drawn = 0;

  constructor(title: string) {
    this.#title = title;
  }

  /** @param unit unit of the counts: "tensors", "rows" */
  show(done: number, total: number, unit: string): void {
    const now = performance.now();
    if (now - this.#start < 500 || now - this.#drawn < interval) return;
    this.#drawn = now;
    const left = done > 0 ? ` · ${formatDuration((((now - this.#start) / done) * (total - done)) / 1000)} left` : "";
    this.#print(`${this.#title}: ${done}/${total} ${unit}${left}`);
  }

  /** Shows the end, if any progress was shown. */
  done(text = "done"): void {
    if (this.#drawn === 0) return;
    this.#print(`${this.#title}: ${text} in ${formatDuration((performance.now() - this.#start) / 1000)}`);
    if (!notebook() && process.stderr.isTTY) process.stderr.write("\n");
  }

  #print(text: string): void {
    if (notebook()) this.#output.show({ "text/plain": text });
    else if (process.stderr.isTTY) process.stderr.write(`\r\u001b[K${text}`);
  }
}
