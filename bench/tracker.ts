// The tracker's times and memory, with a server in a separate process, over HTTP like any client.
// Arguments: --runs=10000, number of runs to search among; --store=postgresql://..., or postgresql for a temporary server.
import { spawn } from "node:child_process";
import { createReadStream, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { Agent, request } from "node:http";
import { availableParallelism, cpus, tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { findPostgresql, startPostgresql } from "../tests/postgresql.ts";
import { median } from "./step.ts";

const runsWanted = Number(/--runs=(\d+)/.exec(process.argv.join(" "))?.[1] ?? 10_000);
const folder = mkdtempSync(join(tmpdir(), "anneal-bench-tracker-"));
const cli = fileURLToPath(new URL("../server/cli/main.js", import.meta.url));
const requestedStore = /--store=(\S+)/.exec(process.argv.join(" "))?.[1];
const database =
  requestedStore === "postgresql" ? await startPostgresql(findPostgresql() ?? "", { durable: true }) : undefined;
const store = database?.address ?? requestedStore;
const server = spawn(
  process.execPath,
  [cli, "tracker", "--port", "0", "--data", folder, ...(store ? ["--store", store] : [])],
  { stdio: ["ignore", "pipe", "inherit"] },
);
process.on("exit", () => {
  server.kill("SIGKILL");
  rmSync(folder, { recursive: true, force: true });
});
const port = await new Promise<number>((resolve) => {
  let output = "";
  server.stdout.on("data", (chunk: Buffer) => {
    output += chunk;
    const match = /http:\/\/[\d.]+:(\d+)/.exec(output)?.[1];
    if (match) resolve(Number(match));
  });
});
const token = readFileSync(join(folder, "token"), "utf8").trim();

const agent = new Agent({ keepAlive: true, maxSockets: 16 });
/** Sends a request; returns the text of the response. */
function call(method: string, path: string, body?: unknown, file?: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const content = body === undefined ? undefined : JSON.stringify(body);
    const sent = request(
      {
        port,
        path,
        method,
        agent,
        headers: {
          authorization: `Bearer ${token}`,
          ...(content === undefined
            ? {}
            : { "content-type": "application/json", "content-length": Buffer.byteLength(content) }),
        },
      },
      (answer) => {
        const parts: Buffer[] = [];
        answer.on("data", (part: Buffer) => parts.push(part));
        answer.on("end", () => {
          const text = Buffer.concat(parts).toString();
          if ((answer.statusCode ?? 500) < 300) resolve(text);
          else reject(new Error(`${method} ${path}: ${answer.statusCode} ${text.slice(0, 300)}`));
        });
      },
    );
    sent.on("error", reject);
    if (file) createReadStream(file).pipe(sent);
    else sent.end(content);
  });
}
const api = "/api/2.0/mlflow";
const post = async <T>(path: string, body: unknown): Promise<T> =>
  JSON.parse(await call("POST", `${api}/${path}`, body));

async function timed(work: () => Promise<unknown>): Promise<number> {
  const start = performance.now();
  await work();
  return performance.now() - start;
}
/** Returns the median duration in milliseconds. */
async function typical(times: number, work: (i: number) => Promise<unknown>): Promise<number> {
  const all: number[] = [];
  for (let i = 0; i < times; i++) all.push(await timed(() => work(i)));
  return median(all);
}
/** Returns the rate per second with `at` concurrent workers: the median of some rounds. */
async function rate(times: number, at: number, work: (i: number) => Promise<unknown>, rounds = 1): Promise<number> {
  const all: number[] = [];
  let next = 0;
  for (let round = 1; round <= rounds; round++) {
    const worker = async () => {
      while (next < times * round) await work(next++);
    };
    const ms = await timed(() => Promise.all(Array.from({ length: at }, worker)));
    all.push((1000 * times) / ms);
  }
  return median(all);
}
const memory = () => {
  const status = process.platform === "linux" ? readFileSync(`/proc/${server.pid}/status`, "utf8") : "";
  return Number(/VmHWM:\s+(\d+)/.exec(status)?.[1] ?? Number.NaN) / 1024;
};

interface Figure {
  name: string;
  value: number;
  unit: string;
  /** Target, a maximum or a minimum. */
  target: number;
  atLeast?: boolean;
}
const figures: Figure[] = [];
function report(name: string, value: number, unit: string, target: number, atLeast = false): void {
  figures.push({ name, value, unit, target, atLeast });
  const met = (atLeast ? value >= target : value <= target) ? "" : "  (missed)";
  const shown = value >= 100 ? Math.round(value).toLocaleString("en") : value.toFixed(2);
  console.log(
    `${name.padEnd(58)} ${shown.padStart(9)} ${unit.padEnd(10)} ${atLeast ? "at least" : "at most"} ${target}${met}`,
  );
}

