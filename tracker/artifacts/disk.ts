import { createHash, randomUUID } from "node:crypto";
import { createReadStream, createWriteStream, mkdirSync, rmSync } from "node:fs";
import { mkdir, readdir, rename, rm, stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import type { Readable } from "node:stream";
import { Transform } from "node:stream";
import { pipeline } from "node:stream/promises";
import { invalid, missing } from "../errors.ts";
import type { ArtifactIndex } from "../store/store.ts";
import { safePath } from "./paths.ts";

export interface ArtifactInfo {
  /** Relative to the root of all artifacts. */
  path: string;
  isDir: boolean;
  /** Bytes; undefined for a folder. */
  size?: number;
}

export interface ArtifactFile {
  size: number;
  sha256: string | undefined;
  /** The file's bytes, or those from `start` to `end`, both included. */
  open(range?: { start: number; end: number }): Readable;
}

/** Where artifacts lie. Paths are relative, checked here once more, and name files of any run or model. */
export interface Artifacts {
  /** Stores a file whole: it appears under its path only when all of it has arrived. */
  put(path: string, content: Readable): Promise<{ size: number; sha256: string }>;
  get(path: string): Promise<ArtifactFile>;
  /** What lies in a folder, by name; nothing for a folder that does not exist. A file lists itself as nothing. */
  list(path: string): Promise<ArtifactInfo[]>;
  /** Removes a file, or a folder with all in it. */
  remove(path: string): Promise<void>;
}

const code = (error: unknown): string | undefined =>
  error instanceof Error && "code" in error && typeof error.code === "string" ? error.code : undefined;

/** Keeps artifacts as files below `root`, their SHA-256 in the index. */
export function diskArtifacts(root: string, index: ArtifactIndex): Artifacts {
  const incoming = join(root, ".incoming");
  // What lies there was cut off by the end of an earlier process.
  rmSync(incoming, { recursive: true, force: true });
  mkdirSync(incoming, { recursive: true });

  const place = (path: string): string => {
    const safe = safePath(path);
    if (safe === ".incoming" || safe.startsWith(".incoming/")) {
      throw invalid(`Invalid artifact path '${path}': .incoming is the tracker's own.`);
    }
    return join(root, ...safe.split("/"));
  };

  return {
    async put(path, content) {
      const target = place(path);
      const temporary = join(incoming, randomUUID());
      const hash = createHash("sha256");
      let size = 0;
      const measure = new Transform({
        transform(chunk: Buffer, _encoding, done) {
          hash.update(chunk);
          size += chunk.length;
          done(null, chunk);
        },
      });
      try {
        await pipeline(content, measure, createWriteStream(temporary));
        await mkdir(dirname(target), { recursive: true });
        await rename(temporary, target);
      } catch (error) {
        await rm(temporary, { force: true });
        if (["EISDIR", "ENOTEMPTY", "EEXIST", "ENOTDIR"].includes(code(error) ?? "")) {
          throw invalid(
            `Cannot store the artifact '${path}': a folder has that name, or a file the name of its folder.`,
          );
        }
        throw error;
      }
      const sha256 = hash.digest("hex");
      await index.record({ path: safePath(path), size, sha256, createdAt: Date.now() });
      return { size, sha256 };
    },

    async get(path) {
      const file = place(path);
      try {
        const found = await stat(file);
        if (found.isFile()) {
          const record = await index.find(safePath(path));
          return {
            size: found.size,
            sha256: record?.size === found.size ? record.sha256 : undefined,
            open: (range) => createReadStream(file, range),
          };
        }
      } catch (error) {
        if (!["ENOENT", "ENOTDIR"].includes(code(error) ?? "")) throw error;
      }
      throw missing(`No such artifact: '${path}'`);
    },

    async list(path) {
      const folder = path === "" ? root : place(path);
      const prefix = path === "" ? "" : `${safePath(path)}/`;
      try {
        const entries = await readdir(folder, { withFileTypes: true });
        const infos = await Promise.all(
          entries
            .filter((entry) => entry.isDirectory() || entry.isFile())
            .filter((entry) => prefix !== "" || entry.name !== ".incoming")
            .map(async (entry): Promise<ArtifactInfo> => {
              const info = { path: prefix + entry.name, isDir: entry.isDirectory() };
              return info.isDir ? info : { ...info, size: (await stat(join(folder, entry.name))).size };
            }),
        );
        const natural = new Intl.Collator("en", { numeric: true });
        return infos.sort((a, b) => natural.compare(a.path, b.path));
      } catch (error) {
        if (["ENOENT", "ENOTDIR"].includes(code(error) ?? "")) return [];
        throw error;
      }
    },

    async remove(path) {
      const target = place(path);
      try {
        await stat(target);
      } catch (error) {
        if (["ENOENT", "ENOTDIR"].includes(code(error) ?? "")) throw missing(`No such artifact: '${path}'`);
        throw error;
      }
      await rm(target, { recursive: true });
      await index.remove(safePath(path));
    },
  };
}
