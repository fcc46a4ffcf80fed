import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { mkdir } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { faultPath } from "../../tests/faults.ts";
import { Tokenizer } from "../text/index.ts";
import {
  collate,
  Dataset,
  type Example,
  epochOrder,
  ignoreIndex,
  loadDataset,
  longestOf,
  pack,
  tokenizeRows,
  tokenizeText,
  typescriptLibFiles,
} from "./index.ts";

const folder = mkdtempSync(join(tmpdir(), "anneal-data-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const file = (name: string, content: string | Uint8Array) => {
  writeFileSync(join(folder, name), content);
  return join(folder, name);
};

describe("loading", () => {
  test("reads JSONL, JSON and CSV", async () => {
    const rows = [
      { prompt: "a, b", completion: 'say "x"' },
      { prompt: "é", completion: "2" },
    ];
    const jsonl = await loadDataset(file("a.jsonl", `\uFEFF${rows.map((row) => JSON.stringify(row)).join("\r\n\n")}`));
    const json = await loadDataset(file("a.json", JSON.stringify(rows)));
    const csv = await loadDataset(file("a.csv", 'prompt,completion\n"a, b","say ""x"""\né,2\n'));
    for (const data of [jsonl, json, csv]) {
      expect(data.rows).toEqual(rows);
      expect(data.digest).toBe(jsonl.digest);
      expect(data.skipped).toBe(0);
    }
    expect(jsonl.name).toBe("a.jsonl");
    expect((await loadDataset(join(folder, "a.csv"), { name: "faq" })).name).toBe("faq");
  });

  test("stops at a line that is not JSON, with its number in the error", async () => {
    const path = file("bad.jsonl", '{"q":"1"}\n\n{"q": oops}\n{"q":"4"}\n');
    await expect(loadDataset(path)).rejects.toThrow(/^.*bad\.jsonl, line 3: invalid JSON \(.+\) \(onError: "skip"/);
  });

  test("skips such lines on request and reports their number", async () => {
    const path = file("skip.jsonl", '{"q":"1"}\n{"q": oops}\n[1]\n"text"\nnull\n{"q":""}\n{"r":"7"}\n{"q":"8"}\n');
    const data = await loadDataset(path, { onError: "skip", required: ["q"] });
    expect(data.rows).toEqual([{ q: "1" }, { q: "8" }]);
    expect(data.skipped).toBe(6);
  });

  test("reports the first invalid line, whatever the problem", async () => {
    await expect(loadDataset(file("first.jsonl", '{"q":"1"}\n[1]\n{oops\n'))).rejects.toThrow("line 2: a row must be");
  });

  test("reports a line that is not an object or lacks a column", async () => {
    await expect(loadDataset(file("list.jsonl", '{"q":"1"}\n[1,2]\n'))).rejects.toThrow(
      "line 2: a row must be an object, not [1,2]",
    );
    await expect(
      loadDataset(file("lack.jsonl", '{"q":"1","a":"2"}\n{"q":"3"}\n'), { required: ["q", "a"] }),
    ).rejects.toThrow("line 2: a is missing; the row has q");
    await expect(loadDataset(file("lack.csv", "q,a\n1,2\n3,\n"), { required: ["a"] })).rejects.toThrow(
      "line 3: a is missing",
    );
  });

  test("detects UTF-16 and UTF-8 by byte-order marks; line separators in strings are kept", async () => {
    const text = '{"q":"é 漢"}\r\n{"q":"\u2028"}\r{"q":"3"}\n';
    const le = Buffer.from(`\uFEFF${text}`, "utf16le");
    const expected = [{ q: "é 漢" }, { q: "\u2028" }, { q: "3" }];
    for (const content of [text, `\uFEFF${text}`, le, Buffer.from(le).swap16()]) {
      expect((await loadDataset(file("bom.jsonl", content))).rows).toEqual(expected);
    }
    for (const content of [Buffer.from("\uFEFFq\né\n", "utf16le"), "\uFEFFq\né\n"]) {
      expect((await loadDataset(file("bom.csv", content))).rows).toEqual([{ q: "é" }]);
    }
    expect((await loadDataset(file("bom.json", Buffer.from('\uFEFF[{"q":"é"}]', "utf16le")))).rows).toEqual([
      { q: "é" },
    ]);
    const kept = await loadDataset(file("fffd.jsonl", '{"q":"\uFFFD \uFEFF"}\n'));
    expect(kept.rows).toEqual([{ q: "\uFFFD \uFEFF" }]);
  });

  test("rejects text that is not UTF-8, with file, line and the likely encoding", async () => {
    const sample = faultPath("latin1-read-as-replacement-characters.jsonl");
    await expect(loadDataset(sample)).rejects.toThrow(
      /characters\.jsonl, line 1: the text is not UTF-8: byte 0xE9 at position 15\. It looks like Latin-1 .*iconv -f ISO-8859-1/,
    );
    const latin1 = Buffer.from('{"q":"1"}\n{"q":"caf\xe9"}\n{"q":"3"}\n', "latin1");
    const skipped = await loadDataset(file("l1.jsonl", latin1), { onError: "skip" });
    expect([skipped.rows, skipped.skipped]).toEqual([[{ q: "1" }, { q: "3" }], 1]);
    const cases: [string, Buffer, string][] = [
      ["quotes.jsonl", Buffer.from('{"q":"\x93caf\xe9\x94"}', "latin1"), "It looks like Windows-1252"],
      ["le.jsonl", Buffer.from('{"q":"é"}', "utf16le"), "It looks like UTF-16"],
      ["cyrillic.jsonl", Buffer.from('{"q":"\xcf\xf0\xe8\xe2\xe5\xf2"}', "latin1"), "such as Windows-1251"],
      ["cut.jsonl", Buffer.from('{"q":"漢').subarray(0, -1), "ends within a character. The file is truncated"],
      [
        "l1.csv",
        Buffer.from("q\nx\n\xe9\n", "latin1"),
        "l1.csv, line 3: the text is not UTF-8: byte 0xE9 at position 1.",
      ],
      ["l1.json", Buffer.from('[{"q":"\xe9"}]', "latin1"), "l1.json, line 1: the text is not UTF-8"],
    ];
    for (const [name, content, message] of cases) {
      await expect(loadDataset(file(name, content)), name).rejects.toThrow(message);
      await expect(loadDataset(join(folder, name))).rejects.toMatchObject({ name: "DataError" });
    }
  });

  test("rejects a line that is too long for a string, and can skip it", async () => {
    const long = `{"q":"${"x".repeat(3_000_000)}"}`;
    const path = file("long.jsonl", `{"q":"1"}\n${long}\n{"q":"3"}\n`);
    await expect(loadDataset(path, { maxBytes: 2_000_000 })).rejects.toThrow(
      "long.jsonl, line 2: the line is longer than 2000000 bytes",
    );
    const data = await loadDataset(path, { maxBytes: 2_000_000, onError: "skip" });
    expect([data.rows, data.skipped]).toEqual([[{ q: "1" }, { q: "3" }], 1]);
    expect(await loadDataset(path)).toHaveLength(3);
    await expect(loadDataset(file("long.json", `[${long}]`), { maxBytes: 2_000_000 })).rejects.toThrow(
      "more than the limit of 2000000 for this format. Convert it to .jsonl",
    );
  });

  test("explains why a row cannot be used", async () => {
    await expect(loadDataset(join(folder, "none.jsonl"))).rejects.toThrow(/^There is no file .*none\.jsonl\.$/);
    await expect(loadDataset(file("empty.jsonl", ""))).rejects.toThrow("empty.jsonl has no valid rows.");
    await expect(loadDataset(file("blank.jsonl", "\n \n"))).rejects.toThrow("has no valid rows");
    await expect(loadDataset(file("empty.json", "[]"))).rejects.toThrow("has no valid rows");
    await expect(loadDataset(file("head.csv", "q,a\n"))).rejects.toThrow("has no valid rows");
    await expect(loadDataset(file("one.json", "{}"))).rejects.toThrow("must contain an array of rows");
    await expect(loadDataset(file("cut.json", '[{"a":'))).rejects.toThrow(/cut\.json: invalid JSON/);
    await expect(loadDataset(file("odd.csv", "a,b\n1,2,3\n"))).rejects.toThrow(/odd\.csv: /);
    await expect(loadDataset(file("data.parquet", "PAR1"))).rejects.toThrow(".parquet is not a supported format");
    await mkdir(join(folder, "folder"));
    await expect(loadDataset(join(folder, "folder"))).rejects.toThrow("is a folder");
    for (const attempt of [join(folder, "empty.jsonl"), join(folder, "cut.json")]) {
      await expect(loadDataset(attempt)).rejects.toMatchObject({ name: "DataError" });
    }
  });
});

describe("a data set", () => {
  const numbers = Dataset.from(
    "numbers",
    Array.from({ length: 100 }, (_, i) => ({ n: i })),
  );

  test("cannot be empty", () => {
    expect(() => Dataset.from("none", [])).toThrow("The data set none is empty.");
    expect(() => numbers.filter(() => false)).toThrow("empty");
    expect(() => numbers.take(0)).toThrow("empty");
  });

  test("has a digest that depends only on its rows and their order", () => {
    expect(Dataset.from("other", numbers.rows).digest).toBe(numbers.digest);
    expect(numbers.map(({ n }) => ({ n: n + 1 })).digest).not.toBe(numbers.digest);
    expect(numbers.shuffle(1).digest).not.toBe(numbers.digest);
    expect(numbers.shuffle(1).digest).toBe(numbers.shuffle(1).digest);
    expect(numbers.shuffle(1).digest).not.toBe(numbers.shuffle(2).digest);
  });

  test("is not modified by its operations", () => {
    const before = numbers.digest;
    numbers
      .shuffle(3)
      .filter(({ n }) => n > 5)
      .map(({ n }) => ({ n: -n }))
      .take(3);
    numbers.split({ a: 1, b: 1 });
    expect(Dataset.from("again", numbers.rows).digest).toBe(before);
    expect([...numbers.shuffle(7).rows].sort((a, b) => a.n - b.n)).toEqual(numbers.rows);
  });

  test("splits without leakage: rows that share a key, directly or through other rows, stay in one part", () => {
    const row = fc.record({
      id: fc.nat(),
      keys: fc.array(fc.integer({ min: 0, max: 30 }), { minLength: 1, maxLength: 3 }),
    });
    fc.assert(
      fc.property(fc.array(row, { minLength: 8, maxLength: 60 }), fc.nat(), (rows, seed) => {
        const data = Dataset.from("any", rows);
        let parts: Record<"train" | "test", Dataset<(typeof rows)[number]>>;
        try {
          parts = data.split(
            { train: 0.7, test: 0.3 },
            { seed, groupBy: ({ keys }) => (keys as number[]).map(String) },
          );
        } catch (error) {
          // All rows hang together.
          expect((error as Error).message).toContain("would be empty");
          return;
        }
        const keysOf = (part: Dataset<(typeof rows)[number]>) => new Set(part.rows.flatMap(({ keys }) => keys));
        const [train, held] = [keysOf(parts.train), keysOf(parts.test)];
        expect([...train].filter((key) => held.has(key))).toEqual([]);
        const all = [...parts.train.rows, ...parts.test.rows].map((r) => JSON.stringify(r)).sort();
        expect(all).toEqual(rows.map((r) => JSON.stringify(r)).sort());
      }),
    );
  });

  test("splits by fraction, deterministically for a seed, with copies of a row in one part", () => {
    const { train, test: held } = numbers.split({ train: 0.8, test: 0.2 });
    expect([train.length, held.length]).toEqual([80, 20]);
    expect(train.name).toBe("numbers/train");
    expect(numbers.split({ train: 4, test: 1 }).train.digest).toBe(train.digest);
    expect(numbers.split({ train: 0.8, test: 0.2 }, { seed: 1 }).train.digest).not.toBe(train.digest);
    const twice = Dataset.from("twice", [...numbers.rows, ...numbers.rows]);
    const parts = twice.split({ train: 0.5, test: 0.5 });
    const seen = new Set(parts.train.rows.map(({ n }) => n));
    expect(parts.test.rows.some(({ n }) => seen.has(n))).toBe(false);
  });

  test("splits hundreds of thousands of rows in two groups in about a second", () => {
    const many = Dataset.from(
      "many",
      Array.from({ length: 300_000 }, (_, i) => ({ n: i })),
    );
    const start = performance.now();
    const parts = many.split({ train: 1, test: 1 }, { groupBy: ({ n }) => [String(Number(n) % 2)] });
    expect(parts.train.length).toBe(150_000);
    expect(performance.now() - start).toBeLessThan(5000);
  });

  test("reports a split that is not possible", () => {
    expect(() => numbers.split({ train: 1, test: 0 })).toThrow('every share must be above 0, got {"train":1,"test":0}');
    expect(() => numbers.take(1).split({ train: 1, test: 1 })).toThrow("test would be empty: 1 rows in 1 groups");
  });
});

const example = fc
  .array(fc.tuple(fc.integer({ min: 1, max: 500 }), fc.boolean()), { minLength: 1, maxLength: 20 })
  .map((tokens): Example => {
    return {
      inputIds: tokens.map(([id]) => id),
      labels: tokens.map(([id, learned]) => (learned ? id : ignoreIndex)),
    };
  });

test("finds the longest of very many examples", () => {
  const one = { inputIds: [1], labels: [1] };
  expect(longestOf([...new Array<Example>(200_000).fill(one), { inputIds: [1, 2], labels: [1, 2] }])).toBe(2);
  expect(longestOf([])).toBe(0);
});

describe("packing", () => {
  test("puts each example whole into one row, in order, and never exceeds the row's length", () => {
    fc.assert(
      fc.property(fc.array(example, { maxLength: 60 }), fc.integer({ min: 1, max: 40 }), (examples, length) => {
        const rows = pack(examples, length);
        expect(rows.flat().length).toBe(examples.length);
        expect(new Set(rows.flat())).toEqual(new Set(examples));
        for (const row of rows) {
          const used = row.reduce((sum, { inputIds }) => sum + Math.min(inputIds.length, length), 0);
          expect(used).toBeLessThanOrEqual(length);
          const places = row.map((one) => examples.indexOf(one));
          expect(places).toEqual([...places].sort((a, b) => a - b));
        }
        expect(pack(examples, length)).toEqual(rows);
      }),
    );
  });
});

describe("a batch", () => {
  test("separates documents, predicts tokens within a document only, and pads the rest", () => {
    const rows = fc.array(fc.array(example, { maxLength: 4 }), { minLength: 1, maxLength: 5 });
    fc.assert(
      fc.property(rows, fc.integer({ min: 1, max: 50 }), (documents, length) => {
        const batch = collate(documents, length, 0);
        let learned = 0;
        documents.forEach((row, r) => {
          let column = 0;
          row.forEach(({ inputIds, labels }, d) => {
            inputIds.forEach((id, i) => {
              if (column >= length) return;
              const at = r * length + column;
              expect([batch.inputIds[at], batch.positions[at], batch.segments[at]]).toEqual([id, i, d + 1]);
              const fits = i + 1 < inputIds.length && column + 1 < length;
              expect(batch.targets[at]).toBe(fits ? labels[i + 1] : ignoreIndex);
              if (batch.targets[at] !== ignoreIndex) learned++;
              column++;
            });
          });
          for (; column < length; column++) {
            const at = r * length + column;
            expect([batch.inputIds[at], batch.segments[at], batch.targets[at]]).toEqual([0, 0, ignoreIndex]);
          }
        });
        expect(batch.tokens).toBe(learned);
        expect([batch.batch, batch.length]).toEqual([documents.length, length]);
      }),
    );
  });

  test("the order depends only on seed and epoch, and each row is used once", () => {
    const order = epochOrder(50, 1, 0);
    expect([...order].sort((a, b) => a - b)).toEqual(Array.from({ length: 50 }, (_, i) => i));
    expect(epochOrder(50, 1, 0)).toEqual(order);
    expect(epochOrder(50, 1, 1)).not.toEqual(order);
    expect(epochOrder(50, 2, 0)).not.toEqual(order);
  });
});

describe("tokenizing", () => {
  let tokenizer: Tokenizer;
  beforeAll(() => {
    tokenizer = Tokenizer.train(["What is it? It is a word.", "one two three four"], { vocabSize: 300 });
  });
  const faq = Dataset.from("faq", [{ prompt: "What is it?", completion: "It is a word.", n: 1 }]);

  test("of instructions labels the answer and its end token, not the question", () => {
    const { examples, digest } = tokenizeRows(faq, tokenizer);
    const { inputIds, labels } = examples[0];
    const learned = labels.filter((label) => label !== ignoreIndex);
    expect(tokenizer.decode(learned)).toContain("It is a word.");
    expect(tokenizer.decode(learned)).not.toContain("What");
    const first = labels.findIndex((label) => label !== ignoreIndex);
    expect(labels.slice(first)).toEqual(inputIds.slice(first));
    expect(digest).toMatch(/^[0-9a-f]{64}$/);
    const forms = [
      { instruction: "What is it?", output: "It is a word." },
      {
        messages: [
          { role: "user", content: "What is it?" },
          { role: "assistant", content: "It is a word." },
        ],
      },
    ];
    for (const row of forms) expect(tokenizeRows([row], tokenizer).examples).toEqual(examples);
    const text = tokenizeRows([{ text: "It is a word." }], tokenizer).examples[0];
    expect(text.labels).toEqual(text.inputIds);
  });

  test("reports the row and column that are not text", () => {
    const wrong = faq.map(({ prompt, n }) => ({ prompt, completion: n }));
    expect(() => tokenizeRows(wrong, tokenizer)).toThrow("faq, row 1: completion must be text, not 1.");
    expect(() => tokenizeRows([{ question: "a" }], tokenizer)).toThrow(
      "its columns (question) have no supported format",
    );
  });

  test("of text cuts it into blocks of equal length and labels every token", () => {
    const { examples } = tokenizeText("text", ["one two three four", "one two"], tokenizer, 3);
    expect(examples.length).toBeGreaterThan(1);
    for (const { inputIds, labels } of examples) {
      expect(inputIds).toHaveLength(3);
      expect(labels).toEqual(inputIds);
    }
    expect(() => tokenizeText("text", ["one"], tokenizer, 100)).toThrow(
      /^text: \d+ tokens are too few for one block of 100\.$/,
    );
  });
});

test("TypeScript's declaration files are available as sample data, in a fixed order", () => {
  const files = typescriptLibFiles();
  expect(files.map(({ name }) => name)).toContain("lib.es2019.array.d.ts");
  expect(files.map(({ name }) => name)).toEqual(files.map(({ name }) => name).sort());
  expect(files.find(({ name }) => name === "lib.es2019.array.d.ts")?.text).toContain("flatMap");
});
