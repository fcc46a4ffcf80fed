import type { Run } from "../api.ts";

export const tagOf = (run: Run, key: string): string | undefined =>
  run.data.tags?.find((tag) => tag.key === key)?.value;

/** The model before and after, metric by metric; only of metrics that the run has on both sides or either. */
export function beforeAfter(run: Run): { metric: string; before: number | undefined; after: number | undefined }[] {
  const values = new Map((run.data.metrics ?? []).map(({ key, value }) => [key, Number(value)]));
  const names = [...values.keys()].flatMap((key) => {
    const match = /^(?:before|after)\/(.+)$/.exec(key);
    return match?.[1] ? [match[1]] : [];
  });
  const both = [...new Set(names)].map((metric) => ({
    metric,
    before: values.get(`before/${metric}`),
    after: values.get(`after/${metric}`),
  }));
  return both.some(({ before }) => before !== undefined) && both.some(({ after }) => after !== undefined) ? both : [];
}

/** Whether lower is better for a metric; undefined if its name does not indicate it. */
export function lowerIsBetter(metric: string): boolean | undefined {
  const name = metric.toLowerCase();
  if (/(loss|perplexity|error|mae|mse|wer|cer)/.test(name)) return true;
  if (/(acc|rouge|bleu|f1|precision|recall|score|auc|reward|win)/.test(name)) return false;
  return undefined;
}

/** Keys of metrics that make a curve, in distinction from those that are one figure. */
export const isCurve = (key: string): boolean => !/^(before|after|test)\//.test(key);
