import { createHash } from "node:crypto";
import type { Artifacts } from "../artifacts/artifacts.ts";
import { TrackerError } from "../errors.ts";
import type { VersionFile } from "../store/store.ts";
import type { ModelVersion } from "../store/types.ts";

/** Reads a file and returns its SHA-256 in hex. */
export async function digestOf(artifacts: Artifacts, path: string): Promise<string> {
  const hash = createHash("sha256");
  for await (const chunk of await (await artifacts.get(path)).open()) hash.update(chunk);
  return hash.digest("hex");
}

/** Returns the paths and sizes of all files at or in `root`, relative to it. */
async function listAll(artifacts: Artifacts, root: string): Promise<{ path: string; size: number }[]> {
  const found: { path: string; size: number }[] = [];
  const folders = [root];
  for (let folder = folders.pop(); folder !== undefined; folder = folders.pop()) {
    for (const { path, isDir, size = 0 } of await artifacts.list(folder)) {
      if (isDir) folders.push(path);
      else found.push({ path: path.slice(root.length + 1), size });
    }
  }
  if (found.length > 0) return found;
  const file = await artifacts.get(root).catch((error: unknown) => {
    if (error instanceof TrackerError && error.code === "RESOURCE_DOES_NOT_EXIST") return undefined;
    throw error;
  });
  return file ? [{ path: "", size: file.size }] : [];
}

const fullPath = (root: string, path: string): string => (path === "" ? root : `${root}/${path}`);

/** Records the files at or in `root` by their digests. Files are only read if the store does not know their digest. */
export async function recordFiles(artifacts: Artifacts, root: string): Promise<VersionFile[]> {
  const files: VersionFile[] = [];
  for (const { path, size } of await listAll(artifacts, root)) {
    const at = fullPath(root, path);
    files.push({ path, size, sha256: (await artifacts.get(at)).sha256 ?? (await digestOf(artifacts, at)) });
  }
  return files;
}

/**
 * Reads all files of a version and compares them with the recorded ones.
 * @throws RESOURCE_CONFLICT if one is missing, changed or new
 */
export async function verifyFiles(
  artifacts: Artifacts,
  { name, version, root }: Pick<ModelVersion, "name" | "version" | "root">,
  recorded: readonly VersionFile[],
): Promise<void> {
  if (root === null) return;
  const conflict = (what: string) =>
    new TrackerError(
      "RESOURCE_CONFLICT",
      `The files of version ${version} of ${name} are no longer those that were registered: ${what}. Register the model again.`,
    );
  const there = new Map((await listAll(artifacts, root)).map(({ path, size }) => [path, size]));
  for (const { path, size, sha256 } of recorded) {
    const at = fullPath(root, path);
    if (!there.has(path)) throw conflict(`${at} is missing`);
    if (there.get(path) !== size || (await digestOf(artifacts, at)) !== sha256) throw conflict(`${at} has changed`);
    there.delete(path);
  }
  const [added] = there.keys();
  if (added !== undefined) throw conflict(`${fullPath(root, added)} was added`);
}
