import Fastify from "fastify";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { Principal } from "../access/principal.ts";
import type { Grant, Role } from "../store/types.ts";
import { TestTracker } from "../testing.ts";
import { trackerPlugin } from "./plugin.ts";

let t: TestTracker;
beforeEach(async () => {
  t = await TestTracker.open();
});
afterEach(() => t.close());

const datasets = (path: string) => `/api/3.0/mlflow/datasets/${path}`;
const scorers = (path: string) => `/api/3.0/mlflow/scorers/${path}`;
const experiment = async (name: string) => (await t.post("experiments/create", { name })).text("experiment_id");

async function create(name: string, experiment_ids: string[] = [], tags: object = {}): Promise<string> {
  const made = await t.post(datasets("create"), { name, experiment_ids, tags: JSON.stringify(tags) });
  expect(made.status).toBe(200);
  return made.text("dataset.dataset_id");
}
const get = async (id: string) => (await t.get(datasets(id))).body.dataset as Record<string, string>;
const records = async (id: string, query: Record<string, string> = {}) => {
  const found = await t.get(datasets(`${id}/records`), query);
  return { list: JSON.parse(found.text("records")) as Record<string, unknown>[], token: found.at("next_page_token") };
};
const upsert = (id: string, list: object[]) => t.post(datasets(`${id}/records`), { records: JSON.stringify(list) });

