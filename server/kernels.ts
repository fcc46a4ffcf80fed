import { randomUUID } from "node:crypto";
import { existsSync, statSync } from "node:fs";
import { dirname, posix, resolve } from "node:path";
import type { FastifyInstance } from "fastify";
import { KernelClient } from "../kernel/client.ts";
import type { Channel } from "../kernel/host/connection.ts";
import type { Message } from "../kernel/host/wire.ts";
import { logo } from "../kernel/logo.ts";
import { kernelName, kernelSpec } from "../kernel/spec.ts";
import { HttpError } from "./errors.ts";
import { OutputLimit } from "./output-limit.ts";
import { OutstandingCells } from "./outstanding.ts";

/** Receives every message of a kernel, also from replaced processes. */
export type Listener = (channel: Channel, message: Message) => void;

/** Maximum consecutive restarts of a crashing process, as in Jupyter's server. */
const restartLimit = 5;
/** Lifetime after which a crash counts as the first of a new series, in milliseconds. */
const stableMs = 10_000;

/** A kernel of the studio; its id does not change when its process is replaced. */
class Kernel {
  readonly id = randomUUID();
  /** Listeners of connected pages. */
  readonly listeners = new Set<Listener>();
  /** Listeners of pages whose connection broke. */
  readonly parked = new Set<Listener>();
  state = "starting";
  lastActivity = new Date();
  readonly #start: () => Promise<KernelClient>;
  readonly #output = new OutputLimit((channel, message) => {
    for (const listener of [...this.listeners, ...this.parked]) listener(channel, message);
  });
  readonly #outstanding = new OutstandingCells(this.id, (channel, message) => this.#output.take(channel, message));
  /** Processes that were stopped intentionally. */
  readonly #stopped = new WeakSet<KernelClient>();
  /** The running process, or the next one while it starts. */
  #client: Promise<KernelClient>;
  #replacing: Promise<KernelClient> | undefined;
  /** Number of consecutive crashes. */
  #crashes = 0;
  #isShutDown = false;

  constructor(start: () => Promise<KernelClient>) {
    this.#start = start;
    this.#client = this.#start().then((client) => this.#attach(client));
  }

  /** Resolves when the first process has started. */
  get ready(): Promise<unknown> {
    return this.#client;
  }

  /**
   * Sends a page's message, after the process has started.
   * @throws Error when there is no process
   */
  async send(channel: "shell" | "control" | "stdin", message: Message): Promise<void> {
    const client = await this.#client;
    this.#outstanding.sent(channel, message);
    client.send(channel, message);
  }

  /** Interrupts the running cell. Has no effect while the process ends or starts. */
  async interrupt(): Promise<void> {
    if (this.state === "dead") throw new HttpError(409, "The kernel is dead. Restart it.");
    if (this.#replacing) return;
    const client = await this.#client;
    await Promise.race([client.interrupt().catch(() => undefined), client.exited]);
  }

  /**
   * Replaces the process; concurrent calls wait for the same restart. No "restarting" status is sent, which pages would
   * interpret as a crash.
   * @throws HttpError when no process starts
   */
  async restart(): Promise<void> {
    if (this.#isShutDown) throw new HttpError(404, `The kernel ${this.id} was shut down.`);
    if (!this.#replacing) {
      this.#crashes = 0;
      this.#replace();
    }
    await this.#client;
  }

  async shutdown(): Promise<void> {
    this.#isShutDown = true;
    await this.#client.then((client) => this.#stop(client)).catch(() => undefined);
    this.#announce("dead");
  }

  model() {
    return {
      id: this.id,
      name: kernelName,
      last_activity: this.lastActivity.toISOString(),
      execution_state: this.state,
      connections: this.listeners.size,
    };
  }

  #replace(): void {
    const old = this.#client;
    this.state = "restarting";
    const replacing = old
      .then((client) => this.#stop(client))
      .catch(() => undefined)
      .then(() => this.#startAgain())
      .finally(() => {
        if (this.#replacing === replacing) this.#replacing = undefined;
      });
    this.#replacing = replacing;
    this.#client = replacing;
    replacing.catch((error: Error) => {
      if (this.#isShutDown) return;
      process.stderr.write(`${error.message}\n`);
      this.#announce("dead");
    });
  }

  async #stop(client: KernelClient): Promise<void> {
    this.#stopped.add(client);
    await client.shutdown();
    this.#outstanding.end();
  }

  async #startAgain(): Promise<KernelClient> {
    for (;;) {
      if (this.#isShutDown) throw new HttpError(404, `The kernel ${this.id} was shut down.`);
      try {
        return this.#attach(await this.#start());
      } catch (error) {
        if (++this.#crashes > restartLimit)
          throw new HttpError(500, `The kernel did not start again: ${(error as Error).message}`);
      }
    }
  }

  #attach(client: KernelClient): KernelClient {
    const since = Date.now();
    this.state = "idle";
    client.onMessage((channel, message) => {
      this.lastActivity = new Date();
      this.#outstanding.received(channel, message);
      if (channel === "iopub" && message.header.msg_type === "status" && !this.#stopped.has(client)) {
        this.state = String(message.content.execution_state);
      }
      this.#output.take(channel, message);
    });
    void client.exited.then((how) => {
      if (!this.#stopped.has(client) && !this.#isShutDown) this.#crashed(how, Date.now() - since);
    });
    return client;
  }

  /** Handles a crash of the process: notifies the pages, and starts another process. */
  #crashed(how: string, livedMs: number): void {
    this.#crashes = livedMs < stableMs ? this.#crashes + 1 : 1;
    const isLast = this.#crashes > restartLimit;
    const next = isLast ? `It ended ${this.#crashes} times in a row: restart it` : "Another one is started";
    const evalue = `the kernel's process ended (${how}). All variables are lost. ${next}.`;
    this.#outstanding.end({
      ename: "KernelDied",
      evalue,
      traceback: [`\x1b[1;31mKernelDied\x1b[0m: ${evalue}`],
    });
    if (isLast) this.#announce("dead");
    else {
      this.#announce("restarting");
      this.#replace();
      this.#client.then(() => this.#announce(this.state)).catch(() => undefined);
    }
  }

  #announce(state: string): void {
    this.state = state;
    this.#outstanding.send("iopub", "status", { execution_state: state });
  }
}

