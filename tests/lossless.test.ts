// Logged data is neither lost nor duplicated under any failure.
import { execFileSync } from "node:child_process";
import { closeSync, mkdirSync, mkdtempSync, openSync, readdirSync, rmSync, writeFileSync, writeSync } from "node:fs";
import { createServer, type Server as HttpServer, type IncomingMessage, request, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, describe, expect, test } from "vitest";
import { recoverJournals } from "../src/track/index.ts";
import { fileAt, type LoggingOrder, valueAt } from "./logging.ts";
import { root } from "./reference.ts";
import { Command, cleanUp, cli, Server, scratch, until } from "./support.ts";

/** Number of kills, which ANNEAL_TEST_KILLS overrides. There are more in `npm run test:all`. */
const kills = Number(process.env.ANNEAL_TEST_KILLS ?? (process.env.ANNEAL_TEST_ALL === "1" ? 100 : 40));
const seed = Number(process.env.ANNEAL_TEST_SEED ?? Date.now() % 2 ** 31);

const mounts: string[] = [];
afterEach(() => {
  for (const folder of mounts.splice(0)) execFileSync("umount", ["-l", folder]);
});
afterAll(cleanUp);

const script = join(root, "dist/tests/logging.js");
const logging = (order: Partial<LoggingOrder>, env: Record<string, string>) =>
  new Command(script, [JSON.stringify({ first: 1, last: 1000, pause: 2, metrics: 3, extras: 50, ...order })], env);
const numbers = (command: Command, word: string) =>
  [...command.stdout.matchAll(new RegExp(`^${word} (\\d+)$`, "gm"))].map(([, step]) => Number(step));
const range = (first: number, last: number) => Array.from({ length: last - first + 1 }, (_, i) => first + i);

