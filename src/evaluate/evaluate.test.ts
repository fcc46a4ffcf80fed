import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { referenceJson } from "../../tests/reference.ts";
import { Dataset, tokenizeRows } from "../data/index.ts";
import { noteTraining, Phi3ForCausalLM, perplexity } from "../models/index.ts";
import { Tokenizer } from "../text/index.ts";
import { compare, type EvaluationReport, evaluate, type RougeScore, rougeL, rougeN } from "./index.ts";

interface Metrics {
  pairs: { hypothesis: string; reference: string }[];
  token_losses: number[][];
  expected: {
    rouge: { per_pair: Record<"rouge1" | "rouge2" | "rougeL", RougeScore>[] };
    perplexity: { token_weighted: number; per_document: number[] };
  };
}

const close = (found: number, expected: number) =>
  expect(Math.abs(found - expected), `${found} for ${expected}`).toBeLessThanOrEqual(1e-6 * Math.abs(expected) + 1e-9);

describe("reference metrics", () => {
  const { pairs, token_losses, expected } = referenceJson<Metrics>("metrics.json");

  test("reference: ROUGE-1, ROUGE-2 and ROUGE-L of each pair", () => {
    expect(pairs.length).toBeGreaterThan(0);
    pairs.forEach(({ hypothesis, reference }, i) => {
      // google's rule finds no words in Japanese; elsewhere the default is the same rule.
      const rule = /\p{Script=Han}/u.test(reference) ? "ascii" : "auto";
      const found = {
        rouge1: rougeN(hypothesis, reference, 1, rule),
        rouge2: rougeN(hypothesis, reference, 2, rule),
        rougeL: rougeL(hypothesis, reference, rule),
      };
      for (const kind of ["rouge1", "rouge2", "rougeL"] as const) {
        for (const part of ["precision", "recall", "f1"] as const) {
          close(found[kind][part], expected.rouge.per_pair[i][kind][part]);
        }
      }
    });
  });

  test("reference: perplexity is the exponential of the mean over all tokens, not over documents", () => {
    close(perplexity(token_losses.flat()), expected.perplexity.token_weighted);
    token_losses.forEach((losses, i) => {
      close(perplexity(losses), expected.perplexity.per_document[i]);
    });
  });
});

describe("ROUGE", () => {
  const text = fc.array(fc.constantFrom("a", "b", "c", "d1", "E")).map((words) => words.join(" "));

  test("is 1 for equal texts, 0 without common words, and swaps precision and recall with its arguments", () => {
    fc.assert(
      fc.property(text, text, (one, other) => {
        for (const score of [
          rougeL,
          (a: string, b: string) => rougeN(a, b, 1),
          (a: string, b: string) => rougeN(a, b, 2),
        ]) {
          const [there, back] = [score(one, other), score(other, one)];
          expect(there.precision).toBe(back.recall);
          expect(there.f1).toBeCloseTo(back.f1, 12);
          for (const value of Object.values(there)) {
            expect(value).toBeGreaterThanOrEqual(0);
            expect(value).toBeLessThanOrEqual(1);
          }
        }
        if (one !== "") expect(rougeL(one, one.toUpperCase()).f1).toBe(1);
        // A run of words in order is no longer than what the two share in any order.
        expect(rougeL(one, other).f1).toBeLessThanOrEqual(rougeN(one, other, 1).f1 + 1e-12);
      }),
    );
    expect(rougeL("x y", "a b").f1).toBe(0);
  });

  test("counts words of every script, and characters where words have no spaces", () => {
    const texts = [
      "नमस्ते दुनिया",
      "你好世界",
      "Καλημέρα κόσμε",
      "Привет, мир 5",
      "สวัสดีโลก",
      "こんにちは",
      "ñ à",
      "مرحبا",
    ];
    for (const text of texts) {
      expect(rougeL(text, text).f1, text).toBe(1);
      expect(rougeN(text, text, 1).f1, text).toBe(1);
      expect(rougeL(text, "nothing of it").f1, text).toBe(0);
      expect(rougeL(text.normalize("NFD"), text).f1, text).toBe(1);
    }
    expect(rougeN("नमस्ते दुनिया", "नमस्ते मित्र", 1).f1).toBe(0.5);
    expect(rougeN("你好世界", "你好吗", 1)).toMatchObject({ precision: 1 / 2, recall: 2 / 3 });
    expect(rougeN("ΚΑΛΗΜΈΡΑ κόσμε", "καλημέρα", 1).recall).toBe(1);
    expect(rougeN("用 Node 20", "使用 node 20", 1).precision).toBe(1);
    expect(rougeN("你好", "你好", 1, "ascii").f1).toBe(0);
    expect(rougeN("...", "!", 1).f1).toBe(0);
  });
});

