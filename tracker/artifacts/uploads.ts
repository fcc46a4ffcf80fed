import { createHash } from "node:crypto";
import type { Readable } from "node:stream";
import { invalid } from "../errors.ts";
import type { Expected } from "./artifacts.ts";

/** S3's limits. They apply to disks as well, so that clients have the same limits everywhere. */
export const MAX_PARTS = 10_000;
export const MAX_PART_BYTES = 5 * 1024 ** 3;

/** Retention of the parts of an abandoned upload: one day, in milliseconds. */
export const ABANDONED = 24 * 3_600_000;

export interface Part {
  /** From 1 to {@link MAX_PARTS}. */
  number: number;
  /** Bytes. */
  size: number;
  /** Identifies the part's content when the upload is completed. */
  etag: string;
}

/** Multipart uploads. Parts arrive in any order, and an upload can be resumed later. */
export interface Uploads {
  /**
   * Opens an upload to a path.
   * @param key resumes the upload with the same key; without a key, it is a new upload
   * @returns its id
   */
  begin(path: string, key?: string): Promise<string>;
  /** The path of an upload. @throws RESOURCE_DOES_NOT_EXIST for an unknown or completed upload */
  pathOf(id: string): Promise<string>;
  /** Uploaded parts, by number. */
  parts(id: string): Promise<Part[]>;
  /**
   * Stores a part, and replaces an existing one.
   * @param expected.size bytes; required
   */
  putPart(id: string, number: number, content: Readable, expected: { size: number; sha256?: string }): Promise<Part>;
  /**
   * Creates the file from these parts. It appears under its path atomically.
   * @param expected its size, and its SHA-256, which is checked if the store reads the parts to join them
   */
  complete(id: string, parts: Pick<Part, "number" | "etag">[], expected?: Expected): Promise<void>;
  /** Aborts an upload and deletes its parts. */
  abort(id: string): Promise<void>;
  /** Deletes uploads without new parts since a time (milliseconds since 1970). */
  sweep(before: number): Promise<void>;
}

/** The id of an upload with a key, derived from the key and the path. */
export const uploadId = (path: string, key: string): string =>
  createHash("sha256").update(`${path}\n${key}`).digest("hex").slice(0, 32);

/** Ids are used as names of folders and objects, so other characters are rejected. */
export function checkUploadId(id: string): string {
  if (!/^[0-9a-f]{32}$/.test(id)) throw invalid(`Invalid upload_id '${id.slice(0, 80)}'.`);
  return id;
}

/** Checks the list of parts in a request to complete an upload. */
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
