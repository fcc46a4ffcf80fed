import { createHash } from "node:crypto";
import { createReadStream, renameSync } from "node:fs";
import { lstat, mkdir, open, readdir, readFile, readlink, realpath, rm, rmdir } from "node:fs/promises";
import { basename, dirname, isAbsolute, join, relative, resolve, sep } from "node:path";
import { ModelError } from "../error.ts";
import {
  type ShardOptions,
  type Sources,
  type WrittenFile,
  writeContent,
  writeSafetensors,
  writeShards,
} from "./write.ts";

/** Files of a folder, by relative path. */
export type Files = Readonly<Record<string, Uint8Array | string>>;

const manifestName = "manifest.json";

/** Options of {@link saveFolder}. */
export interface SaveOptions {
  /**
   * Replace a folder that Anneal wrote even if its files were changed or damaged since. A folder with other files is never
   * replaced. Default false.
   */
  overwrite?: boolean;
}

/** Writes the files of a folder that is being saved, and records their digests. */
export interface FolderWriter {
  /** The temporary folder to write into; it is renamed when everything is written. */
  readonly path: string;
  /** Writes a small file; `name` may contain `/`. */
  file(name: string, content: Uint8Array | string): Promise<void>;
  /** Writes tensors one after the other to a `.safetensors` file. */
  tensors(name: string, tensors: Sources, metadata?: Readonly<Record<string, string>>): Promise<void>;
  /** Writes a model's tensors to one or several files. */
  shards(tensors: Sources, options?: ShardOptions): Promise<void>;
}

/** Folders that this process is currently writing. */
const active = new Set<string>();

/**
 * Saves a folder atomically. All files are written to a hidden folder next to it and flushed to disk with a manifest of
 * digests; then that folder is renamed. Files that Anneal did not write are never deleted or replaced: a folder that has
 * any is refused. Symbolic links are followed.
 * @param folder destination; missing parents are created
 * @param write writes the files, with the writer's methods or directly to its `path`
 * @throws ModelError when the folder is occupied or cannot be written; it is then unchanged
 */
export async function saveFolder(
  folder: string,
  write: (writer: FolderWriter) => Promise<void>,
  { overwrite = false }: SaveOptions = {},
): Promise<void> {
  const failed = (error: unknown): Error => explain(folder, error);
  const target = await followLinks(resolve(folder)).catch((error) => {
    throw failed(error);
  });
  if (target === process.cwd()) throw new ModelError(`${folder} is the current folder. Choose a folder inside it.`);
  if (active.has(target)) throw new ModelError(`${folder} is already being saved. Wait until that is done.`);
  active.add(target);
  const partial = beside(target, "partial");
  try {
    await mkdir(dirname(target), { recursive: true });
    await recoverFolder(target);
    await removeStale(target);
    await checkReplaceable(target, folder, overwrite);
    await rm(partial, { recursive: true, force: true });
    await mkdir(partial);
    const written = new Map<string, WrittenFile>();
    await write(folderWriter(partial, written));
    await finish(partial, written);
    // Files may have been added in the meantime.
    const state = await checkReplaceable(target, folder, overwrite);
    await moveIntoPlace(partial, target, state);
  } catch (error) {
    await rm(partial, { recursive: true, force: true }).catch(() => undefined);
    throw failed(error);
  } finally {
    active.delete(target);
  }
}

/** Saves files from memory as a folder; see {@link saveFolder}. */
export async function writeFolder(folder: string, files: Files, options: SaveOptions = {}): Promise<void> {
  await saveFolder(
    folder,
    async (writer) => {
      for (const [name, content] of Object.entries(files)) await writer.file(name, content);
    },
    options,
  );
}

/**
 * Verifies a folder against the manifest that {@link saveFolder} wrote. Folders without a manifest pass.
 * @throws ModelError naming the file that is missing or differs
 */
export async function verifyFolder(folder: string): Promise<void> {
  await recoverFolder(await followLinks(resolve(folder)).catch(() => resolve(folder)));
  const manifest = await readManifest(folder);
  if (manifest === "damaged") throw new ModelError(`${join(folder, manifestName)} is damaged.`);
  if (!manifest) return;
  for (const [name, expected] of Object.entries(manifest)) {
    const actual = await digestOf(join(folder, name)).catch(() => undefined);
    if (!actual) throw new ModelError(`${folder} is incomplete: ${name} is missing.`);
    if (actual.sha256 !== expected) {
      throw new ModelError(`${folder} is damaged: ${name} (${actual.bytes} bytes) differs from what was written.`);
    }
  }
}

