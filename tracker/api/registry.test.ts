import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { Gate } from "../store/types.ts";
import { TestTracker } from "../testing.ts";

let t: TestTracker;
beforeEach(async () => {
  t = await TestTracker.open();
});
afterEach(() => t.close());

/** A version of the model "m" whose source run has these metrics. */
async function version(metrics: Record<string, number | string>, name = "m"): Promise<string> {
  const run_id = await t.run();
  await t.log(run_id, { metrics: Object.entries(metrics).map(([key, value]) => ({ key, value, timestamp: 1 })) });
  await t.post("registered-models/create", { name });
  const made = await t.post("model-versions/create", {
    name,
    run_id,
    source: `mlflow-artifacts:/0/${run_id}/artifacts/model`,
  });
  return made.text("model_version.version");
}

const gates = (list: object[], name = "m") =>
  t.send("PUT", `/api/anneal/registered-models/${name}/gates`, { gates: list });
const promote = (fields: object, who = "ada") =>
  t.post("/api/anneal/model-versions/promote", { name: "m", stage: "Production", ...fields }, { "x-user": who });
const stage = async (number: string) =>
  (await t.get("model-versions/get", { name: "m", version: number })).at("model_version.current_stage");

describe("registered models", () => {
  test("one is created, described, tagged, renamed with all that is its, and deleted", async () => {
    const number = await version({ x: 1 });
    await t.post("registered-models/set-tag", { name: "m", key: "team", value: "a" });
    await t.post("registered-models/alias", { name: "m", alias: "best", version: number });
    await t.send("PATCH", "registered-models/update", { name: "m", description: "What it does" });
    await gates([{ metric: "x", op: "<", bound: 2 }]);
    const renamed = await t.post("registered-models/rename", { name: "m", new_name: "better" });
    expect(renamed.at("registered_model.description")).toBe("What it does");
    expect(renamed.at("registered_model.aliases")).toEqual([{ alias: "best", version: "1" }]);
    expect(renamed.at("registered_model.latest_versions.0.name")).toBe("better");
    expect(
      (await t.get("registered-models/alias", { name: "better", alias: "best" })).at("model_version.version"),
    ).toBe("1");
    expect((await t.get("/api/anneal/registered-models/better/gates")).at("gates.0.bound")).toBe(2);
    expect((await t.get("registered-models/get", { name: "m" })).status).toBe(404);
    expect((await t.send("DELETE", "registered-models/delete", { name: "better" })).status).toBe(200);
    expect((await t.get("registered-models/get", { name: "better" })).at("error_code")).toBe("RESOURCE_DOES_NOT_EXIST");
  });

  test("a name is taken once and holds no slash", async () => {
    await t.post("registered-models/create", { name: "m" });
    const again = await t.post("registered-models/create", { name: "m" });
    expect([again.status, again.at("error_code")]).toEqual([400, "RESOURCE_ALREADY_EXISTS"]);
    for (const name of ["a/b", "a:b", "", "x".repeat(257)]) {
      expect((await t.post("registered-models/create", { name })).status).toBe(400);
    }
  });

  test("asking for no prompts finds models without the tag, and leaves out prompts", async () => {
    await t.post("registered-models/create", { name: "plain" });
    await t.post("registered-models/create", {
      name: "prompt",
      tags: [{ key: "mlflow.prompt.is_prompt", value: "true" }],
    });
    const found = await t.get("registered-models/search", { filter: "tag.`mlflow.prompt.is_prompt` != 'true'" });
    expect((found.at("registered_models") as { name: string }[]).map(({ name }) => name)).toEqual(["plain"]);
  });

  test.each(["latest", "v1", "V22", "with space", "", "a".repeat(256)])("the alias %j is refused", async (alias) => {
    const number = await version({ x: 1 });
    expect((await t.post("registered-models/alias", { name: "m", alias, version: number })).status).toBe(400);
  });
});

