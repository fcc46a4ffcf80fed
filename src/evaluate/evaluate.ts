import { type Dataset, type Row, type TokenizedDataset, tokenizeInstructions } from "../data/index.ts";
import { formatDuration, LiveOutput, notebook } from "../display/index.ts";
import { type LanguageModel, measureTokens } from "../models/index.ts";
import { addToRun } from "../track/index.ts";
import { rougeL } from "./rouge.ts";

/** What to measure. */
export interface EvaluateOptions<R extends Row> {
  /** Column with the question. Default "prompt". */
  prompt?: keyof R & string;
  /** Column with the answer. Default "completion". */
  completion?: keyof R & string;
  /** Rows in one run of the model. Default 16. */
  batchSize?: number;
  /** Longer examples are cut. Default: the longest, at most 512. */
  maxSeqLength?: number;
  /** Answers generated for ROUGE-L, from the first rows. Default 64; 0 leaves it out. */
  generate?: number;
  /** Most tokens of an answer. Default 64. */
  maxNewTokens?: number;
}

/** Metrics of a model on a data set, and some answers to look at. */
export interface EvaluationReport {
  dataset: string;
  rows: number;
  /** Mean of -log p over the answers' tokens. */
  loss: number;
  /** e to the loss. */
  perplexity: number;
  /** Share of the answers' tokens that were the most likely one, in [0, 1]. */
  tokenAccuracy: number;
  /** Mean F1 of ROUGE-L over the generated answers, in [0, 1]; absent when none were asked for. */
  rougeL: number | undefined;
  samples: { prompt: string; expected: string; answer: string }[];
  /** The run that made the model, which the metrics were logged to. */
  runId: string | undefined;
}

const longestByDefault = 512;

/**
 * Measure a model on questions and answers: loss, perplexity and token accuracy of the answers, and ROUGE-L of what it
 * answers by itself. The metrics are logged as `test/...` to the run that trained the model.
 */
export async function evaluate<R extends Row>(
  model: LanguageModel,
  data: Dataset<R>,
  options: EvaluateOptions<R> = {},
): Promise<EvaluationReport> {
  const { batchSize = 16, generate = 64, maxNewTokens = 64 } = options;
  const prompt = options.prompt ?? ("prompt" as keyof R & string);
  const completion = options.completion ?? ("completion" as keyof R & string);
  const progress = new Progress(data.name);
  const tokenized = tokenizeInstructions(data, model.tokenizer, { prompt, completion });
  const longest = Math.max(...tokenized.examples.map(({ inputIds }) => inputIds.length));
  const length = options.maxSeqLength ?? Math.min(longest, longestByDefault, model.config.maxPositionEmbeddings);
  const tokens = await measureTokens(model, tokenized, {
    batchSize,
    length,
    onProgress: (done) => progress.show("measuring", done, tokenized.examples.length),
  });

  const rows = data.rows.slice(0, generate);
  const samples: EvaluationReport["samples"] = [];
  for (let i = 0; i < rows.length; i += batchSize) {
    const part = rows.slice(i, i + batchSize);
    const chats = part.map((row) => [{ role: "user" as const, content: String(row[prompt]) }]);
    const answers = await model.generate(chats, { maxNewTokens });
    part.forEach((row, k) => {
      samples.push({ prompt: String(row[prompt]), expected: String(row[completion]), answer: answers[k].text.trim() });
    });
    progress.show("answering", samples.length, rows.length);
  }
  const scores = samples.map(({ answer, expected }) => rougeL(answer, expected).f1);
  const report: EvaluationReport = {
    dataset: data.name,
    rows: data.length,
    ...tokens,
    rougeL: scores.length === 0 ? undefined : scores.reduce((a, b) => a + b, 0) / scores.length,
    samples,
    runId: model.runId,
  };
  progress.done();
  await log(report, data, tokenized);
  return report;
}

/** Metrics of a report under the names they are logged by. */
export function metricsOf(report: EvaluationReport, prefix: string): Record<string, number> {
  return {
    [`${prefix}loss`]: report.loss,
    [`${prefix}perplexity`]: report.perplexity,
    [`${prefix}token_accuracy`]: report.tokenAccuracy,
    ...(report.rougeL === undefined ? {} : { [`${prefix}rougeL`]: report.rougeL }),
  };
}

async function log(report: EvaluationReport, data: Dataset, tokenized: TokenizedDataset): Promise<void> {
  if (report.runId === undefined) return;
  await addToRun(report.runId, (run) => {
    run.logMetrics(metricsOf(report, "test/"));
    run.logDataset({
      name: data.name,
      digest: data.digest.slice(0, 36),
      context: "test",
      profile: { rows: data.length, sha256: data.digest, tokenized_sha256: tokenized.digest },
    });
    run.logText(JSON.stringify(report.samples, null, 1), "test-samples.json");
  });
}

/** A line that says how far the evaluation is, in a notebook or a terminal. */
class Progress {
  readonly #name: string;
  readonly #output = new LiveOutput();
  readonly #start = performance.now();

  constructor(name: string) {
    this.#name = name;
  }

  show(what: string, done: number, total: number): void {
    this.#print(`${what} ${this.#name}: ${done}/${total}`);
  }

  done(): void {
    this.#print(`evaluated on ${this.#name} in ${formatDuration((performance.now() - this.#start) / 1000)}`);
    if (!notebook() && process.stderr.isTTY) process.stderr.write("\n");
  }

  #print(text: string): void {
    if (notebook()) this.#output.show({ "text/plain": text });
    else if (process.stderr.isTTY) process.stderr.write(`\r\u001b[K${text}`);
  }
}
