// Searches: quotes, missing values, logged models by data set, and pages while objects come and go.
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { TestTracker } from "../testing.ts";

let t: TestTracker;
beforeEach(async () => {
  t = await TestTracker.open();
});
afterEach(() => t.close());

type Found = { info: { run_id: string } }[];

describe("quotes in a filter", () => {
  test.each([
    ["it's", "'it''s'"],
    ["it's", "'it\\'s'"],
    ["it's", '"it\'s"'],
    ['say "x"', "'say \"x\"'"],
    ['say "x"', '"say ""x"""'],
    ["C:\\", "'C:\\'"],
    ["a\\b", "'a\\b'"],
    ["'", "''''"],
    ["", "''"],
    ["x' OR 1=1 --", "'x'' OR 1=1 --'"],
  ])("the value %s is written %s", async (value, written) => {
    const run_id = await t.run({ tags: [{ key: "k", value }] });
    await t.run({ tags: [{ key: "k", value: "another" }] });
    const found = await t.post("runs/search", { experiment_ids: ["0"], filter: `tags.k = ${written}` });
    expect(((found.at("runs") ?? []) as Found).map(({ info }) => info.run_id)).toEqual([run_id]);
  });

  test("a name has both kinds of quotes", async () => {
    // A key may not have quotes, but a search for one is answered.
    for (const filter of ["tags.\"a`b\" = 'x'", "tags.`a\"b` = 'x'", "tags.`a``b\"` = 'x'", 'tags."a""b`" = \'x\'']) {
      expect((await t.post("runs/search", { experiment_ids: ["0"], filter })).body).toEqual({});
    }
    expect((await t.post("runs/search", { experiment_ids: ["0"], filter: "tags.k = 'a''" })).status).toBe(400);
  });
});

test("runs are searched by what they lack", async () => {
  const without = await t.run();
  const having = await t.run({ tags: [{ key: "team", value: "a" }] });
  await t.log(having, { params: [{ key: "lr", value: "1" }], metrics: [{ key: "loss", value: 1, timestamp: 1 }] });
  const search = async (filter: string) =>
    (((await t.post("runs/search", { experiment_ids: ["0"], filter })).at("runs") ?? []) as Found).map(
      ({ info }) => info.run_id,
    );
  for (const name of ["tags.team", "params.lr", "metrics.loss"]) {
    expect(await search(`${name} IS NULL`)).toEqual([without]);
    expect(await search(`${name} is not null AND run_id != 'x'`)).toEqual([having]);
  }
  const refused = await t.post("runs/search", { experiment_ids: ["0"], filter: "run_id IS NULL" });
  expect([refused.status, refused.text("message")]).toEqual([400, expect.stringContaining("Invalid comparator")]);
});

