import { createHash, type Hash } from "node:crypto";
import { createReadStream } from "node:fs";
import { type FileHandle, mkdir, open, rename, rm, stat } from "node:fs/promises";
import { dirname } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { ModelError } from "../error.ts";

/** A file of a model on the hub. */
export interface RemoteFile {
  name: string;
  url: string;
  /** SHA-256 of a large file, git's SHA-1 of a small one. */
  etag: string;
  /** Size in bytes. */
  size: number;
}

/** Options of a request. */
export interface Call {
  headers: Readonly<Record<string, string>>;
  /** Milliseconds before the first retry. */
  delay: number;
  /** Name of the model, for messages. */
  what: string;
  method?: "GET" | "HEAD";
  redirect?: "follow" | "manual";
}

const attempts = 5;

/**
 * Sends a request; retries after network failures, 429 and 5xx.
 * @returns the response, whatever its status
 * @throws ModelError with a cause when the server cannot be reached
 */
export async function request(url: string, { headers, delay, what, method, redirect }: Call): Promise<Response> {
  for (let attempt = 1; ; attempt++) {
    try {
      const answer = await fetch(url, { headers, method: method ?? "GET", redirect: redirect ?? "follow" });
      const retry = answer.status === 429 || answer.status >= 500;
      if (!retry || attempt === attempts) return answer;
      await answer.body?.cancel();
    } catch (error) {
      if (attempt === attempts) throw unreachable(what, url, error);
    }
    await sleep(delay * 2 ** (attempt - 1));
  }
}

function unreachable(what: string, url: string, error: unknown): ModelError {
  const { cause, message } = error as Error;
  const why = cause instanceof Error ? cause.message || (cause as NodeJS.ErrnoException).code : message;
  return new ModelError(
    `Downloading ${what} from ${new URL(url).host} failed ${attempts} times (${why}). Run it again to resume the download.`,
    { cause: error },
  );
}

/**
 * Downloads a file. Resumes `<path>.incomplete`, also one that Python's huggingface_hub left.
 * @param progress called with the number of bytes on disk
 * @throws ModelError when the network fails, the disk is full, or the content does not match the hub's metadata
 */
export async function download(
  file: RemoteFile,
  path: string,
  call: Call,
  progress: (bytes: number) => void,
): Promise<void> {
  const incomplete = `${path}.incomplete`;
  try {
    await mkdir(dirname(path), { recursive: true });
    const digest = await fill(file, incomplete, call, progress);
    const { size } = await stat(incomplete);
    if (size !== file.size || (digest !== undefined && digest !== file.etag)) {
      await rm(incomplete, { force: true });
      const mismatch =
        size === file.size ? `its digest is ${digest}, not ${file.etag}` : `it has ${size} bytes, not ${file.size}`;
      throw new ModelError(
        `${file.name} of ${call.what} is damaged after the download: ${mismatch}. It was deleted; run it again.`,
      );
    }
    await rename(incomplete, path);
  } catch (error) {
    const { code, syscall } = error as NodeJS.ErrnoException;
    if (error instanceof ModelError || !code || !syscall) throw error;
    const why = code === "ENOSPC" ? "the disk is full" : (error as Error).message;
    throw new ModelError(`Cannot save ${file.name} of ${call.what} in ${dirname(path)}: ${why} (${code}).`);
  }
}

/** Downloads the missing part, with retries. Returns the digest, if the ETag is one. */
async function fill(
  file: RemoteFile,
  incomplete: string,
  call: Call,
  progress: (bytes: number) => void,
): Promise<string | undefined> {
  const handle = await open(incomplete, "a");
  try {
    let state = await resume(handle, incomplete, file);
    let failures = 0;
    while (state.size < file.size) {
      const before = state.size;
      try {
        const range: Record<string, string> = before > 0 ? { range: `bytes=${before}-` } : {};
        const answer = await request(file.url, { ...call, headers: { ...call.headers, ...range } });
        if (!answer.ok && answer.status !== 416) {
          await answer.body?.cancel();
          throw new ModelError(
            `The server responded with ${answer.status} for ${file.name} of ${call.what}. Run it again to resume.`,
          );
        }
        const resumed = answer.status === 206 && answer.headers.get("content-range")?.startsWith(`bytes ${before}-`);
        if (before > 0 && !resumed) {
          await handle.truncate(0);
          state = { size: 0, hash: newHash(file) };
        }
        if (answer.status === 416) continue;
        for await (const piece of answer.body ?? []) {
          const data = piece as Uint8Array;
          if (state.size + data.length > file.size)
            throw new ModelError(`${file.name} of ${call.what} is longer than announced (${file.size} bytes).`);
          await handle.appendFile(data);
          state.hash?.update(data);
          state.size += data.length;
          progress(state.size);
        }
        if (state.size < file.size) throw new TypeError("the connection ended early");
      } catch (error) {
        const { code, syscall } = error as NodeJS.ErrnoException;
        if (error instanceof ModelError || (code && syscall === "write")) throw error;
        failures = state.size > before ? 1 : failures + 1;
        if (failures >= attempts) throw unreachable(call.what, file.url, error);
        await sleep(call.delay * 2 ** (failures - 1));
      }
    }
    await handle.sync();
    return state.hash?.digest("hex");
  } finally {
    await handle.close();
  }
}

async function resume(
  handle: FileHandle,
  path: string,
  file: RemoteFile,
): Promise<{ size: number; hash: Hash | undefined }> {
  const hash = newHash(file);
  const { size } = await handle.stat();
  if (size > file.size) {
    await handle.truncate(0);
    return { size: 0, hash };
  }
  if (hash && size > 0) for await (const piece of createReadStream(path)) hash.update(piece);
  return { size, hash };
}

/** Starts the hash that the ETag is the digest of. */
function newHash({ etag, size }: RemoteFile): Hash | undefined {
  if (/^[0-9a-f]{64}$/.test(etag)) return createHash("sha256");
  if (/^[0-9a-f]{40}$/.test(etag)) return createHash("sha1").update(`blob ${size}\0`);
  return undefined;
}
