import { appendFileSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import { stripVTControlCharacters } from "node:util";

/** Name of the file among a journal's files, and of the artifact. */
export const outputName = "output.log";

/** Most that is kept, in bytes: what prints more has said what it has to say. */
const limit = 8 * 1024 ** 2;

/** What the process prints while a run goes on, on both streams and in order, as a file. */
export class OutputLog {
  readonly #folder: () => string;
  #path = "";
  readonly #restore: (() => void)[] = [];
  #size = 0;

  /** @param folder where the file goes, asked for and made when something is printed */
  constructor(folder: () => string) {
    this.#folder = folder;
    for (const stream of [process.stdout, process.stderr]) {
      const write = stream.write;
      const kept = (...args: Parameters<typeof write>): boolean => {
        this.#keep(args[0]);
        return write.apply(stream, args);
      };
      stream.write = kept as typeof write;
      // Somebody may have put something of theirs on top in the meantime: it stays, and finds the way to the stream.
      this.#restore.push(() => {
        if (stream.write === kept) stream.write = write;
      });
    }
  }

  /** The file, if anything was printed and could be kept. */
  get written(): string | undefined {
    return this.#path === "" ? undefined : this.#path;
  }

  stop(): void {
    for (const restore of this.#restore) restore();
    this.#size = this.#size === 0 ? 0 : limit;
  }

  #keep(chunk: Uint8Array | string): void {
    if (this.#size >= limit) return;
    const text = stripVTControlCharacters(typeof chunk === "string" ? chunk : Buffer.from(chunk).toString());
    try {
      if (this.#path === "") {
        const folder = this.#folder();
        mkdirSync(folder, { recursive: true });
        this.#path = join(folder, outputName);
      }
      this.#size += Buffer.byteLength(text);
      appendFileSync(this.#path, this.#size < limit ? text : `${text}\n… no more is kept of what was printed\n`);
    } catch {
      // A full disk must not keep anybody from printing.
      this.#size = limit;
    }
  }
}