/** A seeded random number generator. */
function random(state: number): () => number {
  let a = state;
  return () => {
    a = (a + 0x6d2b79f5) | 0;
    let t = Math.imul(a ^ (a >>> 15), 1 | a);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** All points of a metric, read with paging. */
async function steps(tracker: Server, run_id: string, metric_key: string): Promise<{ step: number; value: number }[]> {
  const all: { step: number; value: number }[] = [];
  for (let page_token: string | undefined = ""; page_token !== undefined; ) {
    const query = new URLSearchParams({
      run_id,
      metric_key,
      max_results: "25000",
      ...(page_token ? { page_token } : {}),
    });
    const { metrics = [], next_page_token } = await tracker.ask<{
      metrics?: { step: number; value: number }[];
      next_page_token?: string;
    }>("GET", `/api/2.0/mlflow/metrics/get-history?${query}`);
    all.push(...metrics.map(({ step, value }) => ({ step: Number(step), value: Number(value) })));
    page_token = next_page_token;
  }
  return all.sort((a, b) => a.step - b.step);
}

/** Asserts that the tracker has exactly these steps of a run, with the data of {@link LoggingOrder} and its extras. */
async function expectWhole(tracker: Server, id: string, expected: number[], metrics: number, extras: number[]) {
  for (let metric = 0; metric < metrics; metric++) {
    const points = await steps(tracker, id, `m${metric}`);
    expect(points.map(({ step }) => step)).toEqual(expected);
    for (const { step, value } of points) expect(value).toBe(valueAt(step, metric));
  }
  const { params, tags } = await tracker.run(id);
  for (const step of extras) {
    expect(params[`param ${step}`]).toBe(String(step));
    expect(tags[`tag ${step}`]).toBe(String(step));
    expect(await tracker.artifact(id, `files/${step}.txt`)).toBe(fileAt(step));
  }
}

/** Mounts a small disk; undefined, with a message, if that is not permitted. */
function smallDisk(megabytes: number): string | undefined {
  const folder = mkdtempSync(join(tmpdir(), "anneal-disk-"));
  try {
    execFileSync("mount", ["-t", "tmpfs", "-o", `size=${megabytes}m`, "tmpfs", folder], { stdio: "pipe" });
  } catch (error) {
    rmSync(folder, { recursive: true });
    console.warn(`Not tested with a full disk, as none can be mounted here: ${String(error).split("\n")[0]}`);
    return undefined;
  }
  mounts.push(folder);
  return folder;
}

/** Fills a disk completely. */
function fill(folder: string): void {
  const file = openSync(join(folder, "ballast"), "a");
  try {
    for (const size of [65_536, 4096, 1]) {
      const block = Buffer.alloc(size);
      try {
        while (writeSync(file, block) === size);
      } catch (error) {
        expect((error as NodeJS.ErrnoException).code).toBe("ENOSPC");
      }
    }
  } finally {
    closeSync(file);
  }
}
const release = (folder: string) => rmSync(join(folder, "ballast"), { force: true });

const away = (data: string, tracker: Server) => ({
  ANNEAL_DATA: data,
  ANNEAL_TRACKER_URI: tracker.url,
  ANNEAL_TOKEN: tracker.token,
});

describe("killed at random", () => {
  test(`${kills} times, process and tracker, a tracker has every point (seed ${seed})`, {
    timeout: 240_000,
  }, async () => {
    const dice = random(seed);
    const data = scratch("kills");
    mkdirSync(data);
    interface Known {
      said: number[];
      extras: number[];
      /** Number of processes that logged to it. */
      lives: number;
    }
    const runs = new Map<string, Known>();
    const startTracker = () => new Command(cli, ["tracker", "--port", "0", "--data", data, "--no-browser"]);
    const startClient = () => {
      const ids = [...runs.keys()];
      const id = dice() < 0.5 ? ids[Math.floor(dice() * ids.length)] : undefined;
      // The step after the last printed one may have been logged.
      const first = id === undefined ? 1 : Math.max(0, ...(runs.get(id)?.said ?? [])) + 2;
      return logging({ first, last: 1e6, extras: 20, ...(id === undefined ? {} : { id }) }, { ANNEAL_DATA: data });
    };
    const note = (client: Command) => {
      const id = /^run (\w+)$/m.exec(client.stdout)?.[1];
      if (id === undefined) return;
      const record = runs.get(id) ?? { said: [], extras: [], lives: 0 };
      record.said.push(...numbers(client, "step"));
      record.lives++;
      record.extras.push(...numbers(client, "extras"));
      runs.set(id, record);
    };
    let [tracker, client] = [startTracker(), startClient()];
    for (let i = 0; i < kills; i++) {
      // The processes live for a random time.
      await new Promise((resolve) => setTimeout(resolve, 20 + 600 * dice() ** 2));
      const which = dice();
      if (which < 0.7) {
        await client.kill("SIGKILL");
        note(client);
      }
      if (which > 0.4) await tracker.kill("SIGKILL");
      if (which < 0.7) client = startClient();
      if (which > 0.4) tracker = startTracker();
    }
    await client.kill("SIGKILL");
    note(client);
    await tracker.kill("SIGKILL");
    const last = await Server.start("tracker", data);
    await until("everything has arrived", 60, () => readdirSync(join(data, "journal")).length === 0);
    expect(runs.size).toBeGreaterThan(0);
    const arrived = await last.runs();
    let points = 0;
    for (const [id, { said, extras, lives }] of runs) {
      const printed = new Set(said);
      const there = (await steps(last, id, "m0")).map(({ step }) => step);
      // A step that was logged during the kill may not have been printed.
      const unsaid = there.filter((step) => !printed.has(step));
      expect(unsaid.length).toBeLessThanOrEqual(lives);
      await expectWhole(
        last,
        id,
        [...new Set([...said, ...unsaid])].sort((a, b) => a - b),
        3,
        extras,
      );
      expect(arrived.find((run) => run.id === id)?.status).toBe("FAILED");
      points += there.length;
    }
    console.info(`${kills} kills, seed ${seed}: ${runs.size} runs, ${points} steps, none lost`);
    await last.stop();
  });
});

describe("a tracker", () => {
  test("that was down for an hour of training receives all of it, and the process stays small", async () => {
    const data = scratch("hour");
    mkdirSync(data);
    // Ten metrics at ten steps per second, on a simulated clock.
    const client = logging(
      { last: 36_000, pause: 0, metrics: 10, extras: 0, clock: 100, stay: true },
      { ANNEAL_DATA: data },
    );
    const [, id] = await client.says(/^run (\w+)$/m);
    const [, before] = await client.says(/^logged, .* memory (\d+) MiB$/m, 60);
    const tracker = await Server.start("tracker", data);
    const [, ms, after] = await client.says(/^arrived in (\d+) ms, memory (\d+) MiB$/m, 60);
    expect(await client.exited).toBe(0);
    console.info(`an hour, 360 000 points: sent in ${ms} ms; memory ${before} MiB before, ${after} MiB after`);
    expect(Number(after)).toBeLessThan(400);
    const points = await steps(tracker, id, "m9");
    expect(points.map(({ step }) => step)).toEqual(range(1, 36_000));
    const times = (await tracker.history(id, "m0")).map(({ timestamp }) => timestamp);
    expect(times[10_000] - times[0]).toBe(1e6);
    await tracker.stop();
  });

  test("behind an unreliable connection has every point once", async () => {
    const dice = random(seed);
    const tracker = await Server.start("tracker", scratch("behind"));
    const faults = new Map<string, number>();
    let broken = 0;
    const proxy = createServer((incoming, outgoing) => {
      const fault = dice() > 0.5 ? "none" : FAULTS[broken++ % FAULTS.length];
      faults.set(fault, (faults.get(fault) ?? 0) + 1);
      pass(tracker.url, fault, incoming, outgoing);
    });
    const url = await listen(proxy);
    const env = { ANNEAL_DATA: scratch("broken"), ANNEAL_TRACKER_URI: url, ANNEAL_TOKEN: tracker.token };
    const client = logging({ last: 600, pause: 5, extras: 100, stay: true }, env);
    const [, id] = await client.says(/^run (\w+)$/m);
    await client.says(/^ended$/m, 120);
    expect(await client.exited).toBe(0);
    // The end of a run has a time limit; the rest is sent later.
    Object.assign(process.env, env);
    await until("the end has arrived", 60, async () => {
      await recoverJournals();
      return (await tracker.run(id)).status === "FINISHED";
    });
    for (const name of Object.keys(env)) delete process.env[name];
    await expectWhole(
      tracker,
      id,
      range(1, 600),
      3,
      range(1, 6).map((n) => 100 * n),
    );
    expect((await tracker.runs()).map((run) => run.id)).toEqual([id]);
    for (const fault of FAULTS) expect(faults.get(fault), fault).toBeGreaterThan(0);
    proxy.closeAllConnections();
    proxy.close();
    await tracker.stop();
  }, 150_000);

  test("with a full disk has everything once there is space again", async ({ skip }) => {
    const disk = smallDisk(16);
    if (!disk) return skip();
    const tracker = await Server.start("tracker", disk);
    const client = logging({ last: 2000, extras: 100 }, away(scratch("client"), tracker));
    const [, id] = await client.says(/^run (\w+)$/m);
    await client.says(/^step 300$/m);
    fill(disk);
    await client.says(/^step 1200$/m);
    release(disk);
    expect(await client.exited).toBe(0);
    await until("everything has arrived", 30, async () => (await tracker.run(id)).status === "FINISHED");
    await expectWhole(
      tracker,
      id,
      range(1, 2000),
      3,
      range(1, 20).map((n) => 100 * n),
    );
    await tracker.stop();
  }, 150_000);
});

describe("a process that logs", () => {
  test("to a full disk while the tracker is down loses nothing once either works again", async ({ skip }) => {
    const disk = smallDisk(2);
    if (!disk) return skip();
    const server = scratch("server");
    let tracker = await Server.start("tracker", server, []);
    const { port } = new URL(tracker.url);
    const client = logging({ last: 3000, extras: 0, stay: true }, away(disk, tracker));
    const [, id] = await client.says(/^run (\w+)$/m);
    await client.says(/^step 200$/m);
    const arrived = () => steps(tracker, id, "m0").catch(() => []);
    await until("the first steps arrive", 30, async () => (await arrived()).length > 0);
    await tracker.command.kill("SIGKILL");
    fill(disk);
    await client.says(/^step 1000$/m);
    expect(client.stderr).toContain("Records are kept in memory");
    // The disk is still full: the points are sent from memory.
    tracker = await Server.start("tracker", server, ["--port", port]);
    await until("what waits in memory arrives", 30, async () => (await steps(tracker, id, "m0")).length > 900);
    release(disk);
    expect(await client.exited).toBe(0);
    await expectWhole(tracker, id, range(1, 3000), 3, []);
    expect(readdirSync(join(disk, "journal"))).toEqual([]);
    await tracker.stop();
  });

  test("that starts with a full disk continues", async ({ skip }) => {
    const disk = smallDisk(1);
    if (!disk) return skip();
    const tracker = await Server.start("tracker", scratch("server"));
    fill(disk);
    const client = logging({ last: 300, extras: 0 }, away(disk, tracker));
    expect(await client.exited).toBe(0);
    const [, id] = await client.says(/^run (\w+)$/m);
    await expectWhole(tracker, id, range(1, 300), 3, []);
    expect((await tracker.run(id)).status).toBe("FINISHED");
    await tracker.stop();
  });

  test("to a disk with slow fsync does not wait for it", async ({ skip }) => {
    const folder = scratch("slow");
    mkdirSync(folder);
    const library = join(folder, "slow.so");
    writeFileSync(
      join(folder, "slow.c"),
      "#include <unistd.h>\nint fsync(int f) { (void)f; sleep(2); return 0; }\nint fdatasync(int f) { return fsync(f); }\n",
    );
    try {
      execFileSync("cc", ["-shared", "-fPIC", "-o", library, join(folder, "slow.c")], { stdio: "pipe" });
    } catch (error) {
      return skip(`there is no C compiler here: ${String(error).split("\n")[0]}`);
    }
    const client = logging(
      { last: 1000, pause: 5, extras: 0 },
      { ANNEAL_DATA: join(folder, "data"), LD_PRELOAD: library },
    );
    const [, slowest] = await client.says(/^logged, slowest ([\d.]+) ms/m);
    // The machine may be busy: the bound only excludes a wait of two seconds.
    expect(Number(slowest)).toBeLessThan(1000);
    expect(await client.exited).toBe(0);
  });

  test("with a clock that jumps back and forth by hours has every step once and in order", async () => {
    const data = scratch("clock");
    const tracker = await Server.start("tracker", data);
    const client = logging({ last: 500, clock: "jumps" }, { ANNEAL_DATA: data });
    const [, id] = await client.says(/^run (\w+)$/m);
    await client.says(/^step 200$/m);
    await client.kill("SIGKILL");
    const said = numbers(client, "step").at(-1) ?? 0;
    const again = logging({ id, first: said + 2, last: said + 200, clock: "jumps" }, { ANNEAL_DATA: data });
    expect(await again.exited).toBe(0);
    await until("everything has arrived", 30, () => readdirSync(join(data, "journal")).length === 0);
    const there = (await steps(tracker, id, "m0")).map(({ step }) => step);
    expect(there.filter((step) => step !== said + 1)).toEqual([...range(1, said), ...range(said + 2, said + 200)]);
    await tracker.stop();
  });
});

/** What the unreliable connection does to a request. */
const FAULTS = ["500", "429", "reset before", "reset after", "half a response", "a page in between"] as const;
type Fault = (typeof FAULTS)[number] | "none";

/** Forwards a request, or breaks it. */
function pass(url: string, fault: Fault, incoming: IncomingMessage, outgoing: ServerResponse): void {
  if (fault === "500" || fault === "429") {
    outgoing.writeHead(Number(fault), fault === "429" ? { "retry-after": "1" } : {}).end("not now");
    return;
  }
  if (fault === "a page in between") {
    outgoing.writeHead(200, { "content-type": "text/html" }).end("<html>Please log in to the network.</html>");
    return;
  }
  if (fault === "reset before") return void incoming.socket.destroy();
  const { method, headers } = incoming;
  const further = request(url + incoming.url, { method, headers }, (got) => {
    const parts: Buffer[] = [];
    got.on("data", (part: Buffer) => parts.push(part));
    got.on("end", () => {
      if (fault === "reset after") return void incoming.socket.destroy();
      const whole = Buffer.concat(parts);
      outgoing.writeHead(got.statusCode ?? 500, { ...got.headers, "content-length": whole.length });
      if (fault === "none") return void outgoing.end(whole);
      outgoing.write(whole.subarray(0, whole.length >> 1), () => incoming.socket.destroy());
    });
  });
  further.on("error", () => incoming.socket.destroy());
  incoming.pipe(further);
}

async function listen(server: HttpServer): Promise<string> {
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}
