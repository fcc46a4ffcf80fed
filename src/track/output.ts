import { appendFileSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import { stripVTControlCharacters } from "node:util";

/** File name in the journal's files and in the artifacts. */
export const outputName = "output.log";

/** Maximum bytes to log; later output is dropped. */
const limit = 8 * 1024 ** 2;

/** Logs what the process prints to stdout and stderr during a run, in order, to a file. */
export class OutputLog {
  readonly #folder: () => string;
  #path = "";
  readonly #restore: (() => void)[] = [];
  #size = 0;

  /** @param folder returns the folder of the file; called when something is printed */
  constructor(folder: () => string) {
    this.#folder = folder;
    for (const stream of [process.stdout, process.stderr]) {
      const write = stream.write;
      const logging = (...args: Parameters<typeof write>): boolean => {
        this.#log(args[0]);
        return write.apply(stream, args);
      };
      stream.write = logging as typeof write;
      // Other code may have replaced `write` in the meantime; then its function is kept.
      this.#restore.push(() => {
        if (stream.write === logging) stream.write = write;
      });
    }
  }

  /** Path of the file, if there is any output. */
  get written(): string | undefined {
    return this.#path === "" ? undefined : this.#path;
  }

  stop(): void {
    for (const restore of this.#restore) restore();
    this.#size = this.#size === 0 ? 0 : limit;
  }

  #log(chunk: Uint8Array | string): void {
    if (this.#size >= limit) return;
    const text = stripVTControlCharacters(typeof chunk === "string" ? chunk : Buffer.from(chunk).toString());
    try {
      if (this.#path === "") {
        const folder = this.#folder();
        mkdirSync(folder, { recursive: true });
        this.#path = join(folder, outputName);
      }
      this.#size += Buffer.byteLength(text);
      appendFileSync(this.#path, this.#size < limit ? text : `${text}\n… further output is not logged\n`);
    } catch {
      // A full disk must not prevent printing.
      this.#size = limit;
    }
  }
}