describe("model versions", () => {
  test("numbers count up and are not used again", async () => {
    expect(await version({ x: 1 })).toBe("1");
    expect(await version({ x: 1 })).toBe("2");
    await t.send("DELETE", "model-versions/delete", { name: "m", version: "2" });
    expect(await version({ x: 1 })).toBe("3");
    const found = await t.get("model-versions/search", { filter: "name = 'm'", order_by: "version_number ASC" });
    expect((found.at("model_versions") as { version: string }[]).map((it) => it.version)).toEqual(["1", "3"]);
  });

  test("the latest of each stage, and where the files are", async () => {
    await version({ x: 1 });
    await version({ x: 1 });
    await t.post("model-versions/transition-stage", { name: "m", version: "1", stage: "staging" });
    const latest = await t.post("registered-models/get-latest-versions", { name: "m", stages: ["Staging"] });
    expect(latest.at("model_versions.length")).toBe(1);
    expect(latest.at("model_versions.0.version")).toBe("1");
    const uri = await t.get("model-versions/get-download-uri", { name: "m", version: "2" });
    expect(uri.text("artifact_uri")).toMatch(/^mlflow-artifacts:\/0\/.+\/artifacts\/model$/);
  });

  test("a source that is a path of somebody's machine is refused", async () => {
    await t.post("registered-models/create", { name: "m" });
    for (const source of ["/home/me/model", "file:///etc", "C:\\model", ""]) {
      expect((await t.post("model-versions/create", { name: "m", source })).status).toBe(400);
    }
  });

  test("what is not there, and a stage or version that is none", async () => {
    await t.post("registered-models/create", { name: "m" });
    expect((await t.get("model-versions/get", { name: "m", version: "7" })).status).toBe(404);
    expect((await t.get("model-versions/get", { name: "m", version: "one" })).status).toBe(400);
    const number = await version({ x: 1 });
    const wrong = await t.post("model-versions/transition-stage", { name: "m", version: number, stage: "Live" });
    expect([wrong.status, wrong.text("message")]).toEqual([400, expect.stringContaining("Live")]);
  });
});

describe("gates", () => {
  test("a version that passes goes to Production; who, when, why and the results are remembered", async () => {
    const number = await version({ "test/perplexity": 3.2 });
    await gates([
      { metric: "test/perplexity", op: "<", bound: 4 },
      { metric: "test/perplexity", op: "<", versus: "production" },
    ]);
    const before = Date.now();
    const promoted = await promote({ version: number, comment: "first one" });
    expect(promoted.at("model_version.current_stage")).toBe("Production");
    expect(promoted.at("gates.0")).toMatchObject({ value: 3.2, against: 4, passed: true });
    expect(promoted.at("gates.1")).toMatchObject({ value: 3.2, against: null, passed: true });
    expect(promoted.text("gates.1.why")).toContain("No other version is in Production");
    const history = await t.get("/api/anneal/registered-models/m/history");
    expect(history.at("history.0")).toMatchObject({
      version: 1,
      from: "None",
      to: "Production",
      who: "ada",
      comment: "first one",
    });
    expect(Number(history.at("history.0.at"))).toBeGreaterThanOrEqual(before);
    expect(history.at("history.0.gates.length")).toBe(2);
  });

  test("one that fails stays where it is, and each gate says why", async () => {
    const number = await version({ "test/perplexity": 5 });
    await gates([
      { metric: "test/perplexity", op: "<", bound: 4 },
      { metric: "test/rougeL", op: ">", bound: 0.1 },
    ]);
    const refused = await promote({ version: number });
    expect([refused.status, refused.at("error_code")]).toEqual([409, "RESOURCE_CONFLICT"]);
    expect(refused.at("gates.0")).toMatchObject({ value: 5, against: 4, passed: false });
    expect(refused.at("gates.1")).toMatchObject({ value: null, passed: false });
    expect(refused.text("gates.1.why")).toContain("no metric test/rougeL");
    expect(await stage(number)).toBe("None");
    expect((await t.get("/api/anneal/registered-models/m/history")).at("history")).toEqual([]);
  });

  test("a version must beat the one in Production, which is then archived", async () => {
    await gates([{ metric: "loss", op: "<", versus: "production" }]).catch(() => undefined);
    const first = await version({ loss: 1 });
    await gates([{ metric: "loss", op: "<", versus: "production" }]);
    await promote({ version: first });
    const same = await version({ loss: 1 });
    const refused = await promote({ version: same });
    expect(refused.status).toBe(409);
    expect(refused.at("gates.0")).toMatchObject({ value: 1, against: 1, passed: false });
    const better = await version({ loss: 0.5 });
    expect((await promote({ version: better }, "grace")).status).toBe(200);
    expect([await stage(first), await stage(better)]).toEqual(["Archived", "Production"]);
    const history = await t.get("/api/anneal/registered-models/m/history");
    expect(history.at("history.0")).toMatchObject({ version: 3, to: "Production", who: "grace" });
    expect(history.at("history.1")).toMatchObject({ version: 1, from: "Production", to: "Archived", who: "grace" });
  });

  test("a metric that is NaN fails", async () => {
    const number = await version({ loss: "NaN" });
    await gates([{ metric: "loss", op: "<", bound: 1 }]);
    const refused = await promote({ version: number });
    expect(refused.at("gates.0")).toMatchObject({
      value: "NaN",
      passed: false,
      why: "loss is NaN.",
    });
  });

  test("a plain client's transition to Production obeys them too, and is remembered", async () => {
    const bad = await version({ loss: 2 });
    const good = await version({ loss: 0.5 });
    await gates([{ metric: "loss", op: "<=", bound: 0.5 }]);
    const move = (number: string, to: string) =>
      t.post("model-versions/transition-stage", { name: "m", version: number, stage: to }, { "x-user": "client" });
    const refused = await move(bad, "Production");
    expect([refused.status, refused.text("message")]).toEqual([409, expect.stringContaining("loss is 2")]);
    expect((await move(bad, "Staging")).status).toBe(200);
    expect((await move(good, "Production")).status).toBe(200);
    const history = await t.get("/api/anneal/registered-models/m/history");
    expect(history.at("history.0")).toMatchObject({ version: 2, from: "None", to: "Production", who: "client" });
    expect(history.at("history.1")).toMatchObject({ version: 1, from: "None", to: "Staging" });
  });

  test("two promotions at once: only the better one is left in Production", async () => {
    const numbers = await Promise.all([3, 2, 1].map((loss) => version({ loss })));
    await gates([{ metric: "loss", op: "<", versus: "production" }]);
    await Promise.all(numbers.map((number) => promote({ version: number })));
    const stages = await Promise.all(numbers.map(stage));
    expect(stages.filter((it) => it === "Production").length).toBe(1);
    expect((await promote({ version: numbers[0] ?? "" })).status).toBe(409);
  });

  test("they can be asked without promoting, and are kept over a restart", async () => {
    const number = await version({ loss: 2 });
    await gates([{ metric: "loss", op: "<", bound: 1 }]);
    await t.restart();
    const asked = await t.get(`/api/anneal/model-versions/m/${number}/gates`);
    expect([asked.at("passed"), asked.at("gates.0.passed"), asked.at("production_version")]).toEqual([
      false,
      false,
      null,
    ]);
  });

  test.each([
    { metric: "a", op: "<" },
    { metric: "a", op: "<", bound: 1, versus: "production" },
    { metric: "a", op: "==", bound: 1 },
    { metric: "", op: "<", bound: 1 },
    { metric: "a", op: "<", bound: "1" },
    { metric: "a", op: "<", versus: "staging" },
  ])("the gate %j is refused", async (gate) => {
    await t.post("registered-models/create", { name: "m" });
    expect((await gates([gate])).status).toBe(400);
  });

  test("the history outlives a version and a model", async () => {
    const number = await version({ loss: 1 });
    await promote({ version: number });
    await promote({ version: number, stage: "Archived" });
    await t.send("DELETE", "registered-models/delete", { name: "m" }, { "x-user": "bob" });
    const history = await t.get("/api/anneal/registered-models/m/history");
    expect(history.at("history.0")).toMatchObject({ from: "Archived", to: "Deleted", who: "bob" });
  });
});