/**
 * Restores a folder when the process was killed while replacing it, between renaming the old folder and the new one. Does
 * nothing when the folder exists.
 */
export async function recoverFolder(folder: string): Promise<void> {
  if (await kindOf(folder)) return;
  const old = (await leftovers(folder, "old")).find(({ pid }) => !isAlive(pid));
  if (!old) return;
  const partial = beside(folder, "partial", old.pid);
  // The old folder is renamed only after the new one is complete.
  renameSync((await kindOf(partial)) ? partial : old.path, folder);
}

function folderWriter(path: string, written: Map<string, WrittenFile>): FolderWriter {
  const at = async (name: string) => {
    const inside = relative(path, resolve(path, name));
    if (inside === "" || inside.startsWith("..") || isAbsolute(inside) || inside === manifestName) {
      throw new ModelError(`${JSON.stringify(name)} is not a valid file name.`);
    }
    await mkdir(dirname(join(path, inside)), { recursive: true });
    return { file: join(path, inside), key: inside.split(sep).join("/") };
  };
  return {
    path,
    async file(name, content) {
      const { file, key } = await at(name);
      written.set(key, await writeContent(file, content));
    },
    async tensors(name, tensors, metadata) {
      const { file, key } = await at(name);
      written.set(key, await writeSafetensors(file, tensors, metadata ? { metadata } : {}));
    },
    async shards(tensors, options) {
      for (const [name, facts] of Object.entries(await writeShards(path, tensors, options))) written.set(name, facts);
    },
  };
}

/** Writes the manifest, and flushes files that are not flushed yet. */
async function finish(partial: string, written: Map<string, WrittenFile>): Promise<void> {
  const { files, folders } = await contents(partial);
  const sha256: Record<string, string> = {};
  for (const name of files.sort()) {
    const digested = written.get(name);
    sha256[name] = (digested ?? (await digestOf(join(partial, name)))).sha256;
    if (!digested) await flush(join(partial, name));
  }
  await writeContent(join(partial, manifestName), JSON.stringify({ sha256 }, null, 1));
  for (const name of folders) await flush(join(partial, name));
  await flush(partial);
}

async function moveIntoPlace(partial: string, target: string, state: "absent" | "empty" | "ours"): Promise<void> {
  const old = beside(target, "old");
  if (state === "empty") await rmdir(target);
  if (state === "ours") {
    await rm(old, { recursive: true, force: true });
    // Synchronous renames, so that the folder is missing only briefly.
    renameSync(target, old);
    try {
      renameSync(partial, target);
    } catch (error) {
      renameSync(old, target);
      throw error;
    }
  } else {
    renameSync(partial, target);
  }
  await flush(dirname(target));
  if (state !== "ours") return;
  // With the partial folder's name, the old folder is not restored if the process is killed now.
  renameSync(old, partial);
  await rm(partial, { recursive: true, force: true });
}

/**
 * Returns what exists at the destination of a save.
 * @throws ModelError when it must not be replaced
 */
async function checkReplaceable(
  target: string,
  shown: string,
  overwrite: boolean,
): Promise<"absent" | "empty" | "ours"> {
  const kind = await kindOf(target);
  if (!kind) return "absent";
  const refuse = (name: string, why: string) =>
    new ModelError(`${shown} is occupied: ${name} ${why}. Choose another folder; nothing was changed.`);
  if (kind !== "folder") throw refuse("it", "is a file");
  const { files, folders } = await contents(target);
  if (files.length === 0 && folders.length === 0) return "empty";
  const manifest = await readManifest(target);
  const names = manifest && manifest !== "damaged" ? manifest : {};
  const foreign = files.find((name) => name !== manifestName && !(name in names));
  if (foreign !== undefined) throw refuse(foreign, "was not written by Anneal");
  if (!manifest || manifest === "damaged") throw refuse(files[0] ?? folders[0], "was not written by Anneal");
  const empty = folders.find((folder) => !files.some((name) => name.startsWith(`${folder}/`)));
  if (empty !== undefined) throw refuse(empty, "was not written by Anneal");
  if (!overwrite) {
    for (const name of files) {
      if (name === manifestName) continue;
      const { sha256 } = await digestOf(join(target, name));
      if (sha256 !== names[name]) throw refuse(name, "was changed after it was saved");
    }
  }
  return "ours";
}

