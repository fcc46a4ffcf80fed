import { formatDuration, LiveOutput, lineChart, notebook, type Series, vegaLiteMime } from "../display/index.ts";

/** A step as the monitor shows it. */
export interface ShownStep {
  /** Steps done, from 1. */
  step: number;
  /** Omitted when the number of steps is not known. */
  totalSteps?: number;
  loss: number;
  /** Speed as text: "12.3k tokens/s". */
  rate: string;
}

/** Minimum time between two redraws, in milliseconds. */
const interval = 700;

/** Shows training progress: a chart of the losses and a status line in a notebook, only the status line in a terminal. */
export class TrainingMonitor {
  readonly #title: string;
  readonly #chart = new LiveOutput();
  readonly #line = new LiveOutput();
  readonly #train: { x: number; y: number }[] = [];
  readonly #eval: { x: number; y: number }[] = [];
  #start = performance.now();
  #drawn = Number.NEGATIVE_INFINITY;
  #first = 0;
  #last: ShownStep | undefined;

  constructor(title: string) {
    this.#title = title;
  }

  /** Shows a message before the first step. */
  announce(text: string): void {
    this.#showLine(text);
  }

  step(event: ShownStep): void {
    if (!this.#last) {
      this.#first = event.step - 1;
      this.#start = performance.now();
    }
    this.#last = event;
    this.#train.push({ x: event.step, y: event.loss });
    if (performance.now() - this.#drawn >= interval || event.step === event.totalSteps) this.#draw();
  }

  evaluated(step: number, loss: number): void {
    this.#eval.push({ x: step, y: loss });
    this.#draw();
  }

  /** Draws the last state, with `text` in place of the remaining time. */
  finish(text: string): void {
    // Without training or evaluation steps there is no curve to show.
    if (this.#last || this.#eval.length > 0) this.#draw();
    this.#showLine(this.#last ? `${this.#figures()} · ${text}` : `${this.#title}: ${text}`);
    if (!notebook() && process.stderr.isTTY) process.stderr.write("\n");
  }

  #draw(): void {
    this.#drawn = performance.now();
    const series: Series[] = [{ name: "train loss", points: this.#train }];
    if (this.#eval.length > 0) series.push({ name: "validation loss", points: this.#eval });
    const chart = lineChart(series, { title: this.#title, yTitle: "loss" });
    this.#chart.show({ [vegaLiteMime]: chart, "text/plain": `${this.#title}: loss` });
    this.#showLine(`${this.#figures()}${this.#timeLeft()}`);
  }

  #figures(): string {
    if (!this.#last) return "";
    const { step, totalSteps, loss, rate } = this.#last;
    const validation = this.#eval.at(-1);
    const evaluated = validation ? ` · validation loss ${validation.y.toFixed(4)}` : "";
    const progress = totalSteps === undefined ? step : `${step}/${totalSteps}`;
    return `step ${progress} · loss ${loss.toFixed(4)}${evaluated} · ${rate}`;
  }

  #timeLeft(): string {
    if (this.#last?.totalSteps === undefined) return "";
    const { step, totalSteps } = this.#last;
    const perStep = (performance.now() - this.#start) / 1000 / Math.max(1, step - this.#first - 0.5);
    return ` · ${formatDuration(perStep * (totalSteps - step))} left`;
  }

  #bar(): string {
    const { step = 0, totalSteps = this.#last ? undefined : 1 } = this.#last ?? {};
    if (totalSteps === undefined) return "";
    const done = ((100 * step) / totalSteps).toFixed(1);
    return `<progress max="100" value="${done}" style="width:160px;vertical-align:middle"></progress> `;
  }

  #showLine(text: string): void {
    if (notebook()) {
      this.#line.show({ "text/html": `<div>${this.#bar()}<code>${text}</code></div>`, "text/plain": text });
    } else if (process.stderr.isTTY) {
      process.stderr.write(`\r\u001b[K${text}`);
    }
  }
}
