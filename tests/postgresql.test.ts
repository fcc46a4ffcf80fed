import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { serveTracker } from "../tracker/serve.ts";
import { findPostgresql, startPostgresql } from "./postgresql.ts";

const programs = findPostgresql();

test.runIf(programs)(
  "a database that crashes and comes back: clients are told to try again, and nothing that was answered is lost",
  async () => {
    const database = await startPostgresql(programs ?? "", { durable: true });
    const dataDir = mkdtempSync(join(tmpdir(), "anneal-pg-away-"));
    const tracker = await serveTracker({ dataDir, store: database.address, host: "127.0.0.1", port: 0 });
    const post = async (path: string, body: object) => {
      const response = await fetch(`${tracker.url}/api/2.0/mlflow/${path}`, {
        method: "POST",
        body: JSON.stringify(body),
      });
      return { status: response.status, body: (await response.json()) as Record<string, unknown> };
    };
    const created = await post("runs/create", { experiment_id: "0" });
    const { run_id } = (created.body as { run: { info: { run_id: string } } }).run.info;
    let acknowledged = 0;
    const failures = new Set<number>();
    let going = true;
    const logging = (async () => {
      for (let step = 0; going; ) {
        const { status } = await post("runs/log-metric", { run_id, key: "loss", value: step, timestamp: 1, step });
        if (status === 200) acknowledged = ++step;
        else failures.add(status);
      }
    })();
    for (let crash = 0; crash < 3; crash++) {
      const before = acknowledged;
      await expect.poll(() => acknowledged, { timeout: 20_000 }).toBeGreaterThan(before + 20);
      await database.kill();
      await expect.poll(async () => (await post("runs/search", {})).status).toBe(503);
      await database.start();
    }
    const before = acknowledged;
    await expect.poll(() => acknowledged, { timeout: 20_000 }).toBeGreaterThan(before + 20);
    going = false;
    await logging;
    const history = await fetch(`${tracker.url}/api/2.0/mlflow/metrics/get-history?run_id=${run_id}&metric_key=loss`);
    const { metrics } = (await history.json()) as { metrics: { step: number }[] };
    expect(metrics.map(({ step }) => step)).toEqual(Array.from({ length: acknowledged }, (_, step) => step));
    expect([...failures]).toEqual([503]);
    await tracker.close();
    await database.stop();
    rmSync(dataDir, { recursive: true, force: true });
  },
);
