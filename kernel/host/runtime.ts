/** The child process, as the host sees it. */
import { type ChildProcess, spawn } from "node:child_process";
import type { Readable, Writable } from "node:stream";
import { StringDecoder } from "node:string_decoder";
import { fileURLToPath } from "node:url";
import { encodeFrame, frameReader } from "./frames.ts";
import type { ChildSettings, ExecuteOrder, FromChild, FromWatcher, ToChild, ToWatcher } from "./protocol.ts";

/** What a child tells the host. */
export interface RuntimeEvents {
  message(message: FromChild): void;
  /** The watching thread tells something of V8's inspector. */
  inspected(message: FromWatcher): void;
  /** Something was written to the child's file descriptors, past JavaScript. */
  raw(name: "stdout" | "stderr", text: string): void;
  /** The process is gone; `how` tells the exit code or the signal. Not called after {@link Runtime.kill}. */
  exit(how: string): void;
}

/** One life of the child process. */
export class Runtime {
  readonly #process: ChildProcess;
  readonly #output: Readable;
  readonly #inspector: Readable;
  readonly #main: Writable;
  readonly #watcher: Writable;
  #killed = false;
  #resolveReady: () => void = () => {};
  /** Whether it came so far as to run cells. */
  wasReady = false;
  /** Settles when the child can run cells; rejects when it ends before. */
  readonly ready: Promise<void>;

  constructor(settings: ChildSettings) {
    const flags = ["--experimental-import-meta-resolve", "--stack-trace-limit=50"];
    if (process.allowedNodeEnvironmentFlags.has("--disable-warning"))
      flags.push("--disable-warning=ExperimentalWarning");
    const script = fileURLToPath(new URL("../child/main.js", import.meta.url));
    this.#process = spawn(process.execPath, [...flags, script, JSON.stringify(settings)], {
      stdio: ["ignore", "pipe", "pipe", "pipe", "pipe", "pipe", "pipe"],
      // A process group of its own: a Ctrl+C in the terminal of the server is not for the child, and what the user's
      // code started ends with it.
      detached: true,
      windowsHide: true,
    });
    const [, , , output, main, watcher, inspector] = this.#process.stdio as (Readable | Writable | null)[];
    this.#output = output as Readable;
    this.#inspector = inspector as Readable;
    this.#main = main as Writable;
    this.#watcher = watcher as Writable;
    // A write to a child that just ended is no error of the host: its exit is told on its own.
    for (const stream of [this.#main, this.#watcher]) stream.on("error", () => {});
    this.ready = new Promise((resolve, reject) => {
      this.#resolveReady = resolve;
      this.#process.once("error", (error) =>
        reject(new Error(`the process for user code did not start: ${error.message}`)),
      );
      this.#process.once("exit", (code, signal) =>
        reject(new Error(`the process for user code ended at its start (${describeExit(code, signal)})`)),
      );
    });
    this.ready.catch(() => {});
    // A grandchild may hold the pipes open long after the child is gone.
    this.#process.once("exit", () => {
      const { stdout, stderr } = this.#process;
      for (const stream of [this.#main, this.#watcher]) stream.destroy();
      setTimeout(() => {
        for (const stream of [stdout, stderr, this.#output, this.#inspector]) stream?.destroy();
      }, 200).unref();
    });
  }

  /** Takes what the child says from now on; what it said before is not lost. It is ready only after this call. */
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
    // After "close" all that it wrote has arrived; "exit" could come before.
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
    this.tell(order);
  }

  /** Asks a cell (0: whatever runs without one) to stop: its loops by the watching thread, its waiting by the main thread. */
  interrupt(cell: number): void {
    this.#watcher.write(encodeFrame({ type: "interrupt", cell } satisfies ToWatcher));
    this.tell({ type: "interrupt", cell });
  }

  /** Hands over what the user typed; undefined where the front-end takes no input. */
  answer(id: number, value: string | undefined, sync: boolean): void {
    if (sync) this.#watcher.write(encodeFrame({ type: "input", id, value } satisfies ToWatcher));
    else this.tell({ type: "input", id, value });
  }

  /** Ends the child and all that it started. */
  kill(): void {
    this.#killed = true;
    const { pid } = this.#process;
    if (pid === undefined) return;
    try {
      // The whole group, where there are groups.
      process.kill(process.platform === "win32" ? pid : -pid, "SIGKILL");
    } catch {
      // It is gone already.
    }
  }

  /** Asks V8's inspector of the child. */
  inspect(message: ToWatcher): void {
    this.#watcher.write(encodeFrame(message));
  }

  /** Tells the child's main thread, which hears it when it is free. */
  tell(message: ToChild): void {
    this.#main.write(encodeFrame(message));
  }
}

function describeExit(code: number | null, signal: NodeJS.Signals | null): string {
  return signal ? `signal ${signal}` : `exit code ${code}`;
}
