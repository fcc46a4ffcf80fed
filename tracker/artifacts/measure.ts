import { createHash } from "node:crypto";
import type { Readable, TransformCallback } from "node:stream";
import { Transform } from "node:stream";
import { invalid, TrackerError } from "../errors.ts";
import type { Expected } from "./artifacts.ts";

/**
 * Passes bytes through, counts and hashes them, and fails if they do not match the expected size or digest. The last
 * bytes are held back until the check, so that a reader that counts bytes never gets complete wrong content.
 */
export class Measure extends Transform {
  /** Bytes so far. Not named `size`, which the AWS SDK would use as the total length. */
  count = 0;
  #held: Buffer | undefined;
  readonly #hash = createHash("sha256");
  readonly #expected: Expected;
  #digest: string | undefined;

  constructor(expected: Expected = {}) {
    super();
    this.#expected = expected;
  }

  /** In hex, of all bytes; call it after the end. */
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
 * Measures a source. If the reader fails, the source is not destroyed, because it is a request that still needs a
 * response. If the source breaks off, the result fails.
 */
export function measured(content: Readable, expected: Expected = {}): Measure {
  const measure = new Measure(expected);
  // It may fail while there is no reader, so errors are handled here; a reader gets them as well.
  measure.on("error", () => {});
  content.once("error", (error) => measure.destroy(error));
  content.once("close", () => {
    if (!content.readableEnded) measure.destroy(new Error("The upload broke off."));
  });
  // A request that ended before a listener was attached emits no more events.
  if (content.destroyed && !content.readableEnded) measure.destroy(new Error("The upload broke off."));
  return content.pipe(measure);
}
