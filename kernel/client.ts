/** A kernel client: starts a kernel process and communicates with it. */
import { type ChildProcess, spawn } from "node:child_process";
import { randomBytes, randomUUID } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { Dealer, Subscriber } from "zeromq";
import { address, type Channel, type Connection } from "./host/connection.ts";
import { SendQueue, untilClosed } from "./host/sockets.ts";
import { type Message, newHeader, Wire, WireError } from "./host/wire.ts";

/** Options of {@link KernelClient.start}. */
export interface StartOptions {
  /** The working directory of the kernel. */
  cwd?: string;
  /** Environment variables, added to those of this process. */
  env?: Record<string, string>;
  /** The notebook's absolute path. Relative imports resolve from its folder. */
  notebookPath?: string;
  /** The user's data folder, which contains the history. */
  data?: string;
  /** The command of another kernel, with `{connection_file}` among its arguments. Default: this kernel. */
  command?: readonly [string, ...string[]];
  /** Called for each line of the kernel's log. Default: the log goes to standard error. */
  onLog?: (line: string) => void;
}

/** Options of {@link KernelClient.execute}. */
export interface ExecuteOptions {
  /** Called for each iopub message of the cell, in order. */
  onOutput?: (message: Message) => void;
  /** Answers the cell's input requests. Without it, input requests of the cell fail. */
  onInput?: (prompt: string, password: boolean) => string | Promise<string>;
  allowStdin?: boolean;
  cellId?: string;
  storeHistory?: boolean;
  silent?: boolean;
  stopOnError?: boolean;
  userExpressions?: Record<string, string>;
}

interface Request {
  reply: Message | undefined;
  idle: boolean;
  resolve: (reply: Message) => void;
  reject: (error: Error) => void;
  /** Whether the request completes with its reply, without waiting for idle. */
  replyOnly: boolean;
  onOutput: ((message: Message) => void) | undefined;
  onInput: ExecuteOptions["onInput"];
}

/** Timeout for the kernel's first reply. */
const startMs = 30_000;
/** Reconnect interval while the kernel does not listen yet. ZeroMQ's default of 100 ms is a fifth of the startup time. */
const connectMs = 10;

/** A running kernel process and the connection to it. */
export class KernelClient {
  readonly connection: Connection;
  readonly #process: ChildProcess;
  readonly #folder: string;
  readonly #wire: Wire;
  readonly #session = randomUUID();
  readonly #sockets: Record<"shell" | "control" | "stdin", Dealer>;
  readonly #iopub: Subscriber;
  readonly #queues: Record<"shell" | "control" | "stdin", SendQueue>;
  readonly #requests = new Map<string, Request>();
  readonly #listeners = new Set<(channel: Channel, message: Message) => void>();
  #closed = false;
  /** Resolves when the kernel process has exited, with the exit code or signal as text. */
  readonly exited: Promise<string>;

