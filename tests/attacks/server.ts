// A tracker over HTTP with several users, for tests that attack it.
import { createHash } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type ServedTracker, type ServeOptions, serveTracker } from "../../tracker/index.ts";
import { type Answer, answer, newStore } from "../../tracker/testing.ts";

type Role = "none" | "viewer" | "editor" | "admin";
type Kind = "experiment" | "model";

const ARTIFACTS = "/api/2.0/mlflow-artifacts/artifacts";
const OWNER = "token-of-the-owner-of-the-tested-server";

export const sha256 = (content: string): string => createHash("sha256").update(content).digest("hex");

/** Somebody with a token. Paths that do not start with a slash are those of MLflow's API. */
export class User {
  readonly name: string;
  readonly token: string;
  readonly url: string;

  constructor(url: string, name: string, token: string) {
    this.url = url;
    this.name = name;
    this.token = token;
  }

  /** Sends a request as it is. */
  fetch(path: string, options: RequestInit = {}): Promise<Response> {
    const address = path.startsWith("/") ? path : `/api/2.0/mlflow/${path}`;
    // A connection that stays open would not survive a restart of the server.
    const headers = {
      connection: "close",
      authorization: `Bearer ${this.token}`,
      ...(options.headers as Record<string, string>),
    };
    return fetch(this.url + address, { ...options, headers });
  }

  async send(method: string, path: string, body?: object): Promise<Answer> {
    const json = body && { body: JSON.stringify(body), headers: { "content-type": "application/json" } };
    const response = await this.fetch(path, { method, ...json });
    return answer(response.status, (await response.text()) || "{}");
  }

  get(path: string, query: Record<string, string> = {}): Promise<Answer> {
    return this.send("GET", `${path}?${new URLSearchParams(query)}`);
  }

  post(path: string, body: object = {}): Promise<Answer> {
    return this.send("POST", path, body);
  }

  /** Does what must succeed for the test to make sense. */
  async must(method: string, path: string, body?: object): Promise<Answer> {
    const done = await this.send(method, path, body);
    if (done.status !== 200) throw new Error(`${this.name}: ${method} ${path}: ${JSON.stringify(done.body)}`);
    return done;
  }

  /** Uploads a file through the proxy. @param path below the root of all artifacts */
  async upload(path: string, content: string): Promise<Answer> {
    const response = await this.fetch(`${ARTIFACTS}/${path}`, { method: "PUT", body: content });
    return answer(response.status, (await response.text()) || "{}");
  }

  /** The status and the text of a download. A transfer that breaks off has the text "broken off". */
  async download(path: string, headers: Record<string, string> = {}): Promise<{ status: number; text: string }> {
    const response = await this.fetch(path, { headers });
    const text = await response.text().catch(() => "broken off");
    return { status: response.status, text };
  }

  /** A file by its path below the root of all artifacts. */
  file(path: string): Promise<{ status: number; text: string }> {
    return this.download(`${ARTIFACTS}/${path}`);
  }

  /** A file of a registered version. */
  versionFile(name: string, version: string, path: string): Promise<{ status: number; text: string }> {
    return this.download(`/model-versions/get-artifact?${new URLSearchParams({ name, version, path })}`);
  }

  async experiment(name: string, fields: object = {}): Promise<string> {
    return (await this.must("POST", "experiments/create", { name, ...fields })).text("experiment_id");
  }

  /** A finished run with metrics and files. @param files content by path, such as model/weights */
  async run(
    experiment_id: string,
    { metrics = {}, files = {} }: { metrics?: Record<string, number>; files?: Record<string, string> } = {},
  ): Promise<string> {
    const run_id = (await this.must("POST", "runs/create", { experiment_id })).text("run.info.run_id");
    await this.must("POST", "runs/log-batch", {
      run_id,
      metrics: Object.entries(metrics).map(([key, value]) => ({ key, value, timestamp: 1 })),
    });
    for (const [path, content] of Object.entries(files)) {
      const { status, body } = await this.upload(`${experiment_id}/${run_id}/artifacts/${path}`, content);
      if (status !== 200) throw new Error(JSON.stringify(body));
    }
    await this.must("POST", "runs/update", { run_id, status: "FINISHED" });
    return run_id;
  }

  /** Registers a version of a model, which is created if there is none of that name. */
  async version(name: string, fields: object): Promise<Answer> {
    await this.post("registered-models/create", { name });
    return this.post("model-versions/create", { name, ...fields });
  }
}

/** The server, its owner and its users. */
export class AttackedServer {
  readonly dataDir: string;
  readonly owner: User;
  #served: ServedTracker;
  readonly options: ServeOptions;

  private constructor(dataDir: string, options: ServeOptions, served: ServedTracker) {
    this.dataDir = dataDir;
    this.options = options;
    this.#served = served;
    this.owner = new User(served.url, "the owner", OWNER);
  }

  static async start(options: Partial<ServeOptions> = {}): Promise<AttackedServer> {
    const dataDir = mkdtempSync(join(tmpdir(), "anneal-attacks-"));
    const all = { dataDir, host: "127.0.0.1", port: 0, token: OWNER, ...(await newStore()), ...options };
    const served = await serveTracker(all);
    // After a restart it has the same address.
    return new AttackedServer(dataDir, { ...all, port: Number(new URL(served.url).port) }, served);
  }

  get url(): string {
    return this.#served.url;
  }

  /** Where a file is on this machine's disk. @param path below the root of all artifacts */
  onDisk(path: string): string {
    return join(this.dataDir, "artifacts", path);
  }

  /** Creates a user. Rights that are granted later need a new token: see {@link grant}. */
  async user(name: string, role: Role): Promise<User> {
    await this.owner.must("POST", "/api/anneal/users", { name, role });
    return this.#withToken(name);
  }

  /** Grants a role for an experiment (by id) or a model (by name). @returns the user with a token that has it at once */
  async grant({ name }: User, kind: Kind, target: string, role: Role): Promise<User> {
    await this.owner.must("PUT", "/api/anneal/grants", { user: name, kind, target, role });
    // Rights are kept with a token for some seconds.
    return this.#withToken(name);
  }

  async #withToken(name: string): Promise<User> {
    const made = await this.owner.must("POST", "/api/anneal/tokens", { user: name, label: "test", scope: "admin" });
    return new User(this.url, name, made.text("token"));
  }

  /** Stops the server, does something to its data, and starts it again. */
  async restart(options: Partial<ServeOptions> = {}, meanwhile: () => void | Promise<void> = () => {}): Promise<void> {
    await this.#served.close();
    await meanwhile();
    this.#served = await serveTracker({ ...this.options, ...options });
  }

  async close(): Promise<void> {
    await this.#served.close();
    rmSync(this.dataDir, { recursive: true, force: true });
  }
}