describe("data sets for evaluation", () => {
  test("are created, tagged, found and deleted", async () => {
    const [one, two] = [await experiment("one"), await experiment("two")];
    const a = await create("a", [one], { team: "ml", n: 1 });
    const b = await create("b", [one, two], { team: "data" });
    const c = await create("c", [two], { team: "ml" });
    await create("free");
    expect(a).toMatch(/^d-[0-9a-f]{32}$/);
    const made = await get(a);
    expect(made).toMatchObject({ name: "a", experiment_ids: [one], created_by: "tester", digest: expect.any(String) });
    expect(JSON.parse(made.tags ?? "")).toEqual({ team: "ml", n: "1" });
    const search = async (more: object) =>
      (((await t.post(datasets("search"), more)).at("datasets") ?? []) as { name: string }[]).map(({ name }) => name);
    expect(await search({ order_by: ["name ASC"] })).toEqual(["a", "b", "c", "free"]);
    expect(await search({ experiment_ids: [one], order_by: ["name"] })).toEqual(["a", "b"]);
    expect(await search({ filter_string: "tags.team = 'ml' AND name LIKE 'c%'" })).toEqual(["c"]);
    const page = await t.post(datasets("search"), { order_by: ["name DESC"], max_results: 3 });
    const rest = { order_by: ["name DESC"], page_token: page.text("next_page_token") };
    expect(await search(rest)).toEqual(["a"]);
    await t.send("PATCH", datasets(`${a}/tags`), { tags: JSON.stringify({ team: "x", more: "y" }) });
    await t.send("DELETE", datasets(`${a}/tags/n`));
    expect(JSON.parse((await get(a)).tags ?? "")).toEqual({ team: "x", more: "y" });
    expect((await t.send("DELETE", datasets(b))).body).toEqual({});
    const gone = await t.get(datasets(b));
    expect([gone.at("error_code"), gone.text("message")]).toEqual([
      "RESOURCE_DOES_NOT_EXIST",
      `Evaluation dataset with id '${b}' not found.`,
    ]);
    expect((await t.get(datasets(`${c}/experiment-ids`))).body).toEqual({ experiment_ids: [two] });
  });

  test("are added to experiments and removed from them, again without effect", async () => {
    const [one, two] = [await experiment("one"), await experiment("two")];
    const id = await create("a", [one]);
    for (let again = 0; again < 2; again++) {
      const added = await t.post(datasets(`${id}/add-experiments`), { dataset_id: id, experiment_ids: [one, two] });
      expect(added.at("dataset.experiment_ids")).toEqual([one, two]);
    }
    const removed = await t.post(datasets(`${id}/remove-experiments`), { experiment_ids: [one, two, "99"] });
    expect(removed.at("dataset.experiment_ids")).toBeUndefined();
    expect((await t.post(datasets(`${id}/add-experiments`), { experiment_ids: ["99"] })).status).toBe(404);
    expect((await t.post(datasets("d-none/add-experiments"), { experiment_ids: [one] })).status).toBe(404);
  });

  test("records with the same inputs are merged, whatever the order of their keys", async () => {
    const id = await create("a");
    const first = await upsert(id, [
      { inputs: { q: "1", k: { a: 1, b: [2] } }, expectations: { answer: "x" }, tags: { level: "easy" } },
      { inputs: { q: "2" }, source: { source_type: "TRACE", source_data: { trace_id: "tr-1" } }, outputs: "done" },
    ]);
    expect(first.body).toEqual({ inserted_count: 2, updated_count: 0 });
    const second = await upsert(id, [
      { inputs: { k: { b: [2], a: 1 }, q: "1" }, expectations: { other: 2 }, tags: { "mlflow.user": "ada" } },
      { inputs: { q: "3" } },
    ]);
    expect(second.body).toEqual({ inserted_count: 1, updated_count: 1 });
    const { list } = await records(id);
    expect(list.find(({ inputs }) => (inputs as { q: string }).q === "1")).toMatchObject({
      dataset_record_id: expect.stringMatching(/^dr-/),
      dataset_id: id,
      expectations: { answer: "x", other: 2 },
      tags: { level: "easy", "mlflow.user": "ada" },
      created_by: "tester",
      last_updated_by: "ada",
    });
    expect(list.find(({ inputs }) => (inputs as { q: string }).q === "2")).toMatchObject({
      outputs: "done",
      source: { source_type: "TRACE", source_data: { trace_id: "tr-1" } },
      source_type: "TRACE",
      source_id: "tr-1",
    });
    const { schema = "", profile = "" } = await get(id);
    expect(JSON.parse(profile)).toEqual({ num_records: 3 });
    expect(JSON.parse(schema)).toMatchObject({
      inputs: { q: "string", k: "object" },
      expectations: { answer: "string", other: "integer" },
    });
    const [{ dataset_record_id } = {}] = list;
    const deleted = await t.send("DELETE", datasets(`${id}/records`), { dataset_record_ids: [dataset_record_id, "x"] });
    expect(deleted.body).toEqual({ deleted_count: 1 });
    expect((await records(id)).list).toHaveLength(2);
  });

  test("records come in pages", async () => {
    const id = await create("a");
    await upsert(
      id,
      Array.from({ length: 7 }, (_, n) => ({ inputs: { n } })),
    );
    const seen: unknown[] = [];
    let page_token: string | undefined;
    do {
      const { list, token } = await records(id, { max_results: "3", ...(page_token ? { page_token } : {}) });
      seen.push(...list.map(({ inputs }) => (inputs as { n: number }).n));
      page_token = token as string | undefined;
    } while (page_token);
    expect(seen.sort()).toEqual([0, 1, 2, 3, 4, 5, 6]);
  });

  test.each([
    ["no JSON", "{"],
    ["no list", "{}"],
    ["no inputs", '[{"expectations": {}}]'],
    ["inputs that are a text", '[{"inputs": "x"}]'],
    ["a source without a type", '[{"inputs": {}, "source": {}}]'],
  ])("records that are %s are refused", async (_, text) => {
    const id = await create("a");
    const refused = await t.post(datasets(`${id}/records`), { records: text });
    expect([refused.status, refused.at("error_code")]).toEqual([400, "INVALID_PARAMETER_VALUE"]);
  });

  test("of several experiments are seen by who may view one, and changed by who may change all", async () => {
    const [one, two] = [await experiment("one"), await experiment("two")];
    const both = await create("both", [one, two]);
    const only = await create("only", [two]);
    const free = await create("free");
    const app = Fastify();
    let principal: Principal;
    app.decorateRequest("principal", undefined);
    app.addHook("onRequest", async (request) => {
      request.principal = principal;
    });
    await app.register(trackerPlugin, { tracker: t.tracker });
    const as = (role: Role, ...roles: [string, Role][]) => {
      const grants = roles.map(([target, role]): Grant => ({ user: "ada", kind: "experiment", target, role }));
      principal = new Principal({ name: "ada", role, grants });
    };
    const seen = async () => {
      const { body } = await app.inject({ method: "POST", url: datasets("search"), payload: { order_by: ["name"] } });
      return (JSON.parse(body).datasets ?? []).map(({ name }: { name: string }) => name);
    };
    const status = async (method: "GET" | "PATCH" | "DELETE", id: string, path = "") =>
      (await app.inject({ method, url: datasets(id) + path, payload: method === "PATCH" ? { tags: "{}" } : {} }))
        .statusCode;
    as("none", [one, "editor"]);
    expect(await seen()).toEqual(["both"]);
    expect([await status("GET", both), await status("PATCH", both, "/tags"), await status("GET", only)]).toEqual([
      200, 403, 403,
    ]);
    as("viewer", [two, "none"]);
    expect(await seen()).toEqual(["both", "free"]);
    expect([await status("GET", free), await status("DELETE", free), await status("GET", only)]).toEqual([
      200, 403, 403,
    ]);
    as("none", [one, "editor"], [two, "editor"]);
    expect(await seen()).toEqual(["both", "only"]);
    expect([await status("PATCH", both, "/tags"), await status("GET", free)]).toEqual([200, 403]);
    as("editor", [two, "viewer"]);
    const add = await app.inject({
      method: "POST",
      url: datasets(`${free}/add-experiments`),
      payload: { experiment_ids: [two] },
    });
    expect(add.statusCode).toBe(403);
    await app.close();
  });

  test("of a removed experiment are removed, not everyone's", async () => {
    const [one, two] = [await experiment("one"), await experiment("two")];
    const only = await create("only", [one]);
    const both = await create("both", [one, two]);
    await t.post("experiments/delete", { experiment_id: one });
    expect(await t.tracker.store.garbage.removeEmptyExperiments(Date.now() + 1)).toEqual([one]);
    expect((await t.get(datasets(only))).status).toBe(404);
    expect((await get(both)).experiment_ids).toEqual([two]);
  });
});

