/** `process.stdin` in a notebook: reads request input from the front-end. */
import fs from "node:fs";
import { syncBuiltinESMExports } from "node:module";
import { Readable } from "node:stream";
import { input } from "./input.ts";

/** A stream that requests a line of input for each read. */
class FrontEndInput extends Readable {
  readonly fd = 0;
  readonly isTTY = false;
  #isRequesting = false;
  #isReadPending = false;

  constructor() {
    super({ encoding: "utf8", highWaterMark: 1 });
    // A new reader continues a read whose line was not requested because the previous reader had stopped.
    const readAgain = () => {
      if (this.#isReadPending) this._read();
    };
    this.on("resume", readAgain);
    this.on("newListener", (name) => {
      if (name === "readable") readAgain();
    });
  }

  override _read(): void {
    this.#isReadPending = true;
    // Deferred, because a reader may pause after its line. Then no further line is requested.
    setImmediate(() => void this.#requestLine());
  }

  async #requestLine(): Promise<void> {
    const isPaused = this.isPaused() && this.listenerCount("readable") === 0;
    if (this.#isRequesting || !this.#isReadPending || isPaused || this.destroyed) return;
    this.#isRequesting = true;
    this.#isReadPending = false;
    try {
      const line = await input("");
      this.#isRequesting = false;
      this.push(`${line}\n`);
    } catch (error) {
      this.#isRequesting = false;
      this.destroy(error as Error);
    }
  }

  // If a cell destroys stdin, later cells get a new stream.
  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    replaceStdin();
    callback(error);
  }
}

function replaceStdin(): void {
  const value = new FrontEndInput();
  Object.defineProperty(process, "stdin", { value, configurable: true, enumerable: true, writable: true });
}

/** Replaces `process.stdin`. Synchronous reads of the file descriptor throw. */
export function captureStdin(): void {
  replaceStdin();
  for (const name of ["readFileSync", "readSync"] as const) {
    const original = fs[name] as (...args: unknown[]) => unknown;
    const checked = (...args: unknown[]) => {
      if (args[0] === 0 || args[0] === "/dev/stdin") {
        throw new Error(`fs.${name} cannot read standard input in a notebook; use prompt("…") or process.stdin`);
      }
      return original(...args);
    };
    Object.defineProperty(fs, name, { value: checked, configurable: true, enumerable: true, writable: true });
  }
  syncBuiltinESMExports();
}
