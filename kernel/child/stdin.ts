/** `process.stdin` in a notebook: what is read from it is asked for in the front-end's input box. */
import fs from "node:fs";
import { syncBuiltinESMExports } from "node:module";
import { Readable } from "node:stream";
import { input } from "./input.ts";

/** Asks for a line whenever somebody reads. */
class FrontEndInput extends Readable {
  readonly fd = 0;
  readonly isTTY = false;
  #asking = false;
  #isWanted = false;

  constructor() {
    super({ encoding: "utf8", highWaterMark: 1 });
    // The next reader, where the last one stopped before its line was asked for.
    const readAgain = () => {
      if (this.#isWanted) this._read();
    };
    this.on("resume", readAgain);
    this.on("newListener", (name) => {
      if (name === "readable") readAgain();
    });
  }

  override _read(): void {
    this.#isWanted = true;
    // A reader that was given its line may stop reading: it is not asked for another one.
    setImmediate(() => void this.#ask());
  }

  async #ask(): Promise<void> {
    const isPaused = this.isPaused() && this.listenerCount("readable") === 0;
    if (this.#asking || !this.#isWanted || isPaused || this.destroyed) return;
    this.#asking = true;
    this.#isWanted = false;
    try {
      const line = await input("");
      this.#asking = false;
      this.push(`${line}\n`);
    } catch (error) {
      this.#asking = false;
      this.destroy(error as Error);
    }
  }

  // A cell that ends its input does not end that of the next one.
  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    replaceStdin();
    callback(error);
  }
}

function replaceStdin(): void {
  const value = new FrontEndInput();
  Object.defineProperty(process, "stdin", { value, configurable: true, enumerable: true, writable: true });
}

/** Takes over `process.stdin`. Reading all of it at once is an error, as it has no end. */
export function captureStdin(): void {
  replaceStdin();
  for (const name of ["readFileSync", "readSync"] as const) {
    const original = fs[name] as (...given: unknown[]) => unknown;
    const checked = (...given: unknown[]) => {
      if (given[0] === 0 || given[0] === "/dev/stdin") {
        throw new Error(
          `fs.${name} cannot read standard input in a notebook: ask with prompt("…"), or read process.stdin`,
        );
      }
      return original(...given);
    };
    Object.defineProperty(fs, name, { value: checked, configurable: true, enumerable: true, writable: true });
  }
  syncBuiltinESMExports();
}
