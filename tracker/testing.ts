import { randomUUID } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import Fastify, { type FastifyInstance, type InjectOptions } from "fastify";
import pg from "pg";
import { inject } from "vitest";
import { Principal } from "./access/principal.ts";
import { trackerPlugin } from "./api/plugin.ts";
import { openTracker, type Tracker, type TrackerOptions } from "./tracker.ts";

/** A response, with fields by path to keep tests short. */
export interface Answer {
  status: number;
  body: Record<string, unknown>;
  /** Returns the value at a path such as "run.info.run_id" or "runs.0.info". */
  at(path: string): unknown;
  text(path: string): string;
}

export function answer(status: number, payload: string): Answer {
  const body = JSON.parse(payload) as Record<string, unknown>;
  const at = (path: string): unknown =>
    path
      .split(".")
      .reduce<unknown>(
        (value, key) => (value === null || value === undefined ? undefined : Reflect.get(Object(value), key)),
        body,
      );
  return {
    status,
    body,
    at,
    text: (path) => {
      const value = at(path);
      if (typeof value !== "string") throw new Error(`no text at ${path} in ${payload.slice(0, 500)}`);
      return value;
    },
  };
}

declare module "vitest" {
  interface ProvidedContext {
    /** The PostgreSQL server for this project's tests. */
    postgresql: string;
  }
}

/** Creates a new database on the tests' PostgreSQL server; nothing for SQLite, which is in the data folder. */
export async function newStore(): Promise<{ store?: string }> {
  const server = inject("postgresql");
  if (server === undefined) return {};
  const client = new pg.Client(server);
  await client.connect();
  const schema = `t${randomUUID().replaceAll("-", "")}`;
  await client.query(`CREATE SCHEMA ${schema}`);
  await client.end();
  return { store: `${server}&options=${encodeURIComponent(`-c search_path=${schema}`)}` };
}

/** A tracker on a new folder, called without a network. The header x-user sets the user; the default is "tester". */
export class TestTracker {
  readonly options: TrackerOptions;
  tracker: Tracker;
  app: FastifyInstance;

  private constructor(options: TrackerOptions, tracker: Tracker) {
    this.options = options;
    this.tracker = tracker;
    this.app = this.#serve();
  }

  /** @param options.store a PostgreSQL database that another tracker has open; a new one by default */
  static async open({ store, ...others }: Partial<TrackerOptions> = {}): Promise<TestTracker> {
    const dataDir = mkdtempSync(join(tmpdir(), "anneal-tracker-"));
    const options = { ...others, dataDir, ...(store === undefined ? await newStore() : { store }) };
    return new TestTracker(options, await openTracker(options));
  }

  get dataDir(): string {
    return this.options.dataDir;
  }

  #serve(): FastifyInstance {
    const app = Fastify({ forceCloseConnections: true, routerOptions: { maxParamLength: 4096 } });
    app.decorateRequest("principal", undefined);
    app.addHook("onRequest", async (request) => {
      const name = String(request.headers["x-user"] ?? "tester");
      request.principal = new Principal({ name, role: "admin", owner: true });
    });
    void app.register(trackerPlugin, { tracker: this.tracker });
    return app;
  }

  /** Closes the tracker and opens its folder again, as a new process would. */
  async restart(): Promise<void> {
    await this.app.close();
    await this.tracker.close();
    this.tracker = await openTracker(this.options);
    this.app = this.#serve();
  }

  async close(): Promise<void> {
    await this.app.close();
    await this.tracker.close();
    rmSync(this.dataDir, { recursive: true, force: true });
  }

  async request(options: InjectOptions): Promise<Answer> {
    const response = await this.app.inject(options);
    return answer(response.statusCode, response.body);
  }

  /** Sends a GET to MLflow's API, or to any address that starts with /api. */
  get(path: string, query: Record<string, string | string[]> = {}): Promise<Answer> {
    return this.request({ method: "GET", url: this.#url(path), query });
  }

  post(path: string, body: object | string = {}, headers: Record<string, string> = {}): Promise<Answer> {
    return this.send("POST", path, body, headers);
  }

  send(
    method: "POST" | "PUT" | "PATCH" | "DELETE",
    path: string,
    body: object | string = {},
    headers: Record<string, string> = {},
  ): Promise<Answer> {
    const payload = typeof body === "string" ? body : JSON.stringify(body);
    return this.request({
      method,
      url: this.#url(path),
      payload,
      headers: { "content-type": "application/json", ...headers },
    });
  }

  #url(path: string): string {
    return path.startsWith("/") ? path : `/api/2.0/mlflow/${path}`;
  }

  /** Creates a run and returns its id. */
  async run(fields: object = {}): Promise<string> {
    return (await this.post("runs/create", { experiment_id: "0", ...fields })).text("run.info.run_id");
  }

  async log(run_id: string, batch: object): Promise<void> {
    const logged = await this.post("runs/log-batch", { run_id, ...batch });
    if (logged.status !== 200) throw new Error(JSON.stringify(logged.body));
  }
}
