import { createHash } from "node:crypto";
import { mkdir, open, readFile, rename, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import { ModelError } from "./phi3/config.ts";

/** Files of a folder, by path inside it. */
export type Files = Readonly<Record<string, Uint8Array | string>>;

const manifestName = "manifest.json";

/**
 * Write a folder so that it is there whole or not at all: everything goes to a folder beside it, is flushed to disk
 * together with a manifest of digests, and then takes its name in one step. What stood there before is replaced.
 */
export async function writeFolder(folder: string, files: Files): Promise<void> {
  const partial = `${folder}.partial-${process.pid}`;
  await rm(partial, { recursive: true, force: true });
  const manifest: Record<string, string> = {};
  for (const [name, content] of Object.entries(files)) {
    manifest[name] = digest(content);
    await writeFlushed(join(partial, name), content);
  }
  await writeFlushed(join(partial, manifestName), JSON.stringify({ sha256: manifest }, null, 1));
  const old = `${folder}.old-${process.pid}`;
  const replaced = await rename(folder, old).then(
    () => true,
    () => false,
  );
  await rename(partial, folder);
  await flush(dirname(folder));
  if (replaced) await rm(old, { recursive: true, force: true });
}

/**
 * Check a folder against the manifest that {@link writeFolder} left in it. Folders without one, from elsewhere, pass.
 * @throws ModelError naming the file that is missing or differs
 */
export async function verifyFolder(folder: string): Promise<void> {
  const text = await readFile(join(folder, manifestName), "utf8").catch(() => undefined);
  if (text === undefined) return;
  let expected: Record<string, string>;
  try {
    expected = JSON.parse(text).sha256;
  } catch {
    throw new ModelError(`${join(folder, manifestName)} is damaged.`);
  }
  for (const [name, sha256] of Object.entries(expected)) {
    const content = await readFile(join(folder, name)).catch(() => undefined);
    if (!content) throw new ModelError(`${folder} is not whole: ${name} is missing.`);
    if (digest(content) !== sha256) {
      throw new ModelError(`${folder} is damaged: ${name} (${content.length} bytes) is not what was written.`);
    }
  }
}

const digest = (content: Uint8Array | string) => createHash("sha256").update(content).digest("hex");

async function writeFlushed(path: string, content: Uint8Array | string): Promise<void> {
  await mkdir(dirname(path), { recursive: true });
  const file = await open(path, "w");
  try {
    await file.writeFile(content);
    await file.sync();
  } finally {
    await file.close();
  }
}

async function flush(folder: string): Promise<void> {
  // Windows cannot open a folder; there the rename alone has to do.
  const handle = await open(folder || ".", "r").catch(() => undefined);
  await handle?.sync().catch(() => undefined);
  await handle?.close();
}
