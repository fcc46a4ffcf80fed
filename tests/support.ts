// Helpers for tests across rooms: the real command as a process, its REST API, and waiting for conditions.
import { type ChildProcess, spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { root } from "./reference.ts";

/** The command line, as it ships. */
export const cli = join(root, "dist/server/cli/main.js");

/** A path for a temporary folder of a test file. The folder is not created here; {@link cleanUp} deletes it. */
export function scratch(name: string): string {
  const folder = join(tmpdir(), `anneal-${name}-${randomBytes(4).toString("hex")}`);
  folders.push(folder);
  return folder;
}

const folders: string[] = [];
const processes = new Set<Command>();

/** Stops all processes that the tests of this file left running, and deletes their folders. */
export async function cleanUp(): Promise<void> {
  await Promise.all([...processes].map((command) => command.kill("SIGKILL")));
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true, force: true, maxRetries: 5 });
}

/** A process and its output. */
export class Command {
  readonly child: ChildProcess;
  stdout = "";
  stderr = "";
  /** Exit code, or null when a signal ended it. */
  readonly exited: Promise<number | null>;

  constructor(file: string, args: readonly string[], env: Record<string, string> = {}, cwd: string = root) {
    this.child = spawn(process.execPath, [file, ...args], {
      cwd,
      env: { ...cleanEnvironment(), ...env },
      stdio: ["ignore", "pipe", "pipe"],
    });
    processes.add(this);
    this.child.stdout?.setEncoding("utf8").on("data", (text: string) => {
      this.stdout += text;
    });
    this.child.stderr?.setEncoding("utf8").on("data", (text: string) => {
      this.stderr += text;
    });
    this.exited = new Promise((resolve) => {
      this.child.on("close", (code) => {
        processes.delete(this);
        resolve(code);
      });
    });
  }

  /** Waits for a text in its output. */
  async says(pattern: RegExp, seconds = 30): Promise<RegExpExecArray> {
    const findMatch = () => pattern.exec(this.stdout) ?? pattern.exec(this.stderr);
    return until(`the process says ${pattern}`, seconds, () => {
      const match = findMatch();
      if (!match && this.child.exitCode !== null) {
        throw new Error(`It ended with ${this.child.exitCode} and said ${this.stdout}${this.stderr}`);
      }
      return match;
    });
  }

  async kill(signal: NodeJS.Signals): Promise<number | null> {
    this.child.kill(signal);
    return this.exited;
  }
}

/** The environment for tests, without the machine's settings. */
function cleanEnvironment(): NodeJS.ProcessEnv {
  const kept = Object.entries(process.env).filter(
    ([name]) => !/^(ANNEAL_|MLFLOW_|VITEST|NODE_OPTIONS|NODE_ENV|TEST$)/.test(name),
  );
  return Object.fromEntries(kept);
}

/** A studio or tracker in a separate process. */
export class Server {
  readonly command: Command;
  readonly url: string;
  readonly token: string;

  private constructor(command: Command, url: string, token: string) {
    this.command = command;
    this.url = url;
    this.token = token;
  }

  /** Starts one on a free port and waits for its address. */
  static async start(
    kind: "start" | "tracker",
    dataDir: string,
    args: readonly string[] = [],
    env: Record<string, string> = {},
  ): Promise<Server> {
    const command = new Command(cli, [kind, "--port", "0", "--data", dataDir, "--no-browser", ...args], env);
    const [, url, token] = await command.says(/Anneal is up: (http:\/\/[^/]+)\/\S*\?token=(\w+)/);
    return new Server(command, url, token);
  }

  /** Sends a request with the token. */
  fetch(path: string, options: RequestInit = {}): Promise<Response> {
    return fetch(this.url + path, {
      ...options,
      headers: { authorization: `Bearer ${this.token}`, ...(options.headers as Record<string, string>) },
    });
  }

