import { createRequire } from "node:module";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { TestTracker } from "../testing.ts";

const require = createRequire(import.meta.url);

type Call = (fields?: object) => Promise<unknown>;

/** The npm package `mlflow`, a client by a third party: an object for each part of the protocol, whose methods are its calls. */
interface Client extends Record<"Experiments" | "Runs" | "Metrics" | "Artifacts", Record<string, Call>> {
  req(method: string, path: string, fields: object): Promise<unknown>;
}

/** What no server can answer, MLflow's neither, with the request that the package sends. */
const impossible = { "Experiments.setExperimentTag": "POST /api/2.0/mlflow/experimentsset-experiment-tag" };

/** Names of what a class defines for its objects. */
const membersOf = (prototype: object): string[] =>
  Object.getOwnPropertyNames(prototype).filter((name) => name !== "constructor");

let t: TestTracker;
let client: Client;
/** Calls that were answered, as `Runs.create`. */
const answered = new Set<string>();

/** A part of the client that notes which of its methods were answered. */
const noted = (part: keyof Client, methods: Record<string, Call>): Record<string, Call> =>
  Object.fromEntries(
    membersOf(Object.getPrototypeOf(methods)).map((name) => [
      name,
      async (fields?: object) => {
        const answer = await methods[name].call(methods, fields);
        answered.add(`${part}.${name}`);
        return answer;
      },
    ]),
  );

beforeAll(async () => {
  t = await TestTracker.open();
  vi.spyOn(console, "log").mockReturnValue(); // the client prints every body that it sends
  const MLflow = require("mlflow") as new (options: { endpoint: string }) => Client;
  const made = new MLflow({ endpoint: await t.app.listen({ host: "127.0.0.1", port: 0 }) });
  client = {
    Experiments: noted("Experiments", made.Experiments),
    Runs: noted("Runs", made.Runs),
    Metrics: noted("Metrics", made.Metrics),
    Artifacts: noted("Artifacts", made.Artifacts),
    req: (...request) => made.req(...request),
  };
});
afterAll(() => t.close());

test("a third party's client does all that it can do", async () => {
  const { ViewType, RunStatus } = require("mlflow/enum") as Record<string, Record<string, string>>;
  const { Experiments, Runs, Metrics, Artifacts } = client;
  const { experiment_id } = (await Experiments.create({ name: "from a client" })) as { experiment_id: string };
  await Experiments.update({ experiment_id, new_name: "renamed by a client" });
  const renamed = { experiment: { name: "renamed by a client", lifecycle_stage: "active" } };
  expect(await Experiments.get({ experiment_id })).toMatchObject(renamed);
  const { experiments } = (await Experiments.list({ view_type: ViewType.ALL })) as { experiments: object[] };
  expect(experiments.length).toBe(2);
  expect(await Experiments.list()).toEqual({ experiments });
  // Its way to whatever it has no method for.
  const asked = await client.req("get", "experiments/get-by-name", { experiment_name: "renamed by a client" });
  expect(asked).toMatchObject(renamed);

  const tags = [{ key: "made", value: "by a client" }];
  const created = (await Runs.create({ experiment_id, user_id: "me", start_time: 1700000000000, tags })) as {
    run: { info: { run_id: string } };
  };
  const { run_id } = created.run.info;
  const metric = { key: "loss", value: 0.25, timestamp: 1700000000001, step: 1 };
  await Runs.logMetric({ run_id, ...metric });
  await Runs.logParameter({ run_id, key: "lr", value: "0.1" });
  await Runs.setTag({ run_id, key: "mood", value: "good" });
  await Runs.setTag({ run_id, key: "passing", value: "1" });
  await Runs.deleteTag({ run_id, key: "passing" });
  await Runs.logBatch({
    run_id,
    metrics: [{ ...metric, step: 2, value: 0.125 }],
    params: [{ key: "epochs", value: "3" }],
    tags: [{ key: "from", value: "batch" }],
  });
  const updated = await Runs.update({ run_id, status: RunStatus.FINISHED, end_time: 1700000002000 });
  expect(updated).toMatchObject({ run_info: { run_id, status: "FINISHED" } });
  const { run } = (await Runs.get({ run_id })) as { run: { data: { tags: object[] } } };
  expect(run).toMatchObject({
    info: { status: "FINISHED", end_time: 1700000002000, user_id: "me" },
    data: {
      metrics: [{ key: "loss", value: 0.125, step: 2 }],
      params: [
        { key: "epochs", value: "3" },
        { key: "lr", value: "0.1" },
      ],
    },
  });
  expect(run.data.tags).toEqual(expect.arrayContaining([...tags, { key: "mood", value: "good" }]));
  expect(JSON.stringify(run.data.tags)).not.toContain("passing");
  expect(await Metrics.getHistory({ run_id, metric_key: "loss" })).toMatchObject({
    metrics: [metric, { ...metric, step: 2, value: 0.125 }],
  });
  const search = {
    experiment_ids: [experiment_id],
    filter: "metrics.loss < 0.2 AND tags.mood = 'good'",
    run_view_type: ViewType.ACTIVE_ONLY,
    order_by: ["metrics.loss DESC"],
  };
  expect(await Runs.search({ ...search, max_results: 5 })).toMatchObject({ runs: [{ info: { run_id } }] });
  expect(await Runs.search({ experiment_ids: [experiment_id] })).toMatchObject({ runs: [{ info: { run_id } }] });

  await t.send("PUT", `/api/2.0/mlflow-artifacts/artifacts/${experiment_id}/${run_id}/artifacts/model/config.json`);
  expect(await Artifacts.list({ run_id })).toMatchObject({
    root_uri: expect.stringContaining(run_id),
    files: [{ path: "model", is_dir: true }],
  });
  expect(await Artifacts.list({ run_id, path: "model" })).toMatchObject({
    files: [{ path: "model/config.json", is_dir: false, file_size: 2 }],
  });

  await Runs.delete({ run_id });
  expect(await Runs.search(search)).toEqual({});
  expect(await Runs.search({ ...search, run_view_type: ViewType.DELETED_ONLY })).toMatchObject({
    runs: [{ info: { run_id, lifecycle_stage: "deleted" } }],
  });
  await Runs.restore({ run_id });
  expect(await Runs.search(search)).toMatchObject({ runs: [{ info: { run_id } }] });
  await Experiments.delete({ experiment_id });
  await expect(Runs.create({ experiment_id, start_time: 1 })).rejects.toThrow("INVALID_PARAMETER_VALUE");
  await Experiments.restore({ experiment_id });
  expect(await Experiments.get({ experiment_id })).toMatchObject(renamed);
  await expect(Runs.get({ run_id: "nobody" })).rejects.toThrow("RESOURCE_DOES_NOT_EXIST");

  await expect(Experiments.setExperimentTag({ experiment_id, key: "a", value: "b" })).rejects.toThrow(
    impossible["Experiments.setExperimentTag"],
  );
  const all = (["Experiments", "Runs", "Metrics", "Artifacts"] as const).flatMap((part) =>
    Object.keys(client[part]).map((name) => `${part}.${name}`),
  );
  expect([...answered, ...Object.keys(impossible)].sort()).toEqual(all.sort());
});

test("the package has no parts but those that are tried", () => {
  const parts = membersOf((require("mlflow") as { prototype: object }).prototype);
  expect([...parts, "req"].sort()).toEqual(Object.keys(client).sort());
});
