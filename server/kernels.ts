import { randomUUID } from "node:crypto";
import { existsSync, statSync } from "node:fs";
import { dirname, posix, resolve } from "node:path";
import type { FastifyInstance } from "fastify";
import { KernelClient } from "../kernel/client.ts";
import type { Message } from "../kernel/host/wire.ts";
import { logo } from "../kernel/logo.ts";
import { kernelName, kernelSpec } from "../kernel/spec.ts";
import { HttpError } from "./errors.ts";

/** Hears every message of a kernel, whatever kernel process is behind it at the time. */
export type Listener = (channel: string, message: Message) => void;

/** One kernel as the studio knows it: its id stays when the process behind it is restarted. */
class Kernel {
  readonly id = randomUUID();
  /** Of the pages that are connected. */
  readonly listeners = new Set<Listener>();
  /** Of those whose connection broke. */
  readonly parked = new Set<Listener>();
  state = "starting";
  lastActivity = new Date();
  #client: Promise<KernelClient>;
  readonly #start: () => Promise<KernelClient>;

  constructor(start: () => Promise<KernelClient>) {
    this.#start = start;
    this.#client = this.#open();
  }

  get client(): Promise<KernelClient> {
    return this.#client;
  }

  /** Whoever asks while it restarts waits for that restart. */
  restart(): Promise<void> {
    this.#restarting ??= this.#restart().finally(() => {
      this.#restarting = undefined;
    });
    return this.#restarting;
  }

  #restarting: Promise<void> | undefined;

  async #restart(): Promise<void> {
    this.#announce("restarting");
    // One that did not start again the last time is tried once more.
    await this.#client.then((client) => client.shutdown()).catch(() => undefined);
    this.#client = this.#open();
    await this.#client;
  }

  async shutdown(): Promise<void> {
    await this.#restarting?.catch(() => undefined);
    await this.#client.then((client) => client.shutdown()).catch(() => undefined);
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

  async #open(): Promise<KernelClient> {
    this.state = "starting";
    const client = await this.#start();
    this.state = "idle";
    client.onMessage((channel, message) => {
      this.lastActivity = new Date();
      if (channel === "iopub" && message.header.msg_type === "status") {
        this.state = String(message.content.execution_state);
      }
      for (const listener of [...this.listeners, ...this.parked]) listener(channel, message);
    });
    void client.exited.then(() => {
      // Stopped by us when another process has taken its place, or when nobody knows it any more.
      const after = (current: KernelClient) => {
        if (current === client && this.state !== "dead") this.#announce("dead");
      };
      this.#client.then(after, () => this.#announce("dead"));
    });
    return client;
  }

  #announce(state: string): void {
    this.state = state;
    const header = {
      msg_id: randomUUID(),
      msg_type: "status",
      session: this.id,
      username: "studio",
      date: new Date().toISOString(),
      version: "5.4",
    };
    const message = { header, parent_header: {}, metadata: {}, content: { execution_state: state }, buffers: [] };
    for (const listener of [...this.listeners, ...this.parked]) listener("iopub", message as Message);
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

/** JupyterLab asks under a path made up for the moment; the notebook's own name stands beside it. */
function notebookOf({ path = "", name, type }: SessionBody): string {
  return name && type === "notebook" ? posix.join(posix.dirname(path), posix.basename(name)) : path;
}

/** Starts kernels as processes and remembers which notebook each belongs to. */
export class KernelManager {
  readonly #root: string;
  readonly #env: Record<string, string>;
  readonly #kernels = new Map<string, Kernel>();
  readonly #sessions = new Map<string, Session>();

  /**
   * @param root the studio's folder, which session paths are relative to
   * @param env set for every kernel, on top of the studio's own
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

  /** How many kernels there are, how many pages look at them, and when one last said something. */
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

    app.get("/api/kernels", () => [...this.#kernels.values()].map((kernel) => kernel.model()));
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
      await (await kernelOf(request).client).interrupt();
      return reply.code(204).send();
    });
    app.post("/api/kernels/:id/restart", async (request) => {
      const kernel = kernelOf(request);
      await kernel.restart();
      return kernel.model();
    });

    app.get("/api/sessions", () => [...this.#sessions.values()].map(sessionModel));
    app.post("/api/sessions", async (request, reply) => {
      const body = (request.body ?? {}) as SessionBody;
      if (typeof body.path !== "string") throw new HttpError(400, "A session needs the path of its notebook.");
      const known = [...this.#sessions.values()].find(({ path }) => path === body.path);
      if (known) return reply.code(201).send(sessionModel(known));
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
      if (body.kernel?.id) session.kernel = this.kernel(body.kernel.id);
      else if (body.kernel?.name) session.kernel = await this.#create(session.path);
      return sessionModel(session);
    });
    app.delete("/api/sessions/:id", async (request, reply) => {
      const session = this.#session(request);
      this.#sessions.delete(session.id);
      if (![...this.#sessions.values()].some(({ kernel }) => kernel === session.kernel)) {
        await this.#remove(session.kernel);
      }
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
      await kernel.client;
    } catch (error) {
      this.#kernels.delete(kernel.id);
      throw new HttpError(500, `The kernel did not start: ${(error as Error).message}`);
    }
    return kernel;
  }

  async #remove(kernel: Kernel): Promise<void> {
    this.#kernels.delete(kernel.id);
    for (const [id, session] of this.#sessions) if (session.kernel === kernel) this.#sessions.delete(id);
    await kernel.shutdown();
  }
}

function sessionModel({ id, path, name, type, kernel }: Session) {
  return { id, path, name, type, kernel: kernel.model(), notebook: { path, name } };
}