const { experiment_id } = await post<{ experiment_id: string }>("experiments/create", { name: "bench" });
const createRun = async (i: number): Promise<string> => {
  const { run } = await post<{ run: { info: { run_id: string } } }>("runs/create", {
    experiment_id,
    run_name: `run ${i}`,
    start_time: 1_700_000_000_000 + i,
  });
  return run.info.run_id;
};
const point = (key: string, step: number) => ({
  key,
  value: Math.sin(step),
  timestamp: 1_700_000_000_000 + step,
  step,
});

const one = await createRun(0);
for (let i = 0; i < 200; i++) await post("runs/log-metric", { run_id: one, ...point("warm", i) });
report(
  "log-metric, one connection, median",
  await typical(1000, (i) => post("runs/log-metric", { run_id: one, ...point("a", i) })),
  "ms",
  1.2,
);
report(
  "log-metric, 16 connections",
  await rate(8000, 16, (i) => post("runs/log-metric", { run_id: one, ...point("b", i) }), 3),
  "1/s",
  5000,
  true,
);
const batch = (key: string, first: number) => Array.from({ length: 1000 }, (_, k) => point(key, first + k));
const batches = await rate(300, 4, (i) => post("runs/log-batch", { run_id: one, metrics: batch("c", 1000 * i) }));
report("log-batch of 1 000", batches * 1000, "metrics/s", 200_000, true);

const params = Array.from({ length: 20 }, (_, i) => ({ key: `param_${i}`, value: `value ${i}` }));
const filled = async (i: number) => {
  const run_id = await createRun(i);
  const metrics = Array.from({ length: 10 }, (_, k) => ({
    ...point(`metric_${k}`, 1),
    value: ((i * 7919) % 1000) / 1000,
  }));
  await post("runs/log-batch", { run_id, metrics, params, tags: [{ key: "kind", value: i % 2 ? "odd" : "even" }] });
  await post("runs/update", { run_id, status: "FINISHED", end_time: 1_700_000_100_000 });
};
report("runs created and filled", await rate(runsWanted, 8, filled), "1/s", 300, true);

const search = (more: object) => () =>
  post("runs/search", { experiment_ids: [experiment_id], max_results: 100, ...more });
const among = `of ${runsWanted.toLocaleString("en")}`;
report(`first 100 ${among} runs`, await typical(20, search({})), "ms", 15);
const filter = "metrics.metric_1 < 0.5 and params.param_3 = 'value 3' and tags.kind = 'odd'";
report(`first 100 ${among}, three clauses`, await typical(20, search({ filter })), "ms", 30);
report(
  `first 100 ${among}, ordered by a metric`,
  await typical(20, search({ order_by: ["metrics.metric_1 ASC"] })),
  "ms",
  30,
);

const long = await createRun(-1);
for (let i = 0; i < 1000; i++) await post("runs/log-batch", { run_id: long, metrics: batch("long", 1000 * i) });
const some = await createRun(-2);
for (let i = 0; i < 100; i++) await post("runs/log-batch", { run_id: some, metrics: batch("long", 1000 * i) });
const history = async () => {
  for (let page: string | undefined = ""; page !== undefined; ) {
    const query = new URLSearchParams({
      run_id: some,
      metric_key: "long",
      max_results: "25000",
      ...(page ? { page_token: page } : {}),
    });
    page = (JSON.parse(await call("GET", `${api}/metrics/get-history?${query}`)) as { next_page_token?: string })
      .next_page_token;
  }
};
report("history of 100 000 points, in pages", await typical(15, history), "ms", 150);
const sample = new URLSearchParams({ run_ids: long, metric_key: "long", max_results: "320" });
report(
  "320 of 1 000 000 points",
  await typical(15, () => call("GET", `${api}/metrics/get-history-bulk-interval?${sample}`)),
  "ms",
  30,
);

const file = join(folder, "100MiB");
writeFileSync(file, Buffer.alloc(100 * 1024 ** 2, 7));
const artifact = (i: number) =>
  call("PUT", `/api/2.0/mlflow-artifacts/artifacts/${experiment_id}/${one}/artifacts/file-${i}`, undefined, file);
report("artifact of 100 MiB up", (await typical(5, artifact)) / 1000, "s", 0.5);
report("memory of the server at its most", memory(), "MiB", 250);
const idle = () => {
  const fields = readFileSync(`/proc/${server.pid}/stat`, "utf8").split(" ");
  return (Number(fields[13]) + Number(fields[14])) * 10;
};
if (process.platform === "linux") {
  const before = idle();
  await new Promise((resolve) => setTimeout(resolve, 5000));
  report("processor time of an idle server, a second", (idle() - before) / 5, "ms", 2);
}
console.log(
  JSON.stringify({
    bench: "tracker",
    store: requestedStore ?? "sqlite",
    node: process.version,
    cpu: cpus()[0]?.model,
    threads: availableParallelism(),
    ...Object.fromEntries(figures.map(({ name, value, unit }) => [`${name} (${unit})`, Number(value.toPrecision(4))])),
  }),
);
agent.destroy();
const ended = new Promise((resolve) => server.on("exit", resolve));
server.kill("SIGTERM");
await ended;
await database?.stop();
