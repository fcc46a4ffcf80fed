import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { TestTracker } from "../testing.ts";

/** A run as the naive evaluator below sees it. */
interface Plain {
  id: string;
  name: string;
  metrics: Map<string, number>;
  params: Map<string, string>;
  tags: Map<string, string>;
}

const WORDS = ["a", "A", "ab", "a_b", "a%b", "[x]", "é", "it*"];
const NUMBERS = [-1, 0, 0.5, 1, 2.5, 1e10, Number.NaN];
const KEYS = ["k", "a/b", "with space", "dotted.name"];

let t: TestTracker;
let experiment: string;
const runs: Plain[] = [];

/** Some values for some keys, different for each run but the same at every start. */
function assign<T>(values: readonly T[], salt: number): Map<string, T> {
  const map = new Map<string, T>();
  KEYS.forEach((key, index) => {
    const pick = (salt * 7 + index * 3) % (values.length + 2);
    const value = values[pick];
    if (value !== undefined) map.set(key, value);
  });
  return map;
}

beforeAll(async () => {
  t = await TestTracker.open();
  experiment = (await t.post("experiments/create", { name: "searched" })).text("experiment_id");
  for (let i = 0; i < 60; i++) {
    const plain = {
      name: WORDS[i % WORDS.length] ?? "",
      metrics: assign(NUMBERS, i),
      params: assign(WORDS, i + 1),
      tags: assign(WORDS, i * 5 + 2),
    };
    const id = await t.run({ experiment_id: experiment, run_name: plain.name, start_time: i });
    const pairs = (map: Map<string, string>) => [...map].map(([key, value]) => ({ key, value }));
    await t.log(id, {
      metrics: [...plain.metrics].map(([key, value]) => ({
        key,
        value: Number.isNaN(value) ? "NaN" : value,
        timestamp: 1,
      })),
      params: pairs(plain.params),
      tags: pairs(plain.tags),
    });
    runs.push({ id, ...plain });
  }
});
afterAll(() => t.close());

async function search(filter: string, order_by: string[] = []): Promise<string[]> {
  const found = await t.post("runs/search", { experiment_ids: [experiment], filter, order_by });
  if (found.status !== 200) throw new Error(`${filter}: ${JSON.stringify(found.body)}`);
  return ((found.at("runs") ?? []) as { info: { run_id: string } }[]).map(({ info }) => info.run_id);
}

function like(pattern: string, text: string, caseless: boolean): boolean {
  const source = pattern
    .replace(/[.*+?^${}()|[\]\\]/g, "\\$&")
    .replaceAll("%", "[^]*")
    .replaceAll("_", "[^]");
  return new RegExp(`^${source}$`, caseless ? "i" : "").test(text);
}

interface Condition {
  text: string;
  holds(run: Plain): boolean;
}

const quotedKey = (key: string): fc.Arbitrary<string> =>
  /^[\w./]+$/.test(key) ? fc.constantFrom(key, `"${key}"`, `\`${key}\``) : fc.constantFrom(`"${key}"`, `\`${key}\``);

const numeric: fc.Arbitrary<Condition> = fc
  .record({
    key: fc.constantFrom(...KEYS),
    op: fc.constantFrom("=", "!=", "<", "<=", ">", ">="),
    value: fc.constantFrom(...NUMBERS.filter((value) => !Number.isNaN(value))),
    prefix: fc.constantFrom("metrics", "metric"),
  })
  .chain(({ key, op, value, prefix }) =>
    quotedKey(key).map((written) => ({
      text: `${prefix}.${written} ${op} ${value}`,
      holds: (run: Plain) => {
        const own = run.metrics.get(key);
        if (own === undefined) return false;
        if (op === "=") return own === value;
        if (op === "!=") return own !== value;
        if (op === "<") return own < value;
        if (op === "<=") return own <= value;
        return op === ">" ? own > value : own >= value;
      },
    })),
  );

const textual: fc.Arbitrary<Condition> = fc
  .record({
    kind: fc.constantFrom("params" as const, "tags" as const, "name" as const),
    key: fc.constantFrom(...KEYS),
    op: fc.constantFrom("=", "!=", "LIKE", "ILIKE", "like"),
    value: fc.constantFrom(...WORDS, "%", "a%", "_", "%b", "%[%", "*"),
  })
  .chain(({ kind, key, op, value }) =>
    quotedKey(key).map((written) => ({
      text: `${kind === "name" ? "attributes.run_name" : `${kind}.${written}`} ${op} '${value}'`,
      holds: (run: Plain) => {
        const own = kind === "name" ? run.name : run[kind].get(key);
        if (own === undefined) return false;
        if (op === "=") return own === value;
        if (op === "!=") return own !== value;
        // Case is folded for ASCII only, which is all that these words have.
        return like(value, own, op === "ILIKE");
      },
    })),
  );

