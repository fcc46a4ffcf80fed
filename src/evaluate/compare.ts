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
  { title: "test loss", value: ({ loss }) => loss, show: (v) => v.toFixed(4), up: false },
  { title: "perplexity", value: ({ perplexity }) => perplexity, show: (v) => v.toPrecision(4), up: false },
  { title: "token accuracy", value: ({ tokenAccuracy }) => tokenAccuracy, show: percent, up: true },
  { title: "ROUGE-L", value: (report) => report.rougeL, show: percent, up: true },
];

/**
 * The table of before and after. Both columns are logged to the run that made the model after, as `before/test_...`
 * and `after/test_...`.
 * @throws RangeError when the reports are of different data
 */
export async function compare(before: EvaluationReport, after: EvaluationReport): Promise<Table> {
  if (before.dataset !== after.dataset || before.rows !== after.rows) {
    throw new RangeError(`These reports are of different data: ${before.dataset} and ${after.dataset}.`);
  }
  if (after.runId !== undefined) {
    const rename = (metrics: Record<string, number>, side: string) =>
      Object.fromEntries(Object.entries(metrics).map(([key, value]) => [`${side}/${comparisonName(key)}`, value]));
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
  return new Table(columns, rows, `${after.rows} questions of ${after.dataset}, none of them trained on.`);
}

const comparisonName = (key: string) => (key === "loss" || key === "perplexity" ? `test_${key}` : key);
