/** Numbers of traces: all, those that match a first and a second filter, and those that match both. */
export interface TraceCounts {
  total: number;
  first: number;
  second: number;
  both: number;
}

/** Added to each cell of the table, so that few traces do not look like a rule (Jeffreys' prior). */
const SMOOTHING = 0.5;

/**
 * The normalized pointwise mutual information of two filters: 1 if they match the same traces, 0 if they are independent,
 * -1 if they match different ones, and NaN if one of them matches none.
 */
export function correlation({ total, first, second, both }: TraceCounts): { npmi: number; smoothed: number } {
  if (first === 0 || second === 0) return { npmi: Number.NaN, smoothed: Number.NaN };
  const neither = total - first - second + both;
  const same = first === both && second === both && neither === 0;
  const of = (prior: number): number => {
    if (same) return 1;
    const n = total + 4 * prior;
    const joint = (both + prior) / n;
    const value = Math.log(joint / (((first + 2 * prior) / n) * ((second + 2 * prior) / n))) / -Math.log(joint);
    return Math.max(-1, Math.min(1, value));
  };
  return { npmi: both === 0 ? -1 : of(0), smoothed: of(SMOOTHING) };
}