describe("the filter of a search", () => {
  test("finds what a naive evaluator finds", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.oneof(numeric, textual), { minLength: 1, maxLength: 4 }),
        fc.constantFrom(" AND ", " and ", "\nAND  "),
        async (conditions, and) => {
          const found = await search(conditions.map(({ text }) => text).join(and));
          const expected = runs.filter((run) => conditions.every((condition) => condition.holds(run)));
          expect(new Set(found)).toEqual(new Set(expected.map(({ id }) => id)));
        },
      ),
      { numRuns: 400 },
    );
  });

  test("never fails but by INVALID_PARAMETER_VALUE, whatever is written", async () => {
    const piece = fc.oneof(
      fc.constantFrom(
        "metrics.",
        "params.a",
        "tags.`",
        '"',
        "'",
        "(",
        ")",
        "AND",
        "OR",
        "IN",
        "NOT",
        "LIKE",
        "=",
        "!=",
        ";",
        "--",
        "1",
        "'x'",
        "constructor.x",
        "__proto__",
      ),
      fc.string({ maxLength: 5 }),
    );
    await fc.assert(
      fc.asyncProperty(fc.array(piece, { maxLength: 8 }), async (pieces) => {
        const filter = pieces.join(" ");
        const found = await t.post("runs/search", { experiment_ids: [experiment], filter });
        expect([200, 400]).toContain(found.status);
        if (found.status === 400) expect(found.at("error_code")).toBe("INVALID_PARAMETER_VALUE");
      }),
      { numRuns: 400 },
    );
  });

  test("text from a user is text, not SQL", async () => {
    expect(await search("tags.k = 'x'' OR 1=1 --'")).toEqual([]);
    expect(await search("tags.k = 'x' OR 1=1 --'").catch((error: Error) => error.message)).toMatch(/INVALID/);
    expect(await search("params.\"k' OR '1'='1\" = 'a'")).toEqual([]);
    expect(await search('params.k = "\'; DROP TABLE runs; --"')).toEqual([]);
    expect((await search("")).length).toBe(60);
  });

  test("finds by id lists and by data set", async () => {
    const [first, second, third] = runs.map(({ id }) => id);
    expect(new Set(await search(`run_id IN ('${first}', '${second}')`))).toEqual(new Set([first, second]));
    expect((await search(`attributes.run_id NOT IN ('${first}')`)).length).toBe(59);
    await t.post("runs/log-inputs", {
      run_id: third,
      datasets: [{ dataset: { name: "pairs", digest: "d1" }, tags: [{ key: "mlflow.data.context", value: "train" }] }],
    });
    expect(await search("datasets.name = 'pairs' AND dataset.context LIKE 'tr%'")).toEqual([third]);
    expect(await search("datasets.digest IN ('d2')")).toEqual([]);
  });

  test.each([
    ["metrics.k = 'text'", "a number"],
    ["params.k = 5", "a quoted value"],
    ["params.k > 'a'", "Invalid comparator"],
    ["metrics.k LIKE 'a'", "Invalid comparator"],
    ["colour.k = 'a'", "Invalid entity type 'colour'"],
    ["attributes.colour = 'a'", "Invalid attribute key 'colour'"],
    ["metrics.k = 1 OR metrics.k = 2", "OR is not supported"],
    ["metrics.k =", "found the end"],
    ["tags.`k = 'a'", "is not closed"],
    ["constructor = 'a'", "Invalid attribute key"],
  ])("%s is refused and told why", async (filter, why) => {
    const refused = await t.post("runs/search", { experiment_ids: [experiment], filter });
    expect(refused.status).toBe(400);
    expect(refused.text("message")).toContain(why);
  });
});

describe("the order of a search", () => {
  test.each(["ASC", "DESC"])("by a metric %s puts numbers first, then NaN, then what lacks it", async (direction) => {
    const found = await search("", [`metrics.k ${direction}`]);
    const value = (id: string): number | undefined => runs.find((run) => run.id === id)?.metrics.get("k");
    const rank = (id: string): number => (value(id) === undefined ? 2 : Number.isNaN(value(id)) ? 1 : 0);
    const expected = [...found].sort((a, b) => {
      if (rank(a) !== rank(b)) return rank(a) - rank(b);
      if (rank(a) > 0) return 0;
      return (Number(value(a)) - Number(value(b))) * (direction === "ASC" ? 1 : -1);
    });
    expect(found).toEqual(expected);
    expect(found.length).toBe(60);
  });

  test("is newest first without order_by", async () => {
    expect(await search("")).toEqual(runs.map(({ id }) => id).reverse());
  });

  test.each([
    [["start_time", "attributes.start_time DESC"]],
    [["metrics.k sideways"]],
    [["nothing"]],
    [["datasets.name"]],
  ])("%j is refused", async (order_by) => {
    expect((await t.post("runs/search", { experiment_ids: [experiment], order_by })).status).toBe(400);
  });

  test("pages hold every run once", async () => {
    const seen: string[] = [];
    let page_token: string | undefined;
    do {
      const found = await t.post("runs/search", {
        experiment_ids: [experiment],
        order_by: ["params.k"],
        max_results: 7,
        ...(page_token ? { page_token } : {}),
      });
      seen.push(...(found.at("runs") as { info: { run_id: string } }[]).map(({ info }) => info.run_id));
      page_token = found.at("next_page_token") as string | undefined;
    } while (page_token);
    expect(seen.length).toBe(60);
    expect(new Set(seen).size).toBe(60);
  });
});

test("the table of runs gives the asked columns and the number of all that match", async () => {
  const table = await t.post("/api/anneal/runs/table", {
    experiment_ids: [experiment],
    filter: "metrics.k > 0",
    order_by: ["metrics.k"],
    offset: 1,
    limit: 2,
    metrics: ["k"],
    params: ["k"],
    tags: ["mlflow.runName"],
  });
  const above = runs.filter((run) => (run.metrics.get("k") ?? 0) > 0);
  expect(table.at("total")).toBe(above.length);
  expect(table.at("rows.length")).toBe(2);
  expect(table.at("rows.0.metrics.k")).toBe(Math.min(...above.map((run) => run.metrics.get("k") ?? 0)));
  const keys = await t.get("/api/anneal/experiments/keys", { experiment_ids: [experiment] });
  expect(new Set(keys.at("metrics") as string[])).toEqual(new Set(KEYS));
});
