import type { Readable } from "node:stream";
import { unavailable } from "../errors.ts";
import type { ArtifactRecord } from "../store/types.ts";
import type { Uploads } from "./uploads.ts";

export interface ArtifactInfo {
  /** Relative to the root of all artifacts. */
  path: string;
  isDir: boolean;
  /** Bytes; undefined for a folder. */
  size?: number;
}

/** Bytes of a file, both ends included. */
export interface ByteRange {
  start: number;
  end: number;
}

export interface ArtifactFile {
  /** Bytes. */
  size: number;
  /** In hex; undefined if not (yet) computed. */
  sha256: string | undefined;
  /** Changes whenever the file is replaced or written to. */
  revision: string;
  /** The file's bytes, or those of a range. */
  open(range?: ByteRange): Promise<Readable>;
}

/** Expected size and digest of an upload. */
export interface Expected {
  /** Bytes. */
  size?: number;
  /** In hex: content with another digest is refused. */
  sha256?: string;
  /** Called when all content has arrived, before it is stored; if it throws, nothing is stored. */
  ready?: () => Promise<void>;
}

/** Where artifacts lie. Paths are relative, checked here once more, and name files of any run or model. */
export interface Artifacts {
  /**
   * Stores a file whole: it appears under its path only when all of it has arrived.
   * @throws INVALID_PARAMETER_VALUE where the content is not what was expected
   */
  put(path: string, content: Readable, expected?: Expected): Promise<{ size: number; sha256: string }>;
  get(path: string): Promise<ArtifactFile>;
  /** What lies in a folder, by name; nothing for a folder that does not exist. A file lists itself as nothing. */
  list(path: string): Promise<ArtifactInfo[]>;
  /** Removes a file, or a folder with all in it. */
  remove(path: string): Promise<void>;
  /** Gives a stored file a second path without moving its bytes; false where the file is no longer what the record says. */
  copy(from: ArtifactRecord, path: string): Promise<boolean>;
  /** Uploads by parts. */
  readonly uploads: Uploads;
  /** Stops background work. */
  close(): Promise<void>;
}

/** The store failed: clients should retry. */
export const storeFailed = (error: unknown): Error =>
  unavailable(`The artifact store does not answer: ${error instanceof Error ? error.message : String(error)}`);

const natural = new Intl.Collator("en", { numeric: true });

/** Natural sort order: step-2 before step-10. */
export const byName = (a: ArtifactInfo, b: ArtifactInfo): number => natural.compare(a.path, b.path);