describe("scorers", () => {
  test("have versions", async () => {
    const experiment_id = await experiment("e");
    const register = (serialized_scorer: string) =>
      t.post(scorers("register"), { experiment_id, name: "judge", serialized_scorer });
    const named = { experiment_id, name: "judge" };
    expect((await register("1")).body).toMatchObject({ version: 1, ...named, serialized_scorer: "1" });
    expect((await register("2")).at("version")).toBe(2);
    await t.post(scorers("register"), { experiment_id, name: "another", serialized_scorer: "x" });
    const list = async (path: string, query: Record<string, string>) =>
      (
        ((await t.get(scorers(path), query)).at("scorers") ?? []) as { scorer_name: string; scorer_version: number }[]
      ).map((it) => `${it.scorer_name} ${it.scorer_version}`);
    expect(await list("list", { experiment_id })).toEqual(["another 1", "judge 2"]);
    expect(await list("versions", named)).toEqual(["judge 1", "judge 2"]);
    expect((await t.get(scorers("get"), named)).at("scorer")).toMatchObject({
      experiment_id: Number(experiment_id),
      scorer_version: 2,
      serialized_scorer: "2",
    });
    expect((await t.get(scorers("get"), { ...named, version: "1" })).at("scorer.serialized_scorer")).toBe("1");
    expect((await t.send("DELETE", scorers("delete"), { ...named, version: 1 })).body).toEqual({});
    expect(await list("versions", named)).toEqual(["judge 2"]);
    expect((await register("3")).at("version")).toBe(3);
    await t.send("DELETE", scorers("delete"), named);
    expect(await list("list", { experiment_id })).toEqual(["another 1"]);
    for (const unknown of [
      t.get(scorers("get"), named),
      t.get(scorers("versions"), named),
      t.send("DELETE", scorers("delete"), named),
      t.get(scorers("get"), { experiment_id, name: "another", version: "7" }),
      t.post(scorers("register"), { experiment_id: "99", name: "a", serialized_scorer: "x" }),
    ]) {
      expect((await unknown).at("error_code")).toBe("RESOURCE_DOES_NOT_EXIST");
    }
  });
});
