/** The host's handle on the child process. */
import { type ChildProcess, spawn } from "node:child_process";
import type { Readable, Writable } from "node:stream";
import { StringDecoder } from "node:string_decoder";
import { setTimeout as pause } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { encodeFrame, frameReader } from "./frames.ts";
import type { ChildSettings, ExecuteOrder, FromChild, FromWatcher, ToChild, ToWatcher } from "./protocol.ts";

/** Events of a child process. */
export interface RuntimeEvents {
  message(message: FromChild): void;
  /** A reply or an event of V8's inspector. */
  inspected(message: FromWatcher): void;
  /** Text that native code or a subprocess wrote to a file descriptor. */
  raw(name: "stdout" | "stderr", text: string): void;
  /** The process exited; `how` is the exit code or the signal. Not called after {@link Runtime.kill}. */
  exit(how: string): void;
}

/** Milliseconds that the child has to exit by itself. A cell that computes does not react. */
const endMs = 1500;

/** A child process and its pipes. */
export class Runtime {
  readonly #process: ChildProcess;
  readonly #output: Readable;
  readonly #inspector: Readable;
  readonly #main: Writable;
  readonly #watcher: Writable;
  #killed = false;
  #resolveReady: () => void = () => {};
  /** Whether the process was ready to run cells. */
  wasReady = false;
  /** Resolves when the child can run cells; rejects if it exits before that. */
  readonly ready: Promise<void>;

  constructor(settings: ChildSettings) {
    const flags = ["--experimental-import-meta-resolve", "--stack-trace-limit=50"];
    if (process.allowedNodeEnvironmentFlags.has("--disable-warning"))
      flags.push("--disable-warning=ExperimentalWarning");
    const script = fileURLToPath(new URL("../child/main.js", import.meta.url));
    this.#process = spawn(process.execPath, [...flags, script, JSON.stringify(settings)], {
      stdio: ["ignore", "pipe", "pipe", "pipe", "pipe", "pipe", "pipe"],
      // A separate process group: Ctrl+C in the server's terminal does not reach the child, and killing the group also
      // ends the subprocesses of the user's code.
      detached: true,
      windowsHide: true,
    });
    const [, , , output, main, watcher, inspector] = this.#process.stdio as (Readable | Writable | null)[];
    this.#output = output as Readable;
    this.#inspector = inspector as Readable;
    this.#main = main as Writable;
    this.#watcher = watcher as Writable;
    // A write to a child that just exited is no error of the host: the exit event reports it.
    for (const stream of [this.#main, this.#watcher]) stream.on("error", () => {});
    this.ready = new Promise((resolve, reject) => {
      this.#resolveReady = resolve;
      this.#process.once("error", (error) =>
        reject(new Error(`the process that runs cells failed to start: ${error.message}`)),
      );
      this.#process.once("exit", (code, signal) =>
        reject(new Error(`the process that runs cells exited during startup (${describeExit(code, signal)})`)),
      );
    });
    this.ready.catch(() => {});
    // A grandchild may keep the pipes open long after the child has exited.
    this.#process.once("exit", () => {
      const { stdout, stderr } = this.#process;
      for (const stream of [this.#main, this.#watcher]) stream.destroy();
      setTimeout(() => {
        for (const stream of [stdout, stderr, this.#output, this.#inspector]) stream?.destroy();
      }, 200).unref();
    });
  }

  /** Starts to read messages, including those sent before. The child becomes ready only after this call. */
  listen(events: RuntimeEvents): void {
    this.#inspector.on(
      "data",
      frameReader<FromWatcher>((message) => events.inspected(message)),
    );
    this.#output.on(
      "data",
      frameReader<FromChild>((message) => {
        if (message.type === "ready") {
          this.wasReady = true;
          this.#resolveReady();
        } else events.message(message);
      }),
    );
    this.#read("stdout", events);
    this.#read("stderr", events);
    // "close" comes after all output has been read; "exit" may come earlier.
    this.#process.once("close", (code, signal) => {
      if (!this.#killed) events.exit(describeExit(code, signal));
    });
  }

  #read(name: "stdout" | "stderr", events: RuntimeEvents): void {
    const decoder = new StringDecoder("utf8");
    this.#process[name]?.on("data", (chunk: Buffer) => events.raw(name, decoder.write(chunk)));
  }

  /** The child's process id. */
  get pid(): number | undefined {
    return this.#process.pid;
  }

  execute(order: ExecuteOrder): void {
    this.send(order);
  }

  /** Interrupts a cell, or with 0 any other code. The watcher thread stops loops; the main thread rejects awaits. */
  interrupt(cell: number): void {
    this.#watcher.write(encodeFrame({ type: "interrupt", cell } satisfies ToWatcher));
    this.send({ type: "interrupt", cell });
  }

  /** Sends the user's input; undefined if the front-end does not support input. */
  answer(id: number, value: string | undefined, sync: boolean): void {
    if (sync) this.#watcher.write(encodeFrame({ type: "input", id, value } satisfies ToWatcher));
    else this.send({ type: "input", id, value });
  }

  /** Kills the child and its subprocesses. */
  kill(): void {
    this.#killed = true;
    const { pid } = this.#process;
    if (pid === undefined) return;
    try {
      // A negative id is the process group. Windows has none.
      process.kill(process.platform === "win32" ? pid : -pid, "SIGKILL");
    } catch {
      // It has already exited.
    }
  }

  /** Asks the child to exit, so that it can record the end of an active run, then kills what is left. */
  async end(): Promise<void> {
    this.#killed = true;
    const { exitCode, signalCode } = this.#process;
    if (exitCode === null && signalCode === null) {
      const exited = new Promise((resolve) => this.#process.once("exit", resolve));
      this.#process.kill("SIGTERM");
      await Promise.race([exited, pause(endMs)]);
    }
    this.kill();
  }

  /** Sends a request to V8's inspector of the child. */
  inspect(message: ToWatcher): void {
    this.#watcher.write(encodeFrame(message));
  }

  /** Sends a message to the child's main thread, which receives it when it is idle. */
  send(message: ToChild): void {
    this.#main.write(encodeFrame(message));
  }
}

function describeExit(code: number | null, signal: NodeJS.Signals | null): string {
  return signal ? `signal ${signal}` : `exit code ${code}`;
}
