/** The host process: connects the ZeroMQ sockets to the child process and the type checker. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { dataFolder } from "../../src/track/folder.ts";
import { Checker, type Completions } from "../language/check.ts";
import { completeMagic } from "../language/complete.ts";
import { typescriptVersion } from "../spec.ts";
import type { Channel, Connection } from "./connection.ts";
import { Executor } from "./executor.ts";
import { controlHandlers, type Handler, shellHandlers, stdinHandlers } from "./handlers.ts";
import { History } from "./history.ts";
import type { Launched } from "./launch.ts";
import { Sockets } from "./sockets.ts";
import { type Message, newHeader, type RoutedMessage } from "./wire.ts";

/** A running kernel. */
export class Kernel {
  readonly executor: Executor;
  readonly history: History;
  readonly version: string;
  readonly typescriptVersion: string;
  readonly #session: string;
  readonly #checker: Checker;
  readonly #compiler: Launched["session"];
  #sockets: Sockets | undefined;
  #closing = false;

  private constructor({ settings, runtime, session, problem }: Launched) {
    this.#session = settings.sessionId;
    this.#compiler = session;
    this.version = packageVersion(join(settings.packageRoot, "package.json"));
    this.typescriptVersion = typescriptVersion();
    this.history = new History(dataFolder(), log);
    this.#checker = new Checker(session);
    this.executor = new Executor(settings, runtime, this.#checker, {
      publish: (msgType, content, parent, more) => this.publish(msgType, content, parent, more),
      reply: (request, content) => this.#reply("shell", request, content),
      requestInput: (request, prompt, password) => {
        const message = this.#message("input_request", { prompt, password }, request.message.header);
        this.#sockets?.send("stdin", request.identities, message);
      },
      addToHistory: (line, source) => this.history.add(line, source),
      addResultToHistory: (line, text) => this.history.addOutput(line, text),
      log,
    });
    this.executor.notice = problem;
  }

  /** Starts a kernel on the ports of the connection, using processes that were launched before. */
  static async start(connection: Connection, launched: Launched): Promise<Kernel> {
    const kernel = new Kernel(launched);
    kernel.#sockets = await Sockets.open(connection, {
      message: (channel, request) => void kernel.#handle(channel, request),
      subscribed: (topic) => {
        const message = kernel.#message("iopub_welcome", { subscription: topic }, {});
        kernel.#sockets?.send("iopub", [Buffer.from(topic)], message);
      },
      dropped: (channel, reason) => log(`dropped a message on ${channel}: ${reason}`),
    });
    kernel.publish("status", { execution_state: "starting" }, {});
    return kernel;
  }

  #message(
    msgType: string,
    content: Record<string, unknown>,
    parent: Message["parent_header"],
    { metadata = {}, buffers = [] }: Partial<Pick<Message, "metadata" | "buffers">> = {},
  ): Message {
    return { header: newHeader(msgType, this.#session), parent_header: parent, metadata, content, buffers };
  }

  /** Broadcasts a message on iopub. */
  publish(
    msgType: string,
    content: Record<string, unknown>,
    parent: Message["parent_header"],
    more?: Partial<Pick<Message, "metadata" | "buffers">>,
  ): void {
    this.#sockets?.send("iopub", [Buffer.from(msgType)], this.#message(msgType, content, parent, more));
  }

  #reply(channel: Channel, request: RoutedMessage, content: Record<string, unknown>): void {
    this.executor.outputs.flush();
    const { header } = request.message;
    const message = this.#message(header.msg_type.replace(/_request$/, "_reply"), content, header);
    this.#sockets?.send(channel, request.identities, message);
  }

  async #handle(channel: "shell" | "control" | "stdin", request: RoutedMessage): Promise<void> {
    const { header } = request.message;
    const handler = handlerFor(channel, header.msg_type);
    if (!handler) {
      log(`no handler for ${header.msg_type} on ${channel}; ignored`);
      return;
    }
    if (channel === "stdin" || header.msg_type === "execute_request") {
      await handler(this, request);
      return;
    }
    this.executor.outputs.publish("status", { execution_state: "busy" }, header);
    let content: Record<string, unknown> | undefined;
    try {
      content = await handler(this, request);
    } catch (error) {
      const evalue = error instanceof Error ? error.message : String(error);
      log(`${header.msg_type} failed: ${evalue}`);
      content = { status: "error", ename: "KernelError", evalue, traceback: [] };
    }
    if (content) this.#reply(channel, request, content);
    this.executor.outputs.publish("status", { execution_state: "idle" }, header);
    // Front-ends show the last status that they receive. If a cell is still running, that must be "busy".
    const busyWith = this.executor.busyWith;
    if (busyWith) this.executor.outputs.publish("status", { execution_state: "busy" }, busyWith);
  }

  /** The process id of the language server, while it runs. */
  get checkerPid(): number | undefined {
    return this.#compiler.pid;
  }

  /** Completions at an offset. Without the type checker, only the names of globals and of variables. */
  async complete(code: string, offset: number): Promise<Completions> {
    const magic = completeMagic(code, offset);
    if (magic) return magic;
    try {
      return await this.#checker.complete(code, offset);
    } catch (error) {
      log(`completion without type information: ${error instanceof Error ? error.message : error}`);
      const prefix = /[\p{L}\p{N}_$.]*$/u.exec(code.slice(0, offset))?.[0] ?? "";
      const names = prefix.includes(".")
        ? []
        : [...this.executor.names.keys(), ...Object.getOwnPropertyNames(globalThis)];
      const items = names.filter((name) => name.startsWith(prefix)).map((text) => ({ text, type: "variable" }));
      return { items, start: offset - prefix.length, end: offset };
    }
  }

  /** Type and documentation of the name at an offset, as Markdown. */
  async inspect(code: string, offset: number, withSource: boolean): Promise<string | undefined> {
    try {
      return await this.#checker.inspect(code, offset, withSource);
    } catch (error) {
      log(`inspection failed: ${error instanceof Error ? error.message : error}`);
      return undefined;
    }
  }

  /** Replies to a shutdown request, closes everything and exits the process. */
  shutdown(request: RoutedMessage, restart: boolean): void {
    const { header } = request.message;
    this.#reply("control", request, { status: "ok", restart });
    this.#reply("shell", request, { status: "ok", restart });
    this.publish("shutdown_reply", { status: "ok", restart }, header);
    this.executor.outputs.publish("status", { execution_state: "idle" }, header);
    void this.close();
  }

  /** Closes the kernel and exits the process. */
  async close(): Promise<void> {
    if (this.#closing) return;
    this.#closing = true;
    this.#compiler.close();
    await this.executor.close();
    await this.history.close();
    await this.#sockets?.close();
    process.exit(0);
  }
}

function handlerFor(channel: "shell" | "control" | "stdin", msgType: string): Handler | undefined {
  const table = { shell: shellHandlers, control: controlHandlers, stdin: stdinHandlers }[channel];
  return Object.hasOwn(table, msgType) ? table[msgType] : undefined;
}

function packageVersion(file: string): string {
  return (JSON.parse(readFileSync(file, "utf8")) as { version: string }).version;
}

/** Writes a line to standard error, which ends up in the server's log. */
function log(line: string): void {
  process.stderr.write(`[anneal kernel] ${line}\n`);
}
