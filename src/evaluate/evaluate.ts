import {
  asDataset,
  chatOf,
  type Dataset,
  isTokenized,
  longestOf,
  type Row,
  type TokenizedDataset,
  type TrainingData,
  tokenizeRows,
} from "../data/index.ts";
import { Progress } from "../display/index.ts";
import { type CausalLM, countTrainedOn, measureTokens } from "../models/index.ts";
import { addToRun } from "../track/index.ts";
import { rougeL } from "./rouge.ts";

/** Options of {@link evaluate}. */
export interface EvaluateOptions {
  /** Prefix of the logged metrics: `test` gives `test/loss`. Default: the last part of the data set's name. */
  name?: string;
  /** Rows per forward pass. Default 16. */
  batchSize?: number;
  /** Longer examples are truncated. Default: the longest, at most 1024. */
  maxLength?: number;
  /** Number of answers to generate for ROUGE-L, from the first rows that are chats. Default 64; 0 disables it. */
  generate?: number;
  /** Maximum tokens per answer. Default 64. */
  maxNewTokens?: number;
}

/** Metrics of a model on a data set, with sample answers. */
export interface EvaluationReport {
  dataset: string;
  /** Prefix of the logged metrics. */
  name: string;
  /** SHA-256 of the rows. */
  digest: string;
  rows: number;
  /** Mean of -log p over the target tokens. */
  loss: number;
  /** e to the loss. */
  perplexity: number;
  /** Fraction of target tokens that the model predicted as the most likely one, in [0, 1]. */
  tokenAccuracy: number;
  /** Mean F1 of ROUGE-L over the generated answers, in [0, 1]; undefined when none were generated. */
  rougeL: number | undefined;
  samples: { prompt: string; expected: string; answer: string }[];
  /** Rows that were skipped in generation because prompt and answer exceed the model's positions. */
  unanswered: number;
  /** The run that trained the model; the metrics are logged to it. */
  runId: string | undefined;
  /**
   * Number of rows that are, token by token, in the data that the model was trained on in this process. Undefined when it
   * was not trained in this process.
   */
  trainedOn: number | undefined;
}

const longestByDefault = 1024;

/**
 * Evaluates a model on the data that {@link train} accepts: loss, perplexity and token accuracy of the target tokens, and
 * ROUGE-L of generated answers. The metrics are logged to the run that trained the model.
 * @throws DataError when the rows have no supported format
 */
export async function evaluate(
  model: CausalLM,
  data: TrainingData,
  options: EvaluateOptions = {},
): Promise<EvaluationReport> {
  const { batchSize = 16, generate = 64, maxNewTokens = 64 } = options;
  const tokenized = tokenizeRows(data, model.tokenizer);
  const dataset = isTokenized(data) ? undefined : asDataset(data);
  const longest = longestOf(tokenized.examples);
  const length = options.maxLength ?? Math.min(longest, longestByDefault, model.config.maxPositionEmbeddings);
  const progress = new Progress(`measuring on ${tokenized.name}`);
  const tokens = await measureTokens(model, tokenized, {
    batchSize,
    length,
    onProgress: (done) => progress.show(done, tokenized.examples.length, "rows"),
  });
  progress.done();
  const { samples, unanswered } = await answer(model, dataset, { generate, maxNewTokens, batchSize });
  const scores = samples.map((sample) => rougeL(sample.answer, sample.expected).f1);
  const report: EvaluationReport = {
    dataset: tokenized.name,
    name: options.name ?? metricName(tokenized.name),
    digest: dataset?.digest ?? tokenized.digest,
    rows: tokenized.examples.length,
    ...tokens,
    rougeL: scores.length === 0 ? undefined : scores.reduce((a, b) => a + b, 0) / scores.length,
    samples,
    unanswered,
    runId: model.runId,
    trainedOn: countTrainedOn(model, tokenized.examples),
  };
  await log(report, tokenized);
  return report;
}

/** Returns the prefix of a data set's metrics: `faq` for `faq.jsonl`, `test` for `docs/test`. */
function metricName(dataset: string): string {
  const last = dataset.split("/").at(-1) ?? dataset;
  return last.replace(/\.(jsonl?|ndjson|csv)$/i, "").replace(/[^\w .:-]/g, "_") || "data";
}

/** Generates answers to the first chats. */
async function answer(
  model: CausalLM,
  dataset: Dataset | undefined,
  { generate, maxNewTokens, batchSize }: Required<Pick<EvaluateOptions, "generate" | "maxNewTokens" | "batchSize">>,
): Promise<Pick<EvaluationReport, "samples" | "unanswered">> {
  const questions = (dataset?.rows ?? []).slice(0, generate).flatMap((row) => questionOf(row) ?? []);
  const room = model.config.maxPositionEmbeddings - maxNewTokens;
  const fitting = questions.filter(
    ({ chat }) => model.tokenizer.encodeChat(chat, { addGenerationPrompt: true }).ids.length <= room,
  );
  const samples: EvaluationReport["samples"] = [];
  const progress = new Progress("answering");
  for (let i = 0; i < fitting.length; i += batchSize) {
    const part = fitting.slice(i, i + batchSize);
    const answers = await model.generate(
      part.map(({ chat }) => chat),
      { maxNewTokens },
    );
    for (const [k, { prompt, expected }] of part.entries()) {
      samples.push({ prompt, expected, answer: answers[k].text.trim() });
    }
    progress.show(samples.length, fitting.length, "questions");
  }
  progress.done();
  return { samples, unanswered: questions.length - fitting.length };
}

/** Splits a row into a chat and its last answer; undefined when the row is not a chat that ends with an answer. */
function questionOf(row: Row) {
  const messages = chatOf(row);
  const last = messages?.at(-1);
  if (!messages || last?.role !== "assistant" || messages.length < 2) return undefined;
  const chat = messages.slice(0, -1);
  return { chat, prompt: chat[chat.length - 1].content, expected: last.content };
}

/** Returns a report's metrics by the names under which they are logged. */
export function metricsOf(report: EvaluationReport, prefix: string): Record<string, number> {
  return {
    [`${prefix}loss`]: report.loss,
    [`${prefix}perplexity`]: report.perplexity,
    [`${prefix}token_accuracy`]: report.tokenAccuracy,
    ...(report.rougeL === undefined ? {} : { [`${prefix}rougeL`]: report.rougeL }),
  };
}

async function log(report: EvaluationReport, tokenized: TokenizedDataset): Promise<void> {
  if (report.runId === undefined) return;
  await addToRun(report.runId, (run) => {
    run.logMetrics(metricsOf(report, `${report.name}/`));
    run.logDataset({
      name: report.dataset,
      digest: report.digest.slice(0, 36),
      context: report.name,
      profile: { rows: report.rows, sha256: report.digest, tokenized_sha256: tokenized.digest },
    });
    if (report.samples.length > 0) run.logText(JSON.stringify(report.samples, null, 1), `${report.name}-samples.json`);
  });
}
