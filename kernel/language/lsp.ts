/** A language server client over standard input and output. */
import { type ChildProcessWithoutNullStreams, spawn } from "node:child_process";

type Pending = { resolve: (result: unknown) => void; reject: (error: Error) => void; timer: NodeJS.Timeout };

const requestMs = 20_000;

/** A language server process. */
export class LanguageServer {
  readonly #process: ChildProcessWithoutNullStreams;
  readonly #pending = new Map<number, Pending>();
  #nextId = 1;
  #chunks: Buffer = Buffer.alloc(0);
  /** Why the server has failed; undefined while it works. */
  failure: string | undefined;

  /** @param command the program and its arguments */
  constructor(command: readonly [string, ...string[]], cwd: string) {
    const [program, ...args] = command;
    // The documents are small, so more frequent garbage collection is acceptable to save memory.
    const env = { GOGC: "40", ...process.env };
    this.#process = spawn(program, args, { cwd, env, stdio: "pipe", windowsHide: true });
    this.#process.stdout.on("data", (chunk: Buffer) => this.#receive(chunk));
    // The log is discarded; it must be read so that the pipe does not fill up.
    this.#process.stderr.resume();
    this.#process.stdin.on("error", () => {});
    this.#process.once("error", (error) => this.#fail(`the language server failed to start: ${error.message}`));
    this.#process.once("exit", (code, signal) =>
      this.#fail(`the language server exited (${signal ?? `exit code ${code}`})`),
    );
  }

  #fail(reason: string): void {
    this.failure ??= reason;
    for (const { reject, timer } of this.#pending.values()) {
      clearTimeout(timer);
      reject(new Error(this.failure));
    }
    this.#pending.clear();
  }

  /** Sends a request. @throws Error when the server responds with an error, has exited, or takes longer than 20 s */
  request(method: string, params: unknown): Promise<unknown> {
    if (this.failure !== undefined) return Promise.reject(new Error(this.failure));
    const id = this.#nextId++;
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#pending.delete(id);
        reject(new Error(`the language server did not respond to ${method} within ${requestMs / 1000} s`));
      }, requestMs);
      timer.unref();
      this.#pending.set(id, { resolve, reject, timer });
      this.#write({ id, method, params });
    });
  }

  notify(method: string, params: unknown): void {
    if (this.failure === undefined) this.#write({ method, params });
  }

  get pid(): number | undefined {
    return this.failure === undefined ? this.#process.pid : undefined;
  }

  kill(): void {
    this.#fail("the language server was stopped");
    this.#process.kill("SIGKILL");
  }

  #write(message: object): void {
    const body = JSON.stringify({ jsonrpc: "2.0", ...message });
    this.#process.stdin.write(`Content-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`);
  }

  #receive(chunk: Buffer): void {
    this.#chunks = this.#chunks.length === 0 ? chunk : Buffer.concat([this.#chunks, chunk]);
    for (;;) {
      const end = this.#chunks.indexOf("\r\n\r\n");
      if (end < 0) return;
      const size = Number(/Content-Length: (\d+)/i.exec(this.#chunks.toString("latin1", 0, end))?.[1] ?? 0);
      const start = end + 4;
      if (this.#chunks.length < start + size) return;
      const body = this.#chunks.toString("utf8", start, start + size);
      this.#chunks = this.#chunks.subarray(start + size);
      this.#handle(JSON.parse(body) as { id?: number; method?: string; result?: unknown; error?: { message: string } });
    }
  }

  #handle(message: { id?: number; method?: string; result?: unknown; error?: { message: string } }): void {
    if (message.id === undefined) return;
    if (message.method !== undefined) {
      // The server requests settings and registers watchers; null means defaults.
      this.#write({ id: message.id, result: null });
      return;
    }
    const pending = this.#pending.get(message.id);
    if (!pending) return;
    this.#pending.delete(message.id);
    clearTimeout(pending.timer);
    if (message.error) pending.reject(new Error(message.error.message));
    else pending.resolve(message.result);
  }
}