  /** Sends and receives JSON. @throws Error for an error status */
  async ask<T>(method: string, path: string, body?: object): Promise<T> {
    const response = await this.fetch(path, {
      method,
      ...(body ? { body: JSON.stringify(body), headers: { "content-type": "application/json" } } : {}),
    });
    const text = await response.text();
    if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${text}`);
    return (text === "" ? {} : JSON.parse(text)) as T;
  }

  /** All runs of all experiments, oldest first. */
  async runs(): Promise<RunRecord[]> {
    const api = "/api/2.0/mlflow";
    const { experiments } = await this.ask<{ experiments: { experiment_id: string }[] }>(
      "POST",
      `${api}/experiments/search`,
      { max_results: 100 },
    );
    const { runs = [] } = await this.ask<{ runs?: RawRun[] }>("POST", `${api}/runs/search`, {
      experiment_ids: experiments.map(({ experiment_id }) => experiment_id),
      max_results: 100,
    });
    return runs.map(runRecord).sort((a, b) => a.startTime - b.startTime);
  }

  /** One run. */
  async run(id: string): Promise<RunRecord> {
    return runRecord((await this.ask<{ run: RawRun }>("GET", `/api/2.0/mlflow/runs/get?run_id=${id}`)).run);
  }

  /** All points of a metric. */
  async history(runId: string, key: string): Promise<{ step: number; value: number; timestamp: number }[]> {
    const query = new URLSearchParams({ run_id: runId, metric_key: key, max_results: "25000" });
    const { metrics = [] } = await this.ask<{ metrics?: { step: number; value: number; timestamp: number }[] }>(
      "GET",
      `/api/2.0/mlflow/metrics/get-history?${query}`,
    );
    return metrics.map(({ step, value, timestamp }) => ({
      step: Number(step),
      value: Number(value),
      timestamp: Number(timestamp),
    }));
  }

  /** Paths of all artifacts of a run, recursively. */
  async artifacts(runId: string, path?: string): Promise<string[]> {
    const query = new URLSearchParams({ run_id: runId, ...(path === undefined ? {} : { path }) });
    const { files = [] } = await this.ask<{ files?: { path: string; is_dir: boolean }[] }>(
      "GET",
      `/api/2.0/mlflow/artifacts/list?${query}`,
    );
    const lists = await Promise.all(
      files.map((file) => (file.is_dir ? this.artifacts(runId, file.path) : [file.path])),
    );
    return lists.flat().sort();
  }

  /** A text artifact. */
  async artifact(runId: string, path: string): Promise<string> {
    const response = await this.fetch(`/get-artifact?${new URLSearchParams({ run_id: runId, path })}`);
    if (!response.ok) throw new Error(`${path} of ${runId}: ${response.status}`);
    return response.text();
  }

  /** Stops it as a user would. */
  stop(): Promise<number | null> {
    return this.command.kill("SIGTERM");
  }
}

interface Pair {
  key: string;
  value: string;
}

interface RawRun {
  info: { run_id: string; run_name: string; status: string; start_time: number; end_time?: number };
  data: { metrics?: { key: string; value: number }[]; params?: Pair[]; tags?: Pair[] };
  inputs?: {
    dataset_inputs?: { tags?: Pair[]; dataset: { name: string; digest: string; profile?: string } }[];
  };
}

/** The parts of a run that tests read. */
export interface RunRecord {
  id: string;
  name: string;
  status: string;
  startTime: number;
  endTime: number | undefined;
  metrics: Record<string, number>;
  params: Record<string, string>;
  tags: Record<string, string>;
  datasets: { name: string; digest: string; context: string | undefined; profile: Record<string, unknown> }[];
}

function runRecord({ info, data, inputs }: RawRun): RunRecord {
  const record = (pairs: readonly Pair[] = []) => Object.fromEntries(pairs.map(({ key, value }) => [key, value]));
  return {
    id: info.run_id,
    name: info.run_name,
    status: info.status,
    startTime: Number(info.start_time),
    endTime: info.end_time === undefined ? undefined : Number(info.end_time),
    metrics: Object.fromEntries((data.metrics ?? []).map(({ key, value }) => [key, Number(value)])),
    params: record(data.params),
    tags: record(data.tags),
    datasets: (inputs?.dataset_inputs ?? []).map(({ dataset, tags = [] }) => ({
      name: dataset.name,
      digest: dataset.digest,
      context: record(tags)["mlflow.data.context"],
      profile: JSON.parse(dataset.profile ?? "{}") as Record<string, unknown>,
    })),
  };
}

/** Polls until there is a result. @throws Error that describes what was expected, after a timeout */
export async function until<T>(
  what: string,
  seconds: number,
  look: () => T | Promise<T>,
  every = 50,
): Promise<NonNullable<Exclude<T, false>>> {
  const deadline = Date.now() + 1000 * seconds;
  for (;;) {
    const result = await look();
    if (result !== undefined && result !== null && result !== false) return result as NonNullable<Exclude<T, false>>;
    if (Date.now() > deadline) throw new Error(`After ${seconds} s still not: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, every));
  }
}

/** Ids of all descendants of a process, from /proc. */
export function descendants(pid: number): number[] {
  const children = new Map<number, number[]>();
  for (const name of readdirSync("/proc")) {
    if (!/^\d+$/.test(name)) continue;
    try {
      // The program's name is in parentheses and may contain spaces; the parent id is the second field after it.
      const parent = Number(readFileSync(`/proc/${name}/stat`, "utf8").split(") ").at(-1)?.split(" ")[1]);
      children.set(parent, [...(children.get(parent) ?? []), Number(name)]);
    } catch {
      // The process has ended meanwhile.
    }
  }
  const below = (id: number): number[] => (children.get(id) ?? []).flatMap((child) => [child, ...below(child)]);
  return below(pid);
}

/** Whether a process is running. */
export function isAlive(pid: number): boolean {
  try {
    return !/^\d+ \(.*\) [ZX] /.test(readFileSync(`/proc/${pid}/stat`, "utf8"));
  } catch {
    return false;
  }
}