/** Returns the digests by file; undefined when there is no manifest of Anneal. */
async function readManifest(folder: string): Promise<Record<string, string> | "damaged" | undefined> {
  const text = await readFile(join(folder, manifestName), "utf8").catch(() => undefined);
  if (text === undefined) return undefined;
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    return "damaged";
  }
  const digests = typeof json === "object" && json !== null && "sha256" in json ? json.sha256 : undefined;
  if (typeof digests !== "object" || digests === null) return undefined;
  const right = ([name, value]: [string, unknown]) =>
    typeof value === "string" && /^[0-9a-f]{64}$/.test(value) && !isAbsolute(name) && !name.split("/").includes("..");
  return Object.entries(digests).every(right) ? (digests as Record<string, string>) : "damaged";
}

/** Lists a folder's files recursively, with `/` as separator. Links are not followed and count as files. */
async function contents(folder: string): Promise<{ files: string[]; folders: string[] }> {
  const files: string[] = [];
  const folders: string[] = [];
  const visit = async (inside: string) => {
    for (const entry of await readdir(join(folder, inside), { withFileTypes: true })) {
      const name = inside ? `${inside}/${entry.name}` : entry.name;
      if (entry.isDirectory()) {
        folders.push(name);
        await visit(name);
      } else {
        files.push(name);
      }
    }
  };
  await visit("");
  return { files, folders };
}

/** Computes the size and SHA-256 of a file. */
async function digestOf(path: string): Promise<WrittenFile> {
  const hash = createHash("sha256");
  let bytes = 0;
  for await (const piece of createReadStream(path, { highWaterMark: 2 ** 20 })) {
    hash.update(piece);
    bytes += piece.length;
  }
  return { bytes, sha256: hash.digest("hex") };
}

/** Returns the path of a hidden folder next to the folder that is being saved. */
function beside(folder: string, kind: "partial" | "old", pid = process.pid): string {
  return join(dirname(folder), `.${basename(folder)}.${kind}-${pid}`);
}

async function leftovers(folder: string, kind: "partial" | "old"): Promise<{ path: string; pid: number }[]> {
  const prefix = `.${basename(folder)}.${kind}-`;
  const names = await readdir(dirname(folder)).catch(() => [] as string[]);
  return names
    .filter((name) => name.startsWith(prefix) && /^\d+$/.test(name.slice(prefix.length)))
    .map((name) => ({ path: join(dirname(folder), name), pid: Number(name.slice(prefix.length)) }));
}

/** Removes the temporary folders of processes that have exited. */
async function removeStale(folder: string): Promise<void> {
  for (const { path, pid } of [...(await leftovers(folder, "partial")), ...(await leftovers(folder, "old"))]) {
    if (pid !== process.pid && isAlive(pid)) continue;
    await rm(path, { recursive: true, force: true });
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
}

async function kindOf(path: string): Promise<"folder" | "other" | undefined> {
  const facts = await lstat(path).catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return undefined;
    throw error;
  });
  return facts && (facts.isDirectory() ? "folder" : "other");
}

/** Resolves a path's symbolic links, even when the target does not exist. */
async function followLinks(path: string): Promise<string> {
  const facts = await lstat(path).catch(() => undefined);
  if (!facts?.isSymbolicLink()) return path;
  return realpath(path).catch(async () => resolve(dirname(path), await readlink(path)));
}

async function flush(path: string): Promise<void> {
  // Windows cannot open a folder; there the rename is not flushed.
  const handle = await open(path, "r").catch(() => undefined);
  await handle?.sync().catch(() => undefined);
  await handle?.close();
}

const reasons: Readonly<Record<string, string>> = {
  ENOSPC: "the disk is full. Free some space and save again",
  EDQUOT: "your disk quota is exceeded. Free some space and save again",
  EROFS: "the file system is read-only. Choose another folder",
  EACCES: "permission denied. Choose another folder",
  EPERM: "permission denied. Choose another folder",
  EEXIST: "a part of the path is a file. Choose another folder",
  ENOTDIR: "a part of the path is a file. Choose another folder",
  EBUSY: "another file system is mounted there. Choose a folder inside it",
  EXDEV: "another file system is mounted there. Choose a folder inside it",
  ENAMETOOLONG: "the name is too long. Choose a shorter one",
  ELOOP: "its symbolic links form a loop. Choose another folder",
};

/** Converts an error of the file system to a ModelError; returns other errors unchanged. */
function explain(folder: string, error: unknown): Error {
  if (!(error instanceof Error)) return new Error(String(error));
  const { code, syscall } = error as NodeJS.ErrnoException;
  if (error instanceof ModelError || !code || !syscall) return error;
  const reason = reasons[code] ?? error.message;
  return new ModelError(`Cannot save ${folder}: ${reason} (${code}). The previous content is intact.`, {
    cause: error,
  });
}