interface Session {
  id: string;
  path: string;
  name: string;
  type: string;
  kernel: Kernel;
}

interface SessionBody {
  path?: string;
  name?: string;
  type?: string;
  kernel?: { id?: string; name?: string };
}

/** JupyterLab sends a temporary path; the notebook's name is in a separate field. */
function notebookOf({ path = "", name, type }: SessionBody): string {
  return name && type === "notebook" ? posix.join(posix.dirname(path), posix.basename(name)) : path;
}

/** Starts kernel processes and stores which notebook each belongs to. */
export class KernelManager {
  readonly #root: string;
  readonly #env: Record<string, string>;
  readonly #kernels = new Map<string, Kernel>();
  readonly #sessions = new Map<string, Session>();

  /**
   * @param root the studio's folder; session paths are relative to it
   * @param env environment variables of every kernel, in addition to the studio's
   */
  constructor(root: string, env: Record<string, string>) {
    this.#root = root;
    this.#env = env;
  }

  kernel(id: string): Kernel {
    const kernel = this.#kernels.get(id);
    if (!kernel) throw new HttpError(404, `There is no kernel ${id}; it may have been shut down.`);
    return kernel;
  }

  /** Returns the number of kernels and connected pages, and the time of the last activity. */
  activity(): { kernels: number; connections: number; last_activity: string } {
    const kernels = [...this.#kernels.values()];
    const last = Math.max(this.#started, ...kernels.map(({ lastActivity }) => lastActivity.getTime()));
    const connections = kernels.reduce((sum, { listeners }) => sum + listeners.size, 0);
    return { kernels: kernels.length, connections, last_activity: new Date(last).toISOString() };
  }

  readonly #started = Date.now();

  async shutdownAll(): Promise<void> {
    await Promise.allSettled([...this.#kernels.values()].map((kernel) => kernel.shutdown()));
    this.#kernels.clear();
    this.#sessions.clear();
  }

  routes(app: FastifyInstance): void {
    const kernelOf = (request: { params: unknown }) => this.kernel((request.params as { id: string }).id);

    app.get("/api/kernelspecs", () => ({
      default: kernelName,
      kernelspecs: {
        [kernelName]: {
          name: kernelName,
          spec: kernelSpec(),
          resources: { "logo-svg": `/kernelspecs/${kernelName}/logo-svg.svg` },
        },
      },
    }));
    app.get(`/kernelspecs/${kernelName}/logo-svg.svg`, (_, reply) => reply.type("image/svg+xml").send(logo));

    // Dead kernels are not listed, so that JupyterLab drops them and a restart starts a new one.
    app.get("/api/kernels", () => [...this.#kernels.values()].filter(isAlive).map((kernel) => kernel.model()));
    app.post("/api/kernels", async (request, reply) => {
      const kernel = await this.#create((request.body as { path?: string } | null)?.path);
      return reply.code(201).send(kernel.model());
    });
    app.get("/api/kernels/:id", (request) => kernelOf(request).model());
    app.delete("/api/kernels/:id", async (request, reply) => {
      await this.#remove(kernelOf(request));
      return reply.code(204).send();
    });
    app.post("/api/kernels/:id/interrupt", async (request, reply) => {
      await kernelOf(request).interrupt();
      return reply.code(204).send();
    });
    app.post("/api/kernels/:id/restart", async (request) => {
      const kernel = kernelOf(request);
      await kernel.restart();
      return kernel.model();
    });

    app.get("/api/sessions", () =>
      [...this.#sessions.values()].filter(({ kernel }) => isAlive(kernel)).map(sessionModel),
    );
    app.post("/api/sessions", async (request, reply) => {
      const body = (request.body ?? {}) as SessionBody;
      if (typeof body.path !== "string") throw new HttpError(400, "A session needs the path of its notebook.");
      const existing = [...this.#sessions.values()].find(({ path }) => path === body.path);
      if (existing && isAlive(existing.kernel)) return reply.code(201).send(sessionModel(existing));
      if (existing) await this.#remove(existing.kernel);
      const kernel = body.kernel?.id ? this.kernel(body.kernel.id) : await this.#create(notebookOf(body));
      const session: Session = {
        id: randomUUID(),
        path: body.path,
        name: body.name ?? "",
        type: body.type ?? "notebook",
        kernel,
      };
      this.#sessions.set(session.id, session);
      return reply.code(201).send(sessionModel(session));
    });
    app.get("/api/sessions/:id", (request) => sessionModel(this.#session(request)));
    app.patch("/api/sessions/:id", async (request) => {
      const session = this.#session(request);
      const body = (request.body ?? {}) as SessionBody;
      session.path = body.path ?? session.path;
      session.name = body.name ?? session.name;
      session.type = body.type ?? session.type;
      const before = session.kernel;
      if (body.kernel?.id) session.kernel = this.kernel(body.kernel.id);
      else if (body.kernel?.name) session.kernel = await this.#create(session.path);
      await this.#removeUnused(before);
      return sessionModel(session);
    });
    app.delete("/api/sessions/:id", async (request, reply) => {
      const session = this.#session(request);
      this.#sessions.delete(session.id);
      await this.#removeUnused(session.kernel);
      return reply.code(204).send();
    });
  }

  #session(request: { params: unknown }): Session {
    const { id } = request.params as { id: string };
    const session = this.#sessions.get(id);
    if (!session) throw new HttpError(404, `There is no session ${id}.`);
    return session;
  }

  async #create(path: string | undefined): Promise<Kernel> {
    const notebookPath = path ? resolve(this.#root, path) : undefined;
    const folder = notebookPath ? dirname(notebookPath) : this.#root;
    const cwd = existsSync(folder) && statSync(folder).isDirectory() ? folder : this.#root;
    const kernel = new Kernel(() => KernelClient.start({ cwd, env: this.#env, notebookPath }));
    this.#kernels.set(kernel.id, kernel);
    try {
      await kernel.ready;
    } catch (error) {
      this.#kernels.delete(kernel.id);
      throw new HttpError(500, `The kernel did not start: ${(error as Error).message}`);
    }
    return kernel;
  }

  async #removeUnused(kernel: Kernel): Promise<void> {
    if (![...this.#sessions.values()].some((session) => session.kernel === kernel)) await this.#remove(kernel);
  }

  async #remove(kernel: Kernel): Promise<void> {
    this.#kernels.delete(kernel.id);
    for (const [id, session] of this.#sessions) if (session.kernel === kernel) this.#sessions.delete(id);
    await kernel.shutdown();
  }
}

const isAlive = ({ state }: Kernel): boolean => state !== "dead";

function sessionModel({ id, path, name, type, kernel }: Session) {
  return { id, path, name, type, kernel: kernel.model(), notebook: { path, name } };
}