describe("pages", () => {
  /** All ids, page by page; `between` runs after each page. */
  async function pages(order_by: string[], between: (page: number) => Promise<unknown>): Promise<string[]> {
    const seen: string[] = [];
    let page_token: string | undefined;
    let page = 0;
    do {
      const found = await t.post("runs/search", { experiment_ids: ["0"], order_by, max_results: 3, page_token });
      expect(found.status).toBe(200);
      seen.push(...((found.at("runs") ?? []) as Found).map(({ info }) => info.run_id));
      page_token = found.at("next_page_token") as string | undefined;
      await between(page++);
    } while (page_token);
    return seen;
  }

  test.each([
    [[]],
    [["start_time ASC"]],
    [["metrics.m DESC"]],
    [["metrics.m ASC", "params.p DESC"]],
    [["params.p ASC"]],
    [["end_time DESC"]],
    [["tags.rare", "attributes.run_name DESC"]],
  ])("ordered by %j neither repeat nor skip runs while others come and go", async (order_by) => {
    const kept: string[] = [];
    const passing: string[] = [];
    const add = async (n: number, into: string[]) => {
      const run_id = await t.run({ start_time: 1000 + (n % 7), run_name: `run ${n % 3}` });
      const metrics = n % 4 === 3 ? [] : [{ key: "m", value: n % 4 === 2 ? "NaN" : n % 5, timestamp: 1 }];
      const tags = n % 6 === 0 ? [{ key: "rare", value: `${n}` }] : [];
      await t.log(run_id, { metrics, tags, params: n % 3 === 0 ? [] : [{ key: "p", value: `${n % 2}` }] });
      if (n % 2 === 0) await t.post("runs/update", { run_id, status: "FINISHED", end_time: 2000 + (n % 3) });
      into.push(run_id);
    };
    for (let n = 0; n < 17; n++) await add(n, n % 4 === 1 ? passing : kept);
    const seen = await pages(order_by, async (page) => {
      const gone = passing.shift();
      if (gone) await t.post("runs/delete", { run_id: gone });
      await add(100 + page, []);
    });
    expect(new Set(seen).size).toBe(seen.length);
    expect(kept.filter((id) => !seen.includes(id))).toEqual([]);
  });

  test("are in the order of one page", async () => {
    for (let n = 0; n < 10; n++) {
      const run_id = await t.run({ start_time: n % 3 });
      const value = n % 3 === 0 ? "NaN" : n % 4;
      if (n < 8) await t.log(run_id, { metrics: [{ key: "m", value, timestamp: 1 }] });
    }
    for (const order_by of [["metrics.m DESC"], ["metrics.m", "start_time"], ["start_time"], []]) {
      const all = await t.post("runs/search", { experiment_ids: ["0"], order_by });
      const one = (all.at("runs") as Found).map(({ info }) => info.run_id);
      expect(await pages(order_by, async () => undefined)).toEqual(one);
    }
  });

  test("of experiments, models and versions continue at a position, too", async () => {
    const listed = async (path: string, list: string, name: string, between: (n: number) => Promise<unknown>) => {
      const seen: unknown[] = [];
      let page_token = "";
      for (let n = 0; n < 20; n++) {
        const found = await t.get(path, { max_results: "2", ...(page_token ? { page_token } : {}) });
        seen.push(...((found.at(list) ?? []) as Record<string, unknown>[]).map((it) => it[name]));
        if (found.at("next_page_token") === undefined) return seen;
        page_token = found.text("next_page_token");
        await between(n);
      }
      return seen;
    };
    for (let n = 0; n < 5; n++) {
      await t.post("experiments/create", { name: `e${n}` });
      await t.post("registered-models/create", { name: `m${n}` });
    }
    const create = (path: string, name: string) => (n: number) => t.post(path, { name: `${name}${n}` });
    const experiments = await listed("experiments/search", "experiments", "name", create("experiments/create", "new"));
    expect(experiments).toEqual(["e4", "e3", "e2", "e1", "e0", "Default"]);
    const models = await listed(
      "registered-models/search",
      "registered_models",
      "name",
      create("registered-models/create", "a"),
    );
    expect(models).toEqual(["m0", "m1", "m2", "m3", "m4"]);
  });

  test("a token of an earlier release is accepted, and another search's or a made-up one refused", async () => {
    for (let n = 0; n < 4; n++) await t.run({ start_time: n });
    const search = (more: object) => t.post("runs/search", { experiment_ids: ["0"], max_results: 2, ...more });
    const token = (content: unknown) => Buffer.from(JSON.stringify(content)).toString("base64");
    expect((await search({ page_token: token({ offset: 3 }) })).at("runs.length")).toBe(1);
    const page_token = (await search({})).text("next_page_token");
    expect((await search({ page_token })).at("runs.length")).toBe(2);
    for (const wrong of [
      { page_token, order_by: ["start_time ASC"] },
      { page_token: "nonsense" },
      { page_token: token({ after: ["x"] }) },
      { page_token: token({ after: [{}], order: "" }) },
      { page_token: token({ offset: -1 }) },
      { page_token: token([]) },
      { page_token: token({ after: [null, null], order: "47DEQpj8" }) },
      { page_token: token({ after: [1, 2, 3], order: "47DEQpj8" }) },
    ]) {
      const refused = await search(wrong);
      expect([wrong, refused.status, refused.at("error_code")]).toEqual([wrong, 400, "INVALID_PARAMETER_VALUE"]);
    }
  });
});

describe("logged models", () => {
  test("are searched by the data sets that they were measured on", async () => {
    const run_id = await t.run();
    const model = async (name: string) =>
      (await t.post("logged-models", { experiment_id: "0", name })).text("model.info.model_id");
    const [a, b] = [await model("a"), await model("b")];
    await model("unmeasured");
    const log = (model_id: string, value: number, dataset_name: string, dataset_digest: string) =>
      t.post("runs/log-metric", { run_id, key: "acc", value, timestamp: 1, model_id, dataset_name, dataset_digest });
    await log(a, 0.9, "easy", "1");
    await log(a, 0.2, "hard", "1");
    await log(b, 0.5, "hard", "2");
    const search = async (more: object) => {
      const found = await t.post("logged-models/search", { experiment_ids: ["0"], ...more });
      expect(found.status).toBe(200);
      return ((found.at("models") ?? []) as { info: { name: string } }[]).map(({ info }) => info.name).sort();
    };
    const hard = { dataset_name: "hard" };
    expect(await search({ datasets: [hard] })).toEqual(["a", "b"]);
    expect(await search({ datasets: [{ ...hard, dataset_digest: "2" }] })).toEqual(["b"]);
    expect(await search({ datasets: [{ dataset_name: "none" }] })).toEqual([]);
    expect(await search({ filter: "metrics.acc > 0.4" })).toEqual(["a", "b"]);
    expect(await search({ filter: "metrics.acc > 0.4", datasets: [hard] })).toEqual(["b"]);
    const order = { field_name: "metrics.acc", ascending: false };
    const first = async (more: object) =>
      (await t.post("logged-models/search", { experiment_ids: ["0"], order_by: [{ ...order, ...more }] })).at(
        "models.0.info.name",
      );
    expect([await first({}), await first(hard)]).toEqual(["a", "b"]);
    const wrong = { order_by: [{ field_name: "name", ...hard }] };
    expect((await t.post("logged-models/search", { experiment_ids: ["0"], ...wrong })).status).toBe(400);
  });
});
