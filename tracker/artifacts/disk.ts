import { randomUUID } from "node:crypto";
import { constants, createReadStream, createWriteStream, mkdirSync, realpathSync } from "node:fs";
import { copyFile, link, mkdir, readdir, realpath, rename, rm, stat } from "node:fs/promises";
import { dirname, join, sep } from "node:path";
import { pipeline } from "node:stream/promises";
import { invalid, missing } from "../errors.ts";
import type { ArtifactIndex } from "../store/store.ts";
import type { ArtifactRecord } from "../store/types.ts";
import { type ArtifactInfo, type Artifacts, byName } from "./artifacts.ts";
import { codeOf, isAbsent } from "./disk-errors.ts";
import { diskUploads } from "./disk-uploads.ts";
import { makeLock } from "./lock.ts";
import { type Measure, measured } from "./measure.ts";
import { ownPath } from "./paths.ts";

/** For smaller files, a hard link saves no space. */
const WORTH_LINKING = 4096;

/** Stores artifacts as files below `root`, and their SHA-256 in the index. */
export function diskArtifacts(root: string, index: ArtifactIndex): Artifacts {
  const incoming = join(root, ".incoming");
  mkdirSync(incoming, { recursive: true });
  const real = realpathSync(root);
  // A file and its index entry change together.
  const publishing = makeLock();

  /** The file of a path. Symbolic links must not lead out of the folder, whoever created them. */
  const place = async (path: string): Promise<string> => {
    const file = join(real, ...ownPath(path).split("/"));
    for (let at = file; at !== real; at = dirname(at)) {
      try {
        const there = await realpath(at);
        if (there === real || there.startsWith(real + sep)) return file;
        throw missing(`No such artifact: '${path}'`);
      } catch (error) {
        if (!isAbsent(error)) throw error;
      }
    }
    return file;
  };

  /** Whether a record still describes the file: the tracker never changes files in place, but users may. */
  const holds = async (record: ArtifactRecord, file: string): Promise<boolean> => {
    const stats = await stat(file);
    return stats.isFile() && stats.size === record.size && stats.mtimeMs <= record.createdAt + 1;
  };

  /** Makes `file` a hard link to the file of a record; false if that is not possible. */
  const linkTo = async (record: ArtifactRecord, file: string): Promise<boolean> => {
    try {
      await link(await place(record.path), file);
      if (await holds(record, file)) return true;
    } catch (error) {
      // The file is gone, or the file system does not support links or more links to one file.
      if (!isAbsent(error) && !["EMLINK", "EPERM", "ENOTSUP", "EXDEV"].includes(codeOf(error) ?? "")) throw error;
    }
    await rm(file, { force: true });
    return false;
  };

  /** Moves a complete file to its path. */
  const move = async (temporary: string, path: string, size: number, sha256: string): Promise<void> => {
    const target = await place(path);
    try {
      await mkdir(dirname(target), { recursive: true });
      await rename(temporary, target);
    } catch (error) {
      if (["EISDIR", "ENOTEMPTY", "EEXIST", "ENOTDIR"].includes(codeOf(error) ?? "")) {
        throw invalid(`Cannot store the artifact '${path}': a folder has that name, or a file the name of its folder.`);
      }
      throw error;
    }
    await index.record({ path: ownPath(path), size, sha256, createdAt: Date.now() });
  };

  /** Moves a received file to its path; content that is already stored is linked instead. */
  const publish = async (temporary: string, path: string, { count: size, sha256 }: Measure): Promise<void> => {
    const twins = size < WORTH_LINKING ? [] : await index.withDigest(sha256, size);
    await publishing(async () => {
      const name = join(incoming, randomUUID());
      for (const twin of twins) {
        if (twin.path === ownPath(path) || !(await linkTo(twin, name))) continue;
        try {
          return await move(name, path, size, sha256);
        } finally {
          // Renaming to a hard link of the same file silently does nothing.
          await rm(name, { force: true });
        }
      }
      await move(temporary, path, size, sha256);
    });
  };

  /** Writes a stream to a temporary file outside the tree, then publishes it. */
  const store = async (path: string, content: Measure): Promise<void> => {
    const temporary = join(incoming, randomUUID());
    try {
      await place(path);
      await pipeline(content, createWriteStream(temporary));
      await publish(temporary, path, content);
    } finally {
      content.destroy();
      await rm(temporary, { force: true });
    }
  };

  return {
    async put(path, content, expected) {
      const measure = measured(content, expected);
      await store(path, measure);
      return { size: measure.count, sha256: measure.sha256 };
    },

    async get(path) {
      const file = await place(path);
      try {
        const stats = await stat(file);
        if (stats.isFile()) {
          const record = await index.find(ownPath(path));
          return {
            size: stats.size,
            sha256: record?.size === stats.size ? record.sha256 : undefined,
            revision: `${stats.ino} ${stats.size} ${stats.mtimeMs} ${stats.ctimeMs}`,
            open: async (range) => createReadStream(file, range),
          };
        }
      } catch (error) {
        if (!isAbsent(error)) throw error;
      }
      throw missing(`No such artifact: '${path}'`);
    },

    async list(path) {
      const folder = path === "" ? real : await place(path);
      const prefix = path === "" ? "" : `${ownPath(path)}/`;
      try {
        const entries = await readdir(folder, { withFileTypes: true });
        const infos = await Promise.all(
          entries
            .filter((entry) => entry.isDirectory() || entry.isFile())
            .filter((entry) => prefix !== "" || ![".incoming", ".uploads"].includes(entry.name))
            .map(async (entry): Promise<ArtifactInfo> => {
              const info = { path: prefix + entry.name, isDir: entry.isDirectory() };
              return info.isDir ? info : { ...info, size: (await stat(join(folder, entry.name))).size };
            }),
        );
        return infos.sort(byName);
      } catch (error) {
        if (isAbsent(error)) return [];
        throw error;
      }
    },

    async remove(path) {
      const target = await place(path);
      await publishing(async () => {
        try {
          await rm(target, { recursive: true });
        } catch (error) {
          if (isAbsent(error)) throw missing(`No such artifact: '${path}'`);
          throw error;
        }
        await index.remove(ownPath(path));
      });
    },

    async copy(from, path) {
      const target = await place(path);
      return publishing(async () => {
        const name = join(incoming, randomUUID());
        try {
          if (from.path === ownPath(path)) return await holds(from, target);
          if (!(await linkTo(from, name))) {
            const file = await place(from.path);
            if (!(await holds(from, file))) return false;
            await copyFile(file, name, constants.COPYFILE_FICLONE);
          }
          await move(name, path, from.size, from.sha256);
          return true;
        } catch (error) {
          if (isAbsent(error)) return false;
          throw error;
        } finally {
          await rm(name, { force: true });
        }
      });
    },

    uploads: diskUploads(real, store),
    async close() {},
  };
}
