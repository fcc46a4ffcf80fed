import {
  formatCount,
  formatDuration,
  LiveOutput,
  lineChart,
  notebook,
  type Series,
  vegaLiteMime,
} from "../display/index.ts";
import type { StepEvent } from "./options.ts";

/** Wait between two drawings, in milliseconds: often enough to move, seldom enough to cost nothing. */
const interval = 700;

/** Shows a training as it goes: a chart of the losses and a line of figures in a notebook, the line in a terminal. */
export class TrainingMonitor {
  readonly #title: string;
  readonly #chart = new LiveOutput();
  readonly #line = new LiveOutput();
  readonly #train: { x: number; y: number }[] = [];
  readonly #eval: { x: number; y: number }[] = [];
  #start = performance.now();
  #drawn = Number.NEGATIVE_INFINITY;
  #first = 0;
  #last: StepEvent | undefined;

  constructor(title: string) {
    this.#title = title;
  }

  /** Say what goes on before the first step. */
  announce(text: string): void {
    this.#showLine(text);
  }

  step(event: StepEvent): void {
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

  /** The last word: `text` takes the place of the time left. */
  finish(text: string): void {
    this.#draw();
    this.#showLine(`${this.#figures()} · ${text}`);
    if (!notebook() && process.stderr.isTTY) process.stderr.write("\n");
  }

  #draw(): void {
    this.#drawn = performance.now();
    const series: Series[] = [{ name: "train loss", points: this.#train }];
    if (this.#eval.length > 0) series.push({ name: "validation loss", points: this.#eval });
    const chart = lineChart(series, { title: this.#title, yTitle: "loss" });
    this.#chart.show({ [vegaLiteMime]: chart, "text/plain": `${this.#title}: loss` });
    this.#showLine(`${this.#figures()} · ${this.#timeLeft()}`);
  }

  #figures(): string {
    if (!this.#last) return "";
    const { step, totalSteps, loss, tokensPerSecond } = this.#last;
    const validation = this.#eval.at(-1);
    const evaluated = validation ? ` · validation loss ${validation.y.toFixed(4)}` : "";
    return `step ${step}/${totalSteps} · loss ${loss.toFixed(4)}${evaluated} · ${formatCount(tokensPerSecond)} tokens/s`;
  }

  #timeLeft(): string {
    if (!this.#last) return "";
    const { step, totalSteps } = this.#last;
    const perStep = (performance.now() - this.#start) / 1000 / Math.max(1, step - this.#first - 0.5);
    return `${formatDuration(perStep * (totalSteps - step))} left`;
  }

  #showLine(text: string): void {
    if (notebook()) {
      const done = this.#last ? (100 * this.#last.step) / this.#last.totalSteps : 0;
      const bar = `<progress max="100" value="${done.toFixed(1)}" style="width:160px;vertical-align:middle"></progress>`;
      this.#line.show({ "text/html": `<div>${bar} <code>${text}</code></div>`, "text/plain": text });
    } else if (process.stderr.isTTY) {
      process.stderr.write(`\r\u001b[K${text}`);
    }
  }
}
