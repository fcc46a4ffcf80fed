import { createRequire } from "node:module";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { TestTracker } from "../testing.ts";

/** The parts of the npm package `mlflow`, a client by a third party, that are used below. */
interface Client {
  Experiments: Record<
    "create" | "list" | "get" | "delete" | "update" | "restore",
    (fields?: object) => Promise<unknown>
  >;
  Runs: Record<
    | "create"
    | "delete"
    | "restore"
    | "get"
    | "logMetric"
    | "setTag"
    | "deleteTag"
    | "logParameter"
    | "logBatch"
    | "search"
    | "update",
    (fields: object) => Promise<unknown>
  >;
  Metrics: { getHistory(fields: object): Promise<unknown> };
  Artifacts: { list(fields: object): Promise<unknown> };
}

let t: TestTracker;
let client: Client;
beforeAll(async () => {
  t = await TestTracker.open();
  vi.spyOn(console, "log").mockReturnValue(); // the client prints every body that it sends
  const MLflow = createRequire(import.meta.url)("mlflow") as new (options: { endpoint: string }) => Client;
  client = new MLflow({ endpoint: await t.app.listen({ host: "127.0.0.1", port: 0 }) });
});
afterAll(() => t.close());

test("a third party's client does all that it can do", async () => {
  const { experiment_id } = (await client.Experiments.create({ name: "from a client" })) as { experiment_id: string };
  await client.Experiments.update({ experiment_id, new_name: "renamed by a client" });
  expect(await client.Experiments.get({ experiment_id })).toMatchObject({
    experiment: { name: "renamed by a client" },
  });
  const { experiments } = (await client.Experiments.list({ view_type: "ALL" })) as { experiments: object[] };
  expect(experiments.length).toBe(2);

  const created = (await client.Runs.create({ experiment_id, user_id: "me", start_time: 1700000000000, tags: [] })) as {
    run: { info: { run_id: string } };
  };
  const { run_id } = created.run.info;
  const metric = { key: "loss", value: 0.25, timestamp: 1700000000001, step: 1 };
  await client.Runs.logMetric({ run_id, ...metric });
  await client.Runs.logParameter({ run_id, key: "lr", value: "0.1" });
  await client.Runs.setTag({ run_id, key: "mood", value: "good" });
  await client.Runs.setTag({ run_id, key: "passing", value: "1" });
  await client.Runs.deleteTag({ run_id, key: "passing" });
  await client.Runs.logBatch({
    run_id,
    metrics: [{ ...metric, step: 2, value: 0.125 }],
    params: [{ key: "epochs", value: "3" }],
    tags: [{ key: "from", value: "batch" }],
  });
  await client.Runs.update({ run_id, status: "FINISHED", end_time: 1700000002000 });
  expect(await client.Runs.get({ run_id })).toMatchObject({
    run: {
      info: { status: "FINISHED", end_time: 1700000002000 },
      data: {
        metrics: [{ key: "loss", value: 0.125, step: 2 }],
        params: [
          { key: "epochs", value: "3" },
          { key: "lr", value: "0.1" },
        ],
      },
    },
  });
  expect(await client.Metrics.getHistory({ run_id, metric_key: "loss" })).toMatchObject({
    metrics: [metric, { ...metric, step: 2, value: 0.125 }],
  });
  const found = await client.Runs.search({
    experiment_ids: [experiment_id],
    filter: "metrics.loss < 0.2 AND tags.mood = 'good'",
    run_view_type: "ACTIVE_ONLY",
    max_results: 5,
    order_by: ["metrics.loss DESC"],
  });
  expect(found).toMatchObject({ runs: [{ info: { run_id } }] });
  expect(await client.Artifacts.list({ run_id })).toMatchObject({ root_uri: expect.stringContaining(run_id) });

  await client.Runs.delete({ run_id });
  await client.Runs.restore({ run_id });
  await client.Experiments.delete({ experiment_id });
  await expect(client.Runs.create({ experiment_id, start_time: 1 })).rejects.toThrow("INVALID_PARAMETER_VALUE");
  await client.Experiments.restore({ experiment_id });
  await expect(client.Runs.get({ run_id: "nobody" })).rejects.toThrow("RESOURCE_DOES_NOT_EXIST");
});