  private constructor(process: ChildProcess, connection: Connection, folder: string, onLog?: (line: string) => void) {
    this.#process = process;
    this.connection = connection;
    this.#folder = folder;
    this.#wire = new Wire(connection.key, connection.signature_scheme);
    const routingId = randomUUID();
    const options = {
      routingId,
      sendHighWaterMark: 0,
      receiveHighWaterMark: 0,
      linger: 0,
      reconnectInterval: connectMs,
    };
    this.#sockets = { shell: new Dealer(options), control: new Dealer(options), stdin: new Dealer(options) };
    this.#iopub = new Subscriber({ receiveHighWaterMark: 0, linger: 0, reconnectInterval: connectMs });
    this.#queues = {
      shell: new SendQueue(this.#sockets.shell),
      control: new SendQueue(this.#sockets.control),
      stdin: new SendQueue(this.#sockets.stdin),
    };
    for (const channel of ["shell", "control", "stdin"] as const) {
      this.#sockets[channel].connect(address(connection, channel));
      void this.#receive(channel, this.#sockets[channel]);
    }
    this.#iopub.subscribe();
    this.#iopub.connect(address(connection, "iopub"));
    void this.#receive("iopub", this.#iopub);
    if (onLog) {
      let rest = "";
      process.stderr?.setEncoding("utf8").on("data", (text: string) => {
        const lines = (rest + text).split("\n");
        rest = lines.pop() ?? "";
        for (const line of lines) onLog(line);
      });
    }
    this.exited = new Promise((resolve) => {
      process.once("error", (error) => resolve(`failed to start: ${error.message}`));
      process.once("exit", (code, signal) => resolve(signal ? `signal ${signal}` : `exit code ${code}`));
    });
    void this.exited.then((how) => this.#close(how));
  }

  /**
   * Starts a kernel and waits until it replies and the iopub subscription works.
   * @throws Error when the kernel exits before that or takes longer than 30 seconds
   */
  static async start(options: StartOptions = {}): Promise<KernelClient> {
    const connection = await freeConnection();
    const folder = mkdtempSync(join(tmpdir(), "anneal-kernel-"));
    const file = join(folder, "connection.json");
    writeFileSync(file, JSON.stringify(connection), { mode: 0o600 });
    const main = fileURLToPath(new URL("./bundle/host/main.js", import.meta.url));
    const [program, ...args] = options.command ?? [process.execPath, main, "{connection_file}"];
    const child = spawn(
      program,
      args.map((each) => (each === "{connection_file}" ? file : each)),
      {
        ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
        stdio: ["ignore", "inherit", options.onLog ? "pipe" : "inherit"],
        env: {
          ...process.env,
          JPY_PARENT_PID: String(process.pid),
          ANNEAL_KERNEL_FOLDER: folder,
          ...(options.notebookPath === undefined ? {} : { JPY_SESSION_NAME: options.notebookPath }),
          ...(options.data === undefined ? {} : { ANNEAL_DATA: options.data }),
          ...options.env,
        },
      },
    );
    const client = new KernelClient(child, connection, folder, options.onLog);
    await client.#ready();
    return client;
  }

  async #ready(): Promise<void> {
    let subscribed: () => void = () => {};
    const iopub = new Promise<void>((resolve) => {
      subscribed = resolve;
    });
    const removeListener = this.onMessage((channel) => {
      if (channel === "iopub") subscribed();
    });
    let timer: NodeJS.Timeout | undefined;
    const timeout = new Promise<never>((_resolve, reject) => {
      timer = setTimeout(() => reject(new Error(`the kernel did not reply within ${startMs / 1000} s`)), startMs);
    });
    const exited = this.exited.then((how) => Promise.reject(new Error(`the kernel exited during startup (${how})`)));
    exited.catch(() => {});
    try {
      const info = this.#request("shell", "kernel_info_request", {}, { replyOnly: true });
      await Promise.race([Promise.all([info, this.#requestUntil(iopub)]), timeout, exited]);
    } catch (error) {
      this.#process.kill("SIGKILL");
      throw error;
    } finally {
      clearTimeout(timer);
      removeListener();
    }
  }

  // This kernel sends iopub_welcome to new subscribers. Other kernels get requests until an iopub message arrives.
  async #requestUntil(iopub: Promise<void>): Promise<void> {
    const interval = setInterval(() => {
      this.#request("shell", "kernel_info_request", {}, { replyOnly: true }).catch(() => {});
    }, 100);
    await iopub.finally(() => clearInterval(interval));
  }

  async #receive(channel: Channel, socket: Dealer | Subscriber): Promise<void> {
    for await (const frames of untilClosed(socket)) {
      try {
        const { message } = this.#wire.decode(frames);
        this.#handle(channel, message);
      } catch (error) {
        // Ignore invalid messages.
        if (!(error instanceof WireError)) throw error;
      }
    }
  }

  #handle(channel: Channel, message: Message): void {
    const id = message.parent_header.msg_id;
    const request = id === undefined ? undefined : this.#requests.get(id);
    for (const listener of this.#listeners) listener(channel, message);
    if (!request || id === undefined) return;
    if (channel === "iopub") {
      request.onOutput?.(message);
      if (message.header.msg_type === "status" && message.content.execution_state === "idle") request.idle = true;
    } else if (channel === "stdin") void this.#replyToInput(request, message);
    else request.reply = message;
    if (request.reply && (request.idle || request.replyOnly)) {
      this.#requests.delete(id);
      request.resolve(request.reply);
    }
  }

  async #replyToInput(request: Request, question: Message): Promise<void> {
    if (question.header.msg_type !== "input_request" || !request.onInput) return;
    const { prompt, password } = question.content;
    const value = await request.onInput(String(prompt), password === true);
    const message = this.message("input_reply", { status: "ok", value });
    message.parent_header = question.header;
    this.send("stdin", message);
  }

  /** Creates a message of this client's session. */
  message(msgType: string, content: Record<string, unknown>, metadata: Record<string, unknown> = {}): Message {
    return { header: newHeader(msgType, this.#session, "client"), parent_header: {}, metadata, content, buffers: [] };
  }

  /** Sends a message. Messages of one channel arrive in order. */
  send(channel: "shell" | "control" | "stdin", message: Message): void {
    this.#queues[channel].send(this.#wire.encode([], message));
  }

  /**
   * Calls a listener for every message of the kernel, including those caused by other clients.
   * @returns a function that removes the listener
   */
  onMessage(listener: (channel: Channel, message: Message) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  #request(
    channel: "shell" | "control",
    msgType: string,
    content: Record<string, unknown>,
    more: Partial<Pick<Request, "onOutput" | "onInput" | "replyOnly">> & { metadata?: Record<string, unknown> } = {},
  ): Promise<Message> {
    const message = this.message(msgType, content, more.metadata);
    return new Promise((resolve, reject) => {
      if (this.#closed) {
        reject(new Error("the kernel has exited"));
        return;
      }
      this.#requests.set(message.header.msg_id, {
        reply: undefined,
        idle: false,
        resolve,
        reject,
        replyOnly: more.replyOnly ?? false,
        onOutput: more.onOutput,
        onInput: more.onInput,
      });
      this.send(channel, message);
    });
  }

  /**
   * Sends a request and waits for its reply and its iopub messages.
   * @throws Error when the kernel exits before that
   */
  request(channel: "shell" | "control", msgType: string, content: Record<string, unknown> = {}): Promise<Message> {
    return this.#request(channel, msgType, content);
  }

  /**
   * Executes a cell and waits for its reply and its outputs.
   * @returns the reply; its `content.status` is `ok`, `error` or `aborted`
   * @throws Error when the kernel exits before that
   */
  execute(code: string, options: ExecuteOptions = {}): Promise<Message> {
    const content = {
      code,
      silent: options.silent ?? false,
      store_history: options.storeHistory ?? true,
      user_expressions: options.userExpressions ?? {},
      allow_stdin: options.allowStdin ?? options.onInput !== undefined,
      stop_on_error: options.stopOnError ?? true,
    };
    return this.#request("shell", "execute_request", content, {
      onOutput: options.onOutput,
      onInput: options.onInput,
      ...(options.cellId === undefined ? {} : { metadata: { cellId: options.cellId } }),
    });
  }

  /** Interrupts the running cell. Resolves when the kernel has received the request, not when the cell has stopped. */
  async interrupt(): Promise<void> {
    await this.#request("control", "interrupt_request", {}, { replyOnly: true });
  }

  /** The kernel's process id. */
  get pid(): number | undefined {
    return this.#process.pid;
  }

  /** Requests a shutdown, and kills the kernel if it does not exit within 5 seconds. */
  async shutdown(restart = false): Promise<void> {
    if (!this.#closed) this.#request("control", "shutdown_request", { restart }, { replyOnly: true }).catch(() => {});
    const killTimer = setTimeout(() => this.#process.kill("SIGKILL"), 5000);
    await this.exited;
    clearTimeout(killTimer);
  }

  #close(how: string): void {
    this.#closed = true;
    for (const { reject } of this.#requests.values()) reject(new Error(`the kernel exited (${how})`));
    this.#requests.clear();
    for (const socket of [...Object.values(this.#sockets), this.#iopub]) socket.close();
    rmSync(this.#folder, { recursive: true, force: true });
  }
}

/** Creates a connection with unused ports and a new key. */
export async function freeConnection(): Promise<Connection> {
  // All five ports are open at the same time, so that they differ.
  const servers = await Promise.all(Array.from({ length: 5 }, listenOnFreePort));
  const ports = servers.map((server) => {
    const bound = server.address();
    return typeof bound === "object" && bound !== null ? bound.port : 0;
  });
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  const [shell_port = 0, control_port = 0, iopub_port = 0, stdin_port = 0, hb_port = 0] = ports;
  return {
    transport: "tcp",
    ip: "127.0.0.1",
    shell_port,
    control_port,
    iopub_port,
    stdin_port,
    hb_port,
    key: randomBytes(32).toString("hex"),
    signature_scheme: "hmac-sha256",
  };
}

function listenOnFreePort(): Promise<ReturnType<typeof createServer>> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once("error", reject);
    server.listen(0, "127.0.0.1", () => resolve(server));
  });
}
