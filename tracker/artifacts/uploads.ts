import { createHash } from "node:crypto";
import type { Readable } from "node:stream";
import { invalid } from "../errors.ts";
import type { Expected } from "./artifacts.ts";

/** S3's limits, kept on disk too, so that a client meets the same ones everywhere. */
export const MAX_PARTS = 10_000;
export const MAX_PART_BYTES = 5 * 1024 ** 3;

/** Retention of the parts of an abandoned upload: one day, in milliseconds. */
export const ABANDONED = 24 * 3_600_000;

export interface Part {
  /** From 1 to {@link MAX_PARTS}. */
  number: number;
  /** Bytes. */
  size: number;
  /** What names the part's content when the upload is completed. */
  etag: string;
}

/** Files that arrive in parts, in any order, and perhaps over several days of a bad line. */
export interface Uploads {
  /**
   * Opens an upload to a path.
   * @param key the same key finds the same upload again, to go on with; without one it is a new upload
   * @returns its id
   */
  begin(path: string, key?: string): Promise<string>;
  /** The path that an upload is for. @throws RESOURCE_DOES_NOT_EXIST for one that is over, or never was */
  pathOf(id: string): Promise<string>;
  /** Uploaded parts, by number. */
  parts(id: string): Promise<Part[]>;
  /**
   * Takes a part; one that is there already is replaced.
   * @param expected.size bytes, which have to be known beforehand
   */
  putPart(id: string, number: number, content: Readable, expected: { size: number; sha256?: string }): Promise<Part>;
  /**
   * Makes the file of these parts, which appears under its path whole.
   * @param expected its size, and its SHA-256 where the store reads the parts while it puts them together
   */
  complete(id: string, parts: Pick<Part, "number" | "etag">[], expected?: Expected): Promise<void>;
  /** Aborts an upload and deletes its parts. */
  abort(id: string): Promise<void>;
  /** Deletes uploads without new parts since a time (milliseconds since 1970). */
  sweep(before: number): Promise<void>;
}

/** The id of an upload that is found again by its key, and of its path alone. */
export const uploadId = (path: string, key: string): string =>
  createHash("sha256").update(`${path}\n${key}`).digest("hex").slice(0, 32);

/** Ids are names of folders and objects, so nothing else passes. */
export function checkUploadId(id: string): string {
  if (!/^[0-9a-f]{32}$/.test(id)) throw invalid(`Invalid upload_id '${id.slice(0, 80)}'.`);
  return id;
}

/** Checks the list of parts that a client completes an upload with. */
export function checkParts(parts: Pick<Part, "number" | "etag">[]): void {
  if (parts.length === 0 || parts.length > MAX_PARTS) {
    throw invalid(`Invalid number of parts ${parts.length}: expected 1 to ${MAX_PARTS}.`);
  }
  parts.forEach(({ number }, index) => {
    if (!Number.isInteger(number) || number < 1 || number > MAX_PARTS) {
      throw invalid(`Invalid part_number ${number}: expected 1 to ${MAX_PARTS}.`);
    }
    if (index > 0 && number <= parts[index - 1].number)
      throw invalid("The parts are not in the order of their numbers.");
  });
}
