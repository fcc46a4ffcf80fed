/** A client of a kernel: starts its process and speaks the protocol with it. */
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

/** How a kernel is started. */
export interface StartOptions {
  /** Folder that the process starts in. */
  cwd?: string;
  /** Environment beside this process's own. */
  env?: Record<string, string>;
  /** Absolute path of the notebook: imports start from its folder. */
  notebookPath?: string;
  /** Folder of the user's data, where the history is kept. */
  data?: string;
  /** Another kernel's command, with `{connection_file}` among its arguments; this kernel's without it. */
  command?: readonly [string, ...string[]];
  /** Takes each line of the kernel's log; without it the log goes to standard error. */
  onLog?: (line: string) => void;
}

/** How a cell is executed. */
export interface ExecuteOptions {
  /** Called for every message on iopub that the cell causes, in order. */
  onOutput?: (message: Message) => void;
  /** Answers the cell's questions. Without it the cell is told that nobody takes input. */
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
  /** Whether the request is over with its reply alone, without waiting for idle. */
  replyOnly: boolean;
  onOutput: ((message: Message) => void) | undefined;
  onInput: ExecuteOptions["onInput"];
}

/** How long a kernel may take to answer for the first time. */
const startMs = 30_000;
/** How often a connection to a kernel that does not listen yet is tried again. ZeroMQ's default of 100 ms is a fifth of a start. */
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
  /** Settles when the kernel process has ended, with a line that tells how. */
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
      process.once("error", (error) => resolve(`it did not start: ${error.message}`));
      process.once("exit", (code, signal) => resolve(signal ? `signal ${signal}` : `exit code ${code}`));
    });
    void this.exited.then((how) => this.#close(how));
  }

  /**
   * Starts a kernel and waits until it answers and its outputs arrive.
   * @throws Error when it ends before that, or takes longer than 30 seconds
   */
  static async start(options: StartOptions = {}): Promise<KernelClient> {
    const connection = await freeConnection();
    const folder = mkdtempSync(join(tmpdir(), "anneal-kernel-"));
    const file = join(folder, "connection.json");
    writeFileSync(file, JSON.stringify(connection), { mode: 0o600 });
    const main = fileURLToPath(new URL("./main.js", import.meta.url));
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
    let heard: () => void = () => {};
    const iopub = new Promise<void>((resolve) => {
      heard = resolve;
    });
    const forget = this.onMessage((channel) => {
      if (channel === "iopub") heard();
    });
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_resolve, reject) => {
      timer = setTimeout(() => reject(new Error(`the kernel did not answer within ${startMs / 1000} s`)), startMs);
    });
    const ended = this.exited.then((how) => Promise.reject(new Error(`the kernel ended at its start (${how})`)));
    ended.catch(() => {});
    try {
      const info = this.#request("shell", "kernel_info_request", {}, { replyOnly: true });
      await Promise.race([Promise.all([info, this.#provoke(iopub)]), late, ended]);
    } catch (error) {
      this.#process.kill("SIGKILL");
      throw error;
    } finally {
      clearTimeout(timer);
      forget();
    }
  }

  // Whoever subscribes is welcomed by this kernel; others are asked until something of it is heard.
  async #provoke(iopub: Promise<void>): Promise<void> {
    const asking = setInterval(() => {
      this.#request("shell", "kernel_info_request", {}, { replyOnly: true }).catch(() => {});
    }, 100);
    await iopub.finally(() => clearInterval(asking));
  }

  async #receive(channel: Channel, socket: Dealer | Subscriber): Promise<void> {
    for await (const frames of untilClosed(socket)) {
      try {
        const { message } = this.#wire.decode(frames);
        this.#take(channel, message);
      } catch (error) {
        // What cannot be read is not for us.
        if (!(error instanceof WireError)) throw error;
      }
    }
  }

  #take(channel: Channel, message: Message): void {
    const id = message.parent_header.msg_id;
    const request = id === undefined ? undefined : this.#requests.get(id);
    for (const listener of this.#listeners) listener(channel, message);
    if (!request || id === undefined) return;
    if (channel === "iopub") {
      request.onOutput?.(message);
      if (message.header.msg_type === "status" && message.content.execution_state === "idle") request.idle = true;
    } else if (channel === "stdin") void this.#answer(request, message);
    else request.reply = message;
    if (request.reply && (request.idle || request.replyOnly)) {
      this.#requests.delete(id);
      request.resolve(request.reply);
    }
  }

  async #answer(request: Request, question: Message): Promise<void> {
    if (question.header.msg_type !== "input_request" || !request.onInput) return;
    const { prompt, password } = question.content;
    const value = await request.onInput(String(prompt), password === true);
    const message = this.message("input_reply", { status: "ok", value });
    message.parent_header = question.header;
    this.send("stdin", message);
  }

  /** A new message of this client's session. */
  message(msgType: string, content: Record<string, unknown>, metadata: Record<string, unknown> = {}): Message {
    return { header: newHeader(msgType, this.#session, "client"), parent_header: {}, metadata, content, buffers: [] };
  }

  /** Sends a message as it is. Messages of one channel arrive in the order they were sent. */
  send(channel: "shell" | "control" | "stdin", message: Message): void {
    this.#queues[channel].send(this.#wire.encode([], message));
  }

  /**
   * Calls a listener for every message of the kernel, whoever caused it.
   * @returns a function that ends it
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
        reject(new Error("the kernel is gone"));
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
   * Sends a request and waits for its reply and for all that it caused on iopub.
   * @throws Error when the kernel ends before
   */
  request(channel: "shell" | "control", msgType: string, content: Record<string, unknown> = {}): Promise<Message> {
    return this.#request(channel, msgType, content);
  }

  /**
   * Executes a cell and waits until it is done and all its outputs have come.
   * @returns the reply; its `content.status` is `ok`, `error` or `aborted`
   * @throws Error when the kernel ends before
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

  /** Interrupts the running cell. Settles when the kernel has heard it, not when the cell has stopped. */
  async interrupt(): Promise<void> {
    await this.#request("control", "interrupt_request", {}, { replyOnly: true });
  }

  /** The kernel's process id. */
  get pid(): number | undefined {
    return this.#process.pid;
  }

  /** Asks the kernel to end, and ends it by force when it does not within 5 seconds. */
  async shutdown(restart = false): Promise<void> {
    if (!this.#closed) this.#request("control", "shutdown_request", { restart }, { replyOnly: true }).catch(() => {});
    const force = setTimeout(() => this.#process.kill("SIGKILL"), 5000);
    await this.exited;
    clearTimeout(force);
  }

  #close(how: string): void {
    this.#closed = true;
    for (const { reject } of this.#requests.values()) reject(new Error(`the kernel ended (${how})`));
    this.#requests.clear();
    for (const socket of [...Object.values(this.#sockets), this.#iopub]) socket.close();
    rmSync(this.#folder, { recursive: true, force: true });
  }
}

/** A connection on ports that are free now, with a fresh key. */
export async function freeConnection(): Promise<Connection> {
  // All five are held at once, so that they differ.
  const servers = await Promise.all(Array.from({ length: 5 }, listenAnywhere));
  const ports = servers.map((server) => {
    const at = server.address();
    return typeof at === "object" && at !== null ? at.port : 0;
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

function listenAnywhere(): Promise<ReturnType<typeof createServer>> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once("error", reject);
    server.listen(0, "127.0.0.1", () => resolve(server));
  });
}
