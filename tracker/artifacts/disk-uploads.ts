import { randomBytes, randomUUID } from "node:crypto";
import { createReadStream, createWriteStream } from "node:fs";
import { mkdir, readdir, readFile, rename, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { invalid, missing, TrackerError } from "../errors.ts";
import type { Expected } from "./artifacts.ts";
import { isAbsent } from "./disk-errors.ts";
import { type Measure, measured } from "./measure.ts";
import { ownPath } from "./paths.ts";
import { checkParts, checkUploadId, type Part, type Uploads, uploadId } from "./uploads.ts";

/**
 * Multipart uploads on disk. Each is a folder below `<root>/.uploads`. Its file `path` contains the destination; each
 * part is a file named by its number and its SHA-256, which is its ETag. Uploads survive a restart.
 * @param store writes a stream to a path atomically
 */
export function diskUploads(root: string, store: (path: string, content: Measure) => Promise<void>): Uploads {
  const all = join(root, ".uploads");
  const folderOf = (id: string): string => join(all, checkUploadId(id));
  const unknown = (id: string) =>
    missing(`There is no upload '${id}': it was completed, aborted, or abandoned for a day.`);
  const finishing = new Map<string, Promise<void>>();

  const pathOf = async (id: string): Promise<string> => {
    try {
      return await readFile(join(folderOf(id), "path"), "utf8");
    } catch (error) {
      if (isAbsent(error)) throw unknown(id);
      throw error;
    }
  };

  const parts = async (id: string): Promise<Part[]> => {
    await pathOf(id);
    const folder = folderOf(id);
    const parts = (await readdir(folder)).flatMap((name) => {
      const [, number, etag] = /^(\d+)-([0-9a-f]{64})$/.exec(name) ?? [];
      return number === undefined || etag === undefined ? [] : [{ number: Number(number), etag, name }];
    });
    const sized = parts.map(async ({ name, ...part }) => ({ ...part, size: (await stat(join(folder, name))).size }));
    return (await Promise.all(sized)).sort((a, b) => a.number - b.number);
  };

  const forget = (id: string): Promise<void> => rm(folderOf(id), { recursive: true, force: true });

  const finish = async (id: string, wanted: Pick<Part, "number" | "etag">[], expected: Expected): Promise<void> => {
    checkParts(wanted);
    const path = await pathOf(id);
    const there = new Map((await parts(id)).map((part) => [part.number, part]));
    let size = 0;
    const files = wanted.map(({ number, etag }) => {
      const part = there.get(number);
      if (!part) throw invalid(`Part ${number} of the upload is not there.`);
      if (part.etag !== etag) throw invalid(`Part ${number} of the upload is ${part.etag}, not ${etag}.`);
      size += part.size;
      return join(folderOf(id), `${number}-${etag}`);
    });
    const content = async function* () {
      for (const file of files) yield* createReadStream(file, { highWaterMark: 1024 * 1024 });
    };
    try {
      await store(path, measured(Readable.from(content()), { size, ...expected }));
    } catch (error) {
      // Resuming with parts of another file would fail here again.
      if (error instanceof TrackerError) await forget(id);
      throw error;
    }
    await forget(id);
  };

  return {
    pathOf,
    parts,

    async begin(path, key) {
      const safe = ownPath(path);
      const id = key === undefined ? randomBytes(16).toString("hex") : uploadId(safe, key);
      await mkdir(folderOf(id), { recursive: true });
      await writeFile(join(folderOf(id), "path"), safe);
      return id;
    },

    async putPart(id, number, content, expected) {
      await pathOf(id);
      const folder = folderOf(id);
      const temporary = join(folder, randomUUID());
      const measure = measured(content, expected);
      try {
        await pipeline(measure, createWriteStream(temporary));
        const part = { number, size: measure.count, etag: measure.sha256 };
        const name = `${number}-${part.etag}`;
        await rename(temporary, join(folder, name));
        for (const other of await readdir(folder)) {
          if (other.startsWith(`${number}-`) && other !== name) await rm(join(folder, other), { force: true });
        }
        return part;
      } catch (error) {
        if (isAbsent(error)) throw unknown(id);
        throw error;
      } finally {
        await rm(temporary, { force: true });
      }
    },

    complete(id, wanted, expected = {}) {
      // A second request, after a slow response to the first, waits for the same result.
      const running = finishing.get(id) ?? finish(id, wanted, expected).finally(() => finishing.delete(id));
      finishing.set(id, running);
      return running;
    },

    async abort(id) {
      await pathOf(id);
      await forget(id);
    },

    async sweep(before) {
      for (const area of [all, join(root, ".incoming")]) {
        for (const name of await readdir(area).catch(() => [])) {
          const at = join(area, name);
          // A folder's modification time is that of its last part.
          const stats = await stat(at).catch(() => undefined);
          if (stats && stats.mtimeMs < before) await rm(at, { recursive: true, force: true });
        }
      }
    },
  };
}
