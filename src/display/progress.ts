import { formatDuration, LiveOutput } from "./live.ts";
import { notebook } from "./notebook.ts";

/** Wait between two drawings, in milliseconds. */
const interval = 200;

/** A line that says how far some work is, in a notebook or a terminal. Work of under half a second shows nothing. */
export class Progress {
  readonly #title: string;
  readonly #output = new LiveOutput();
  readonly #start = performance.now();
  #drawn = 0;

  constructor(title: string) {
    this.#title = title;
  }

  /** @param unit what is counted: "tensors", "rows" */
  show(done: number, total: number, unit: string): void {
    const now = performance.now();
    if (now - this.#start < 500 || now - this.#drawn < interval) return;
    this.#drawn = now;
    const left = done > 0 ? ` · ${formatDuration((((now - this.#start) / done) * (total - done)) / 1000)} left` : "";
    this.#print(`${this.#title}: ${done}/${total} ${unit}${left}`);
  }

  /** The last word, when anything was shown. */
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
