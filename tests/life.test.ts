// The life of a run, with real processes: signals, death, heartbeats, resuming and rewinding.
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { KernelClient } from "../kernel/client.ts";
import type { Run } from "../src/track/api/types.ts";
import { TrackerClient } from "../src/track/client.ts";
import { startRun } from "../src/track/index.ts";
import { recoverJournals } from "../src/track/shipper.ts";
import { root } from "./reference.ts";
import { Command, cleanUp, Server, scratch, until } from "./support.ts";

const script = join(root, "dist/tests/logging.js");
const order = { first: 1, last: 100_000, pause: 20, metrics: 1, extras: 0 };

describe("a run's life", () => {
  let server: Server;
  let client: TrackerClient;

  beforeAll(async () => {
    server = await Server.start("tracker", scratch("life"));
    client = new TrackerClient({ uri: server.url, token: server.token });
  });
  afterAll(cleanUp);

  /** Starts a process that logs to the tracker from another data folder, as on another machine. */
  async function logging(
    env: Record<string, string> = {},
    more: object = {},
  ): Promise<{ command: Command; id: string }> {
    const address = { ANNEAL_TRACKER_URI: server.url, ANNEAL_TOKEN: server.token, ANNEAL_DATA: scratch("logging") };
    const command = new Command(script, [JSON.stringify({ ...order, ...more })], { ...address, ...env });
    const [, id] = await command.says(/run (\w{32})/);
    await until("the run is at the tracker", 20, async () => {
      const run = await client.runs.get(id).catch(() => undefined);
      return (run?.data.metrics ?? []).length > 0;
    });
    return { command, id };
  }
  const info = async (id: string): Promise<Run["info"]> => (await client.runs.get(id)).info;

  test.each(["SIGTERM", "SIGINT", "SIGHUP"] as const)("%s ends it as killed, with the time", async (signal) => {
    const { command, id } = await logging();
    const before = Date.now();
    expect(await command.kill(signal)).toBe(null); // Ended by the signal, not by an exit.
    const { status, end_time = 0 } = await info(id);
    expect(status).toBe("KILLED");
    expect(end_time).toBeGreaterThanOrEqual(before);
    expect(end_time).toBeLessThanOrEqual(Date.now());
  });

  test("a process that handles the signal itself decides when it ends", async () => {
    const preload = "data:text/javascript,process.on('SIGTERM',()=>setTimeout(()=>process.exit(3),300))";
    const data = scratch("handles");
    const { command, id } = await logging({ NODE_OPTIONS: `--import=${preload}`, ANNEAL_DATA: data });
    expect(await command.kill("SIGTERM")).toBe(3);
    // The end is in the journal. The next process on that data folder sends it.
    Object.assign(process.env, { ANNEAL_TRACKER_URI: server.url, ANNEAL_TOKEN: server.token });
    await recoverJournals(data);
    for (const name of ["ANNEAL_TRACKER_URI", "ANNEAL_TOKEN"]) delete process.env[name];
    expect((await info(id)).status).toBe("KILLED");
  });

  test.concurrent("a process that dies leaves a failed run within a minute, which ended with its last sign of life", async () => {
    const { command, id } = await logging();
    const before = Date.now();
    await command.kill("SIGKILL");
    const { status, end_time = 0 } = await until("the run has failed", 60, async () => {
      const now = await info(id);
      return now.status === "RUNNING" ? undefined : now;
    });
    expect(status).toBe("FAILED");
    expect(end_time).toBeLessThanOrEqual(before + 1000);
    expect(end_time).toBeGreaterThan(before - 20_000);
  }, 90_000);

  test.concurrent("a process that was only stopped for a while is running again", async () => {
    const { command, id } = await logging();
    command.child.kill("SIGSTOP");
    await until("the run has failed", 60, async () => (await info(id)).status === "FAILED");
    command.child.kill("SIGCONT");
    const { end_time } = await until("the run is running again", 30, async () => {
      const now = await info(id);
      return now.status === "RUNNING" ? now : undefined;
    });
    expect(end_time).toBeUndefined();
    await command.kill("SIGTERM");
    expect((await info(id)).status).toBe("KILLED");
  }, 120_000);

  test("the shutdown of a notebook's kernel ends its run as killed", async () => {
    const kernel = await KernelClient.start({
      cwd: root,
      data: scratch("kernel"),
      env: { ANNEAL_TRACKER_URI: server.url, ANNEAL_TOKEN: server.token },
    });
    let output = "";
    await kernel.execute('import { startRun } from "anneal"; const run = startRun(); await run.flush(); run.id', {
      onOutput: ({ content }) => {
        output += JSON.stringify(content);
      },
    });
    const id = /[0-9a-f]{32}/.exec(output)?.[0] ?? output;
    expect((await info(id)).status).toBe("RUNNING");
    await kernel.shutdown();
    expect((await info(id)).status).toBe("KILLED");
  });

  test("a run that is resumed has no end", async () => {
    const { command, id } = await logging({}, { last: 3 });
    await command.exited;
    expect((await info(id)).status).toBe("FINISHED");
    const again = await logging({}, { id, first: 4 });
    expect(again.id).toBe(id);
    await until("the run is running", 10, async () => (await info(id)).status === "RUNNING");
    expect((await info(id)).end_time).toBeUndefined();
    await again.command.kill("SIGTERM");
    expect((await info(id)).end_time).toBeGreaterThan(0);
  });

  test("rewinding takes back what came after a step, also offline, and keeps it in the history", async () => {
    process.env.ANNEAL_DATA = scratch("rewind");
    // No tracker is there yet.
    process.env.ANNEAL_TRACKER_URI = "http://127.0.0.1:9";
    process.env.ANNEAL_TOKEN = server.token;
    const run = startRun({ name: "rewound", experiment: "rewinding" });
    const steps = (from: number, to: number, value: number) => {
      for (let step = from; step <= to; step++) run.logMetrics({ loss: value + step, "only late": step }, step);
    };
    run.logMetrics({ loss: 100 }, 0);
    steps(5, 10, 0);
    run.rewind(6);
    steps(7, 8, 1000);
    expect(() => run.rewind(0.5)).toThrow("integer");
    process.env.ANNEAL_TRACKER_URI = server.url;
    await until("everything is at the tracker", 30, () => run.flush());
    const points: [number, unknown][] = [];
    for await (const { step, value } of client.runs.history(run.id, "loss")) points.push([step, value]);
    expect(points).toEqual([
      [0, 100],
      [5, 5],
      [6, 6],
      [7, 1007],
      [8, 1008],
    ]);
    // Later metrics get the step that was gone back to.
    run.rewind(0);
    run.logMetrics({ loss: 1 });
    await run.end();
    const { data } = await client.runs.get(run.id);
    expect(data.metrics?.find(({ key }) => key === "loss")).toMatchObject({ step: 0 });
    expect(data.metrics?.find(({ key }) => key === "only late")).toBeUndefined();
    const { rewinds } = await client.request<{ rewinds: { id: string; step: number; points: number }[] }>(
      "GET",
      `/api/anneal/runs/${run.id}/rewinds`,
    );
    expect(rewinds.map(({ step, points }) => [step, points])).toEqual([
      [0, 8],
      [6, 8],
    ]);
    const { metrics } = await client.request<{ metrics: { key: string; step: number; value: number }[] }>(
      "GET",
      `/api/anneal/runs/${run.id}/rewinds/${rewinds[1]?.id}`,
    );
    expect(metrics.filter(({ key }) => key === "loss").map(({ step, value }) => [step, value])).toEqual([
      [7, 7],
      [8, 8],
      [9, 9],
      [10, 10],
    ]);
    for (const name of ["ANNEAL_DATA", "ANNEAL_TRACKER_URI", "ANNEAL_TOKEN"]) delete process.env[name];
  });
});
