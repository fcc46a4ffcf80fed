/** Precision, recall and their harmonic mean, each in [0, 1]. */
export interface RougeScore {
  precision: number;
  recall: number;
  f1: number;
}

/** Lower-case runs of letters and digits: google-research's `rouge_score` without stemming. */
const words = (text: string): string[] => text.toLowerCase().match(/[a-z0-9]+/g) ?? [];

function score(hits: number, found: number, expected: number): RougeScore {
  const precision = found === 0 ? 0 : hits / found;
  const recall = expected === 0 ? 0 : hits / expected;
  return { precision, recall, f1: precision + recall === 0 ? 0 : (2 * precision * recall) / (precision + recall) };
}

/** ROUGE-N (Lin 2004): overlap of runs of `n` words. */
export function rougeN(hypothesis: string, reference: string, n: number): RougeScore {
  const count = (text: string) => {
    const tokens = words(text);
    const grams = new Map<string, number>();
    for (let i = 0; i + n <= tokens.length; i++) {
      const gram = tokens.slice(i, i + n).join(" ");
      grams.set(gram, (grams.get(gram) ?? 0) + 1);
    }
    return grams;
  };
  const [found, expected] = [count(hypothesis), count(reference)];
  const size = (grams: Map<string, number>) => [...grams.values()].reduce((a, b) => a + b, 0);
  let hits = 0;
  for (const [gram, times] of found) hits += Math.min(times, expected.get(gram) ?? 0);
  return score(hits, size(found), size(expected));
}

/** ROUGE-L (Lin 2004): the longest run of words that both have in the same order, gaps allowed. */
export function rougeL(hypothesis: string, reference: string): RougeScore {
  const [a, b] = [words(hypothesis), words(reference)];
  let previous = new Uint32Array(b.length + 1);
  for (const word of a) {
    const current = new Uint32Array(b.length + 1);
    b.forEach((other, j) => {
      current[j + 1] = word === other ? previous[j] + 1 : Math.max(previous[j + 1], current[j]);
    });
    previous = current;
  }
  return score(previous[b.length], a.length, b.length);
}
