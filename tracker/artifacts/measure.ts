import { createHash } from "node:crypto";
import type { Readable, TransformCallback } from "node:stream";
import { Transform } from "node:stream";
import { invalid, TrackerError } from "../errors.ts";
import type { Expected } from "./artifacts.ts";

/**
 * Passes bytes on, counting and hashing them; fails where they are not what was expected. The last bytes are held back
 * until that is known, so that whoever waits for a certain number of them never has wrong content whole.
 */
export class Measure extends Transform {
  /** Bytes that have passed. Not `size`, which the AWS SDK would take for the length of the whole. */
  count = 0;
  #held: Buffer | undefined;
  readonly #hash = createHash("sha256");
  readonly #expected: Expected;
  #digest: string | undefined;

  constructor(expected: Expected = {}) {
    super();
    this.#expected = expected;
  }

  /** In hex, of all that has passed; ask when it has ended. */
  get sha256(): string {
    this.#digest ??= this.#hash.digest("hex");
    return this.#digest;
  }

  override _transform(chunk: Buffer, _encoding: BufferEncoding, done: TransformCallback): void {
    this.#hash.update(chunk);
    this.count += chunk.length;
    const { size } = this.#expected;
    if (size !== undefined && this.count > size) {
      done(invalid(`The content is longer than the ${size} bytes announced.`));
      return;
    }
    const ready = this.#held;
    this.#held = chunk;
    done(null, ready);
  }

  override _flush(done: TransformCallback): void {
    const { size, sha256 } = this.#expected;
    if (size !== undefined && this.count !== size) {
      done(invalid(`The content ends after ${this.count} of ${size} bytes.`));
    } else if (sha256 !== undefined && this.sha256 !== sha256) {
      const message = `The content's SHA-256 is ${this.sha256}, not ${sha256} as announced: it was changed on the way.`;
      done(new TrackerError("DIGEST_MISMATCH", message));
    } else {
      const ready = this.#expected.ready?.() ?? Promise.resolve();
      ready.then(() => done(null, this.#held), done);
    }
  }
}

/**
 * What arrives, measured. When what reads it fails, the source is left alone: it is a request that still has to be
 * answered. When the source breaks off, so does the result.
 */
export function measured(content: Readable, expected: Expected = {}): Measure {
  const measure = new Measure(expected);
  // It may fail while nobody reads it yet, or any more; who reads it is told in any case.
  measure.on("error", () => {});
  content.once("error", (error) => measure.destroy(error));
  content.once("close", () => {
    if (!content.readableEnded) measure.destroy(new Error("The upload broke off."));
  });
  // A request that ended before a listener was attached emits no more events.
  if (content.destroyed && !content.readableEnded) measure.destroy(new Error("The upload broke off."));
  return content.pipe(measure);
}