test("the store lets a version reach Production only with what it was judged by", async () => {
  const { registry } = t.tracker.store;
  await registry.createModel({ name: "judged", description: null, tags: [] });
  for (const _ of [1, 2]) await t.post("model-versions/create", { name: "judged", source: "runs:/elsewhere/model" });
  const gates: Gate[] = [{ metric: "loss", op: "<", bound: 1 }];
  await registry.setGates("judged", gates);
  const wanted = { name: "judged", version: 1, archiveExisting: true, who: "ada", comment: null, gates: [] };
  const alias = { alias: "champion", version: 1 };
  // Without it: whoever asked saw the version in Production, where it no longer is.
  expect(await registry.transition({ ...wanted, stage: "Production" })).toBeUndefined();
  for (const judged of [
    { production: null, gates: [] },
    { production: null, gates: [{ ...gates[0], bound: 2 } as Gate] },
    { production: null, gates: [...gates, ...gates] },
    { production: 2, gates },
  ]) {
    expect(await registry.transition({ ...wanted, stage: "Production", judged })).toBeUndefined();
    expect(await registry.setAlias("judged", alias, judged)).toBe(false);
  }
  const judged = { production: null, gates };
  expect(await registry.transition({ ...wanted, stage: "Production", judged })).toMatchObject({ stage: "Production" });
  // In Production already, there is nothing to judge.
  expect(await registry.transition({ ...wanted, stage: "Production" })).toMatchObject({ stage: "Production" });
  expect(await registry.transition({ ...wanted, stage: "Archived" })).toMatchObject({ stage: "Archived" });
  expect(await registry.transition({ ...wanted, stage: "Production" })).toBeUndefined();
  expect(await registry.setAlias("judged", alias, judged)).toBe(true);
});
