/** Precision, recall and their harmonic mean, each in [0, 1]. */
export interface RougeScore {
  precision: number;
  recall: number;
  f1: number;
}

/**
 * How texts are split into words. "ascii" is the rule of google-research's `rouge_score` without stemming: lower-case runs
 * of a to z and digits; most other languages have no words by this rule. "auto" uses that rule for texts in Latin letters,
 * so that scores compare with published ones (there "café" is the word "caf"). If either text has letters of another
 * script, or words but none in ASCII, it uses Unicode letters, marks and digits, and single characters of scripts without
 * spaces between words.
 */
export type RougeWords = "auto" | "ascii";

const asciiWord = /[a-z0-9]+/g;
const otherScript = /(?!\p{Script=Latin}|\p{Script=Common})\p{L}/u;
const anyWord = /[\p{L}\p{N}]/u;
const unspaced =
  "\\p{scx=Han}\\p{scx=Hiragana}\\p{scx=Katakana}\\p{sc=Thai}\\p{sc=Lao}\\p{sc=Khmer}\\p{sc=Myanmar}\\p{sc=Tibetan}";
const unicodeWord = new RegExp(
  `(?=[\\p{L}\\p{N}])[${unspaced}]\\p{M}*|(?:(?![${unspaced}])[\\p{L}\\p{M}\\p{N}])+`,
  "gu",
);

/** Splits both texts into words with the same rule. */
function wordsOf(one: string, other: string, rule: RougeWords): [string[], string[]] {
  const ascii = (text: string): string[] => text.toLowerCase().match(asciiWord) ?? [];
  const words: [string[], string[]] = [ascii(one), ascii(other)];
  const lacks = (text: string, words: string[]) => otherScript.test(text) || (words.length === 0 && anyWord.test(text));
  if (rule === "ascii" || !(lacks(one, words[0]) || lacks(other, words[1]))) return words;
  const unicode = (text: string): string[] => text.normalize("NFC").toLowerCase().match(unicodeWord) ?? [];
  return [unicode(one), unicode(other)];
}

function score(hits: number, generated: number, expected: number): RougeScore {
  const precision = generated === 0 ? 0 : hits / generated;
  const recall = expected === 0 ? 0 : hits / expected;
  return { precision, recall, f1: precision + recall === 0 ? 0 : (2 * precision * recall) / (precision + recall) };
}

/**
 * Computes ROUGE-N (Lin 2004): the overlap of n-grams.
 * @param words how texts are split into words; see {@link RougeWords}
 */
export function rougeN(hypothesis: string, reference: string, n: number, words: RougeWords = "auto"): RougeScore {
  const count = (tokens: readonly string[]) => {
    const grams = new Map<string, number>();
    for (let i = 0; i + n <= tokens.length; i++) {
      const gram = tokens.slice(i, i + n).join(" ");
      grams.set(gram, (grams.get(gram) ?? 0) + 1);
    }
    return grams;
  };
  const [generated, expected] = wordsOf(hypothesis, reference, words).map(count);
  const size = (grams: Map<string, number>) => [...grams.values()].reduce((a, b) => a + b, 0);
  let hits = 0;
  for (const [gram, times] of generated) hits += Math.min(times, expected.get(gram) ?? 0);
  return score(hits, size(generated), size(expected));
}

/**
 * Computes ROUGE-L (Lin 2004): the longest common subsequence of words.
 * @param words how texts are split into words; see {@link RougeWords}
 */
export function rougeL(hypothesis: string, reference: string, words: RougeWords = "auto"): RougeScore {
  const [a, b] = wordsOf(hypothesis, reference, words);
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
