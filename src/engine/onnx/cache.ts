import { createHash } from "node:crypto";
import { mkdir, readdir, readFile, rename, rm, stat, utimes } from "node:fs/promises";
import { cpus, homedir } from "node:os";
import { join } from "node:path";
import * as ort from "onnxruntime-node";

/** Maximum size of the cache in bytes; the least recently used programs are deleted. */
const limit = 512 * 1024 ** 2;

/** Smaller programs are not cached: they are many, and optimize quickly. */
const minimumSize = 32 * 1024;

/**
 * Returns the folder of the cache of optimized programs: ANNEAL_CACHE, or the system's cache folder. "off" disables the
 * cache.
 */
export function cacheFolder(): string | undefined {
  const { ANNEAL_CACHE, XDG_CACHE_HOME, LOCALAPPDATA } = process.env;
  if (ANNEAL_CACHE === "off") return undefined;
  if (ANNEAL_CACHE) return join(ANNEAL_CACHE, "programs");
  const home =
    process.platform === "win32"
      ? (LOCALAPPDATA ?? join(homedir(), "AppData", "Local"))
      : process.platform === "darwin"
        ? join(homedir(), "Library", "Caches")
        : (XDG_CACHE_HOME ?? join(homedir(), ".cache"));
  return join(home, "anneal", "programs");
}

/**
 * Loads a program, if possible in an optimized form from the cache, because optimizing takes longer than everything else. If
 * the cache cannot be read or written, the program is optimized again.
 */
export async function openSession(
  bytes: Uint8Array,
  options: ort.InferenceSession.SessionOptions,
): Promise<ort.InferenceSession> {
  const folder = cacheFolder();
  // Programs for a GPU are optimized for its adapter, which the runtime does not report.
  const onCpu = String(options.executionProviders) === "cpu";
  if (!folder || !onCpu || bytes.length < minimumSize) return ort.InferenceSession.create(bytes, options);
  const file = join(folder, `${keyOf(bytes, options)}.onnx`);
  const optimized = await readFile(file).catch(() => undefined);
  if (optimized) {
    try {
      const session = await ort.InferenceSession.create(optimized, { ...options, graphOptimizationLevel: "disabled" });
      await utimes(file, new Date(), new Date()).catch(() => undefined);
      return session;
    } catch {
      // The file is truncated, by a full disk or a crash: it is created again.
      await rm(file, { force: true });
    }
  }
  const scratch = `${file}.${process.pid}.${performance.now()}.tmp`;
  const writable = await mkdir(folder, { recursive: true }).then(
    () => true,
    () => false,
  );
  if (!writable) return ort.InferenceSession.create(bytes, options);
  try {
    const session = await ort.InferenceSession.create(bytes, { ...options, optimizedModelFilePath: scratch });
    await rename(scratch, file);
    await trim(folder);
    return session;
  } catch {
    // An invalid program fails again with its own message; a full disk does not matter.
    await rm(scratch, { force: true }).catch(() => undefined);
    return ort.InferenceSession.create(bytes, options);
  }
}

/** Returns a key of the program, runtime, processor and settings. */
function keyOf(bytes: Uint8Array, options: ort.InferenceSession.SessionOptions): string {
  const { intraOpNumThreads: _, ...settings } = options;
  return createHash("sha256")
    .update(bytes)
    .update(JSON.stringify([ort.env.versions, process.arch, cpus()[0]?.model, settings]))
    .digest("hex");
}

async function trim(folder: string): Promise<void> {
  const names = (await readdir(folder)).filter((name) => name.endsWith(".onnx"));
  const files = await Promise.all(
    names.map(async (name) => {
      const path = join(folder, name);
      const { size, mtimeMs } = await stat(path);
      return { path, size, mtimeMs };
    }),
  );
  let total = files.reduce((sum, { size }) => sum + size, 0);
  for (const { path, size } of files.sort((a, b) => a.mtimeMs - b.mtimeMs)) {
    if (total <= limit) return;
    await rm(path, { force: true });
    total -= size;
  }
}
