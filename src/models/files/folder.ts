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

/** Files of a folder, by path inside it. */
export type Files = Readonly<Record<string, Uint8Array | string>>;

const manifestName = "manifest.json";

/** What {@link saveFolder} is told. */
export interface SaveOptions {
  /**
   * Replace a folder that we wrote even where its files were changed or damaged since. A folder with files that are not
   * of ours is never replaced. Default false.
   */
  overwrite?: boolean;
}

/** Writes the files of a folder that is being saved, and notes their digests as it does. */
export interface FolderWriter {
  /** The folder to write into, which gets its real name when all is written. */
  readonly path: string;
  /** Write a small file; `name` may hold `/`. */
  file(name: string, content: Uint8Array | string): Promise<void>;
  /** Write tensors one after the other into a `.safetensors` file. */
  tensors(name: string, tensors: Sources, metadata?: Readonly<Record<string, string>>): Promise<void>;
  /** Write a model's tensors, in one file or several. */
  shards(tensors: Sources, options?: ShardOptions): Promise<void>;
}

/** Folders that this process is writing at the moment. */
const active = new Set<string>();

/**
 * Save a folder so that it is there whole or not at all. Everything goes to a hidden folder beside it, is flushed to the
 * disk with a manifest of digests, and then takes its name. What we did not write is never deleted or replaced: a folder
 * that holds anything else is refused. Of a symbolic link, the folder that it points to is used.
 * @param folder where to; missing parents are made
 * @param write writes the files, by the writer's methods or straight into its `path`
 * @throws ModelError when the folder is occupied or cannot be written; it then holds what it held before
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
  if (target === process.cwd()) throw new ModelError(`${folder} is the folder you are in. Name a folder inside it.`);
  if (active.has(target)) throw new ModelError(`${folder} is being saved already. Wait for that to end.`);
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
    // Files may have come while we wrote.
    const state = await checkReplaceable(target, folder, overwrite);
    await moveIntoPlace(partial, target, state);
  } catch (error) {
    await rm(partial, { recursive: true, force: true }).catch(() => undefined);
    throw failed(error);
  } finally {
    active.delete(target);
  }
}

/** Save files that are in memory as a folder; see {@link saveFolder}. */
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
 * Check a folder against the manifest that {@link saveFolder} left in it. Folders without one, from elsewhere, pass.
 * @throws ModelError naming the file that is missing or differs
 */
export async function verifyFolder(folder: string): Promise<void> {
  await recoverFolder(await followLinks(resolve(folder)).catch(() => resolve(folder)));
  const manifest = await readManifest(folder);
  if (manifest === "damaged") throw new ModelError(`${join(folder, manifestName)} is damaged.`);
  if (!manifest) return;
  for (const [name, expected] of Object.entries(manifest)) {
    const found = await digestOf(join(folder, name)).catch(() => undefined);
    if (!found) throw new ModelError(`${folder} is not whole: ${name} is missing.`);
    if (found.sha256 !== expected) {
      throw new ModelError(`${folder} is damaged: ${name} (${found.bytes} bytes) is not what was written.`);
    }
  }
}

/**
 * Put a folder back that a process was replacing when it was killed: a moment lies between the old folder's leaving and
 * the new one's taking its name. Does nothing when the folder stands.
 */
export async function recoverFolder(folder: string): Promise<void> {
  if (await kindOf(folder)) return;
  const old = (await leftovers(folder, "old")).find(({ pid }) => !isAlive(pid));
  if (!old) return;
  const partial = beside(folder, "partial", old.pid);
  // The old one leaves only when the new one is complete.
  renameSync((await kindOf(partial)) ? partial : old.path, folder);
}

function folderWriter(path: string, written: Map<string, WrittenFile>): FolderWriter {
  const at = async (name: string) => {
    const inside = relative(path, resolve(path, name));
    if (inside === "" || inside.startsWith("..") || isAbsolute(inside) || inside === manifestName) {
      throw new ModelError(`A file cannot be named ${JSON.stringify(name)}.`);
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

/** Add the manifest, and flush what is not flushed yet. */
async function finish(partial: string, written: Map<string, WrittenFile>): Promise<void> {
  const { files, folders } = await contents(partial);
  const sha256: Record<string, string> = {};
  for (const name of files.sort()) {
    const known = written.get(name);
    sha256[name] = (known ?? (await digestOf(join(partial, name)))).sha256;
    if (!known) await flush(join(partial, name));
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
    // One after the other without a pause, so that the folder is away for as short as can be.
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
  // Under its other name it is never taken for a folder to put back, whenever the process is killed.
  renameSync(old, partial);
  await rm(partial, { recursive: true, force: true });
}

/**
 * What stands where a folder is to be saved.
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
      if (sha256 !== names[name]) throw refuse(name, "was changed since it was saved");
    }
  }
  return "ours";
}

/** Digests by file, undefined where there is no manifest of ours. */
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

/** Names inside a folder, with `/` between folders. Links are not followed and count as files. */
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

/** Size and SHA-256 of a file, read piece by piece. */
async function digestOf(path: string): Promise<WrittenFile> {
  const hash = createHash("sha256");
  let bytes = 0;
  for await (const piece of createReadStream(path, { highWaterMark: 2 ** 20 })) {
    hash.update(piece);
    bytes += piece.length;
  }
  return { bytes, sha256: hash.digest("hex") };
}

/** The hidden folders of a save stand beside the folder. */
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

/** Remove what processes that are gone have left of unfinished saves. */
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

/** Where a path leads: links are followed, also one whose target is not there yet. */
async function followLinks(path: string): Promise<string> {
  const facts = await lstat(path).catch(() => undefined);
  if (!facts?.isSymbolicLink()) return path;
  return realpath(path).catch(async () => resolve(dirname(path), await readlink(path)));
}

async function flush(path: string): Promise<void> {
  // Windows cannot open a folder; there the rename alone has to do.
  const handle = await open(path, "r").catch(() => undefined);
  await handle?.sync().catch(() => undefined);
  await handle?.close();
}

const reasons: Readonly<Record<string, string>> = {
  ENOSPC: "the disk is full. Free some space and save again",
  EDQUOT: "your share of the disk is full. Free some space and save again",
  EROFS: "the file system is read-only. Choose another folder",
  EACCES: "you may not write there. Choose another folder",
  EPERM: "you may not write there. Choose another folder",
  EEXIST: "a part of the path is a file. Choose another folder",
  ENOTDIR: "a part of the path is a file. Choose another folder",
  EBUSY: "another file system is mounted there. Name a folder inside it",
  EXDEV: "another file system is mounted there. Name a folder inside it",
  ENAMETOOLONG: "the name is too long. Choose a shorter one",
  ELOOP: "its links lead in a circle. Choose another folder",
};

/** An error of the file system in words; others stay as they are. */
function explain(folder: string, error: unknown): Error {
  if (!(error instanceof Error)) return new Error(String(error));
  const { code, syscall } = error as NodeJS.ErrnoException;
  if (error instanceof ModelError || !code || !syscall) return error;
  const reason = reasons[code] ?? error.message;
  return new ModelError(`Cannot save ${folder}: ${reason} (${code}). What was there before is intact.`, {
    cause: error,
  });
}