describe("evaluating a model", () => {
  const words = ["red", "green", "blue"];
  const data = Dataset.from(
    "colours",
    Array.from({ length: 7 }, (_, i) => ({ prompt: `colour of item ${i}`, completion: words[i % 3] })),
  );
  const tokenizer = Tokenizer.train(
    data.rows.map(({ prompt, completion }) => `${prompt} ${completion}`),
    { vocabSize: 300 },
  );
  const model = () => {
    const config = {
      hiddenSize: 16,
      intermediateSize: 32,
      numHiddenLayers: 1,
      numAttentionHeads: 2,
      maxPositionEmbeddings: 128,
    };
    return new Phi3ForCausalLM(config, tokenizer).initialize(1).eval();
  };

  test("gives the same metrics for any batch size, and chance level for an untrained model", async () => {
    const untrained = await model();
    const [two, seven] = [
      await evaluate(untrained, data, { batchSize: 2, generate: 3, maxNewTokens: 4 }),
      await evaluate(untrained, data, { batchSize: 7, generate: 0 }),
    ];
    expect(two.loss).toBeCloseTo(seven.loss, 4);
    expect(two.loss).toBeCloseTo(Math.log(untrained.config.vocabSize), 0);
    expect(two.perplexity).toBe(Math.exp(two.loss));
    expect(two.tokenAccuracy).toBe(seven.tokenAccuracy);
    expect(two.rows).toBe(7);
    expect(two.samples.map(({ prompt, expected }) => [prompt, expected])).toEqual(
      data.rows.slice(0, 3).map(({ prompt, completion }) => [prompt, completion]),
    );
    expect(two.rougeL).toBe(two.samples.reduce((sum, s) => sum + rougeL(s.answer, s.expected).f1, 0) / 3);
    expect(seven.samples).toEqual([]);
    expect(seven.rougeL).toBeUndefined();
  });

  test("includes rows whose prompt leaves no room for an answer, and reports their number", async () => {
    const long = { prompt: "colour of item 1 ".repeat(40), completion: "red" };
    const report = await evaluate(model(), Dataset.from("colours/held out", [...data.rows, long]), {
      generate: 8,
      maxNewTokens: 4,
    });
    expect(report.rows).toBe(8);
    expect(report.unanswered).toBe(1);
    expect(report.samples).toHaveLength(7);
    expect(report.name).toBe("held out");
    expect(report.trainedOn).toBeUndefined();
  });

  test("reports overlap with rows that the model was trained on in this process only", async () => {
    const trained = model();
    const seen = data.rows.slice(0, 4);
    noteTraining(trained, { rows: tokenizeRows(seen, tokenizer).examples });
    const one = { generate: 0 };
    expect((await evaluate(trained, Dataset.from("colours/seen", seen), one)).trainedOn).toBe(4);
    expect((await evaluate(trained, Dataset.from("colours/new", data.rows.slice(4)), one)).trainedOn).toBe(0);
    expect((await evaluate(trained, data.rows, { ...one, name: "all" })).trainedOn).toBe(4);
  });

  test("reports data without a token to predict", async () => {
    await expect(evaluate(await model(), data, { maxLength: 2, generate: 0 })).rejects.toThrow(
      "colours has no target token within 2 tokens.",
    );
  });
});

describe("before and after", () => {
  const report = (change: Partial<EvaluationReport>): EvaluationReport => ({
    dataset: "faq/test",
    name: "test",
    digest: "d1",
    unanswered: 0,
    trainedOn: undefined,
    rows: 20,
    loss: 4,
    perplexity: Math.exp(4),
    tokenAccuracy: 0.25,
    rougeL: 0.1,
    samples: [],
    runId: undefined,
    ...change,
  });

  test("are shown side by side, each with better or worse", async () => {
    const after = report({ loss: 2, perplexity: Math.exp(2), tokenAccuracy: 0.2, rougeL: 0.1 });
    const { rows, note } = await compare(report({}), after);
    expect(rows).toEqual([
      ["loss", "4.0000", "2.0000", "−50 %", "better"],
      ["perplexity", "54.60", "7.389", "−86 %", "better"],
      ["token accuracy", "25.0 %", "20.0 %", "−20 %", "worse"],
      ["ROUGE-L", "10.0 %", "10.0 %", "+0 %", "same"],
    ]);
    expect(note).toBe("20 rows of faq/test.");
    expect((await compare(report({}), report({ trainedOn: 0 }))).note).toContain("no copy of them is in the data");
    expect((await compare(report({}), report({ trainedOn: 3 }))).note).toContain("3 of them are in the data");
  });

  test("omit what was not measured, and require the same data", async () => {
    const { rows } = await compare(report({ rougeL: undefined }), report({}));
    expect(rows.map(([title]) => title)).not.toContain("ROUGE-L");
    await expect(compare(report({}), report({ dataset: "other", digest: "d2" }))).rejects.toThrow(
      "different data: faq/test and other",
    );
  });
});
