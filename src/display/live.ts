import { randomUUID } from "node:crypto";
import { type MimeBundle, notebook } from "./notebook.ts";

/** An output of the running cell that can be replaced. Shows nothing outside a notebook. */
export class LiveOutput {
  readonly #id = randomUUID();
  #shown = false;

  show(bundle: MimeBundle): void {
    notebook()?.display(bundle, { displayId: this.#id, update: this.#shown });
    this.#shown = true;
  }
}

/** Formats seconds as `1:05` or `2:03:09`. */
export function formatDuration(seconds: number): string {
  const whole = Math.max(0, Math.round(seconds));
  const [hours, minutes, rest] = [Math.floor(whole / 3600), Math.floor((whole % 3600) / 60), whole % 60];
  const two = (n: number) => String(n).padStart(2, "0");
  return hours > 0 ? `${hours}:${two(minutes)}:${two(rest)}` : `${minutes}:${two(rest)}`;
}

/** Formats a count as `12.3k` or `4.21M`. */
export function formatCount(n: number): string {
  if (n >= 1e9) return `${(n / 1e9).toPrecision(3)}B`;
  if (n >= 1e6) return `${(n / 1e6).toPrecision(3)}M`;
  return n >= 1e4 ? `${(n / 1e3).toPrecision(3)}k` : String(Math.round(n));
}
