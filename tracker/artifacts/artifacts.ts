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

/** A store of artifacts. Paths are relative, are checked here again, and identify files of any run or model. */
export interface Artifacts {
  /**
   * Stores a file atomically: it appears under its path only when all of it has arrived.
   * @throws INVALID_PARAMETER_VALUE if the content does not match the expected size or digest
   */
  put(path: string, content: Readable, expected?: Expected): Promise<{ size: number; sha256: string }>;
  get(path: string): Promise<ArtifactFile>;
  /** Entries of a folder, sorted by name; empty for a file or a folder that does not exist. */
  list(path: string): Promise<ArtifactInfo[]>;
  /** Removes a file, or a folder with its content. */
  remove(path: string): Promise<void>;
  /** Adds a second path for a stored file without copying it; false if the file no longer matches the record. */
  copy(from: ArtifactRecord, path: string): Promise<boolean>;
  /** Multipart uploads. */
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
