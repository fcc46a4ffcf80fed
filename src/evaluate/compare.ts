import { Table } from "../display/index.ts";
import { addToRun } from "../track/index.ts";
import { type EvaluationReport, metricsOf } from "./evaluate.ts";

interface Measure {
  title: string;
  value(report: EvaluationReport): number | undefined;
  show(value: number): string;
  /** Whether a larger value is better. */
  up: boolean;
}

const percent = (value: number) => `${(100 * value).toFixed(1)} %`;

const measures: readonly Measure[] = [
  { title: "loss", value: ({ loss }) => loss, show: (v) => v.toFixed(4), up: false },
  { title: "perplexity", value: ({ perplexity }) => perplexity, show: (v) => v.toPrecision(4), up: false },
  { title: "token accuracy", value: ({ tokenAccuracy }) => tokenAccuracy, show: percent, up: true },
  { title: "ROUGE-L", value: (report) => report.rougeL, show: percent, up: true },
];

/**
 * Returns a table that compares a model before and after training. Logs both columns to the run that trained the model, as
 * `before/test_loss`, `after/test_loss` and so on, with the name of the reports.
 * @throws RangeError when the reports are of different data
 */
export async function compare(before: EvaluationReport, after: EvaluationReport): Promise<Table> {
  if (before.digest !== after.digest) {
    const digests = before.dataset === after.dataset ? " (of the same name, with other rows)" : "";
    throw new RangeError(`These reports are of different data: ${before.dataset} and ${after.dataset}${digests}.`);
  }
  if (after.runId !== undefined) {
    const rename = (metrics: Record<string, number>, side: string) =>
      Object.fromEntries(Object.entries(metrics).map(([key, value]) => [`${side}/${after.name}_${key}`, value]));
    const metrics = { ...rename(metricsOf(before, ""), "before"), ...rename(metricsOf(after, ""), "after") };
    await addToRun(after.runId, (run) => run.logMetrics(metrics));
  }
  const rows = measures.flatMap((measure) => {
    const [a, b] = [measure.value(before), measure.value(after)];
    if (a === undefined || b === undefined) return [];
    const change = a === 0 ? "new" : `${b >= a ? "+" : "−"}${Math.abs((100 * (b - a)) / a).toFixed(0)} %`;
    const verdict = b === a ? "same" : b > a === measure.up ? "better" : "worse";
    return [[measure.title, measure.show(a), measure.show(b), change, verdict]];
  });
  const columns = ["", "before", "after", "change", ""].map((title, i) => {
    return { title, align: i === 0 || i === 4 ? ("left" as const) : ("right" as const) };
  });
  return new Table(columns, rows, `${after.rows} rows of ${after.dataset}${knownOverlap(after)}.`);
}

/** Describes how many rows are also in the training data; empty for a model that was not trained in this process. */
function knownOverlap({ trainedOn }: EvaluationReport): string {
  if (trainedOn === undefined) return "";
  if (trainedOn === 0) return "; no copy of them is in the data that the model was trained on here";
  return `; ${trainedOn} of them ${trainedOn === 1 ? "is" : "are"} in the data that the model was trained on here`;
}
