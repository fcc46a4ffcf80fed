import { createHash } from "node:crypto";
import { mkdir, readdir, readFile, rename, rm, stat, utimes } from "node:fs/promises";
import { cpus, homedir } from "node:os";
import { join } from "node:path";
import * as ort from "onnxruntime-node";

/** Most that is kept, in bytes; what was used longest ago goes first. */
const limit = 512 * 1024 ** 2;

/** Programs of fewer bytes are optimized in no time, and there are many of them. */
const least = 32 * 1024;

/**
 * Where optimized programs are kept between processes: ANNEAL_CACHE, or the system's folder for such things.
 * "off" keeps none.
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
 * Load a program, optimized before by this or another process where there was one: the optimizer takes longer than all
 * the rest. A cache that cannot be read or written costs nothing but time.
 */
export async function openSession(
  bytes: Uint8Array,
  options: ort.InferenceSession.SessionOptions,
): Promise<ort.InferenceSession> {
  const folder = cacheFolder();
  // What is optimized for a GPU goes by the adapter, which nobody tells.
  const onCpu = String(options.executionProviders) === "cpu";
  if (!folder || !onCpu || bytes.length < least) return ort.InferenceSession.create(bytes, options);
  const file = join(folder, `${keyOf(bytes, options)}.onnx`);
  const known = await readFile(file).catch(() => undefined);
  if (known) {
    try {
      const session = await ort.InferenceSession.create(known, { ...options, graphOptimizationLevel: "disabled" });
      await utimes(file, new Date(), new Date()).catch(() => undefined);
      return session;
    } catch {
      // Cut short by a full disk or a crash: made anew.
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
    // A program that is wrong fails again, with its own message; a disk that is full does not matter.
    await rm(scratch, { force: true }).catch(() => undefined);
    return ort.InferenceSession.create(bytes, options);
  }
}

/** Other bytes, another runtime, processor or setting: another file. */
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
