import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import { Readable } from "node:stream";
import type { ReadableStream } from "node:stream/web";
import type { TrackerClient } from "./client.ts";
import { TrackerError } from "./error.ts";

/** Size in bytes from which the tracker is first asked whether it already has the file. */
const checkSize = 1024 * 1024;

/** Size in bytes from which a file is uploaded in parts, so that uploads can be resumed. */
const partsSize = 32 * 1024 * 1024;

/** Number of concurrent part uploads; each part is in memory during its upload. */
const concurrency = 3;

/** Maximum attempts per part, and the delay after the first in milliseconds, which doubles each time. */
const attempts = 5;
const firstDelay = 250;

/** Returns the timeout for a number of bytes, in milliseconds. */
const timeoutFor = (bytes: number): number => 60_000 + Math.ceil(bytes / 1000);

/**
 * Uploads a file as an artifact. With Anneal's tracker, files that it already has are not sent, and large files are uploaded
 * in parts, which can be resumed, even by another process. With MLflow's server, files are sent in one request.
 * @param path path below the tracker's artifact root
 * @throws TrackerError; temporary if the same call may succeed later
 */
export async function uploadFile(client: TrackerClient, path: string, file: string): Promise<void> {
  const handle = await open(file);
  try {
    const { size } = await handle.stat();
    const sha256 = await digestOf(handle, size);
    if (size >= checkSize && (await falseIfRejected(isStored(client, path, size, sha256)))) return;
    if (size >= partsSize && (await falseIfRejected(uploadParts(client, path, handle, size, sha256)))) return;
    await put(client, path, file, size, sha256);
  } finally {
    await handle.close();
  }
}

/** Returns false when the request was rejected permanently; the caller then falls back to a plain upload. */
async function falseIfRejected(work: Promise<boolean>): Promise<boolean> {
  try {
    return await work;
  } catch (error) {
    if (error instanceof TrackerError && !error.temporary) return false;
    throw error;
  }
}

/** Whether a retry may help; content that was corrupted in transit may arrive intact. */
const isRetryable = (error: unknown): boolean =>
  error instanceof TrackerError && (error.temporary || error.code === "DIGEST_MISMATCH");

/** Returns the SHA-256 of a file's first `size` bytes, in hex. */
async function digestOf(handle: FileHandle, size: number): Promise<string> {
  const hash = createHash("sha256");
  if (size > 0) {
    const stream = handle.createReadStream({ start: 0, end: size - 1, autoClose: false, highWaterMark: 1024 * 1024 });
    for await (const chunk of stream) hash.update(chunk);
  }
  return hash.digest("hex");
}

/** Formats a digest as in RFC 9530. */
const contentDigest = (hex: string): string => `sha-256=:${Buffer.from(hex, "hex").toString("base64")}:`;

async function read(handle: FileHandle, offset: number, length: number): Promise<Buffer<ArrayBuffer>> {
  const bytes = Buffer.alloc(length);
  let filled = 0;
  while (filled < length) {
    const { bytesRead } = await handle.read(bytes, filled, length - filled, offset + filled);
    if (bytesRead === 0) break;
    filled += bytesRead;
  }
  return bytes.subarray(0, filled);
}

/** Uploads the file in one request. */
async function put(client: TrackerClient, path: string, file: string, size: number, sha256: string): Promise<void> {
  const target = path.split("/").map(encodeURIComponent).join("/");
  // Only up to the measured size, because a log file may have grown.
  const stream = () => Readable.toWeb(createReadStream(file, { start: 0, end: size - 1 })) as ReadableStream;
  const options: RequestInit & { duplex: "half" } = {
    method: "PUT",
    headers: {
      "content-type": "application/octet-stream",
      "content-digest": contentDigest(sha256),
      ...(size ? { "content-length": String(size) } : {}),
    },
    body: size === 0 ? new Uint8Array(0) : stream(),
    duplex: "half",
  };
  const place = `/api/2.0/mlflow-artifacts/artifacts/${target}`;
  try {
    await client.answerTo(`PUT ${place}`, await client.fetch(place, options, timeoutFor(size)));
  } catch (error) {
    if (!(error instanceof TrackerError) || !isRetryable(error)) throw error;
    throw new TrackerError(error.message, error.code, true, error.status);
  }
}

/** Sends a request that only Anneal's tracker supports; returns undefined for other servers. */
async function ask<T>(client: TrackerClient, path: string, body: object): Promise<T | undefined> {
  try {
    return await client.request<T>("POST", `/api/anneal/artifacts/${path}`, body);
  } catch (error) {
    if (error instanceof TrackerError && (error.status === 404 || error.status === 405)) return undefined;
    throw error;
  }
}

/** Whether the tracker already has the file, and has copied it to its path. */
async function isStored(client: TrackerClient, path: string, size: number, sha256: string): Promise<boolean> {
  return (await ask<{ copied: boolean }>(client, "copies", { path, size, sha256 }))?.copied === true;
}

/** Uploads the missing parts of a file; false when the tracker does not support parts. */
async function uploadParts(
  client: TrackerClient,
  path: string,
  handle: FileHandle,
  size: number,
  sha256: string,
): Promise<boolean> {
  interface Upload {
    stored: boolean;
    upload_id: string;
    part_size: number;
    parts: { part_number: number; etag?: string; url?: string }[];
  }
  const upload = await ask<Upload>(client, "uploads", { path, size, sha256 });
  if (!upload) return false;
  if (upload.stored) return true;
  const { part_size, parts } = upload;
  const waiting = parts.filter(({ etag }) => etag === undefined);
  let failed = false;
  const worker = async (): Promise<void> => {
    for (let part = waiting.shift(); part !== undefined && !failed; part = waiting.shift()) {
      const offset = (part.part_number - 1) * part_size;
      const bytes = await read(handle, offset, Math.min(part_size, size - offset));
      try {
        part.etag = await uploadPart(client, part.url ?? "", bytes);
      } catch (error) {
        // Running uploads finish and need not be repeated; no new ones are started.
        failed = true;
        throw error;
      }
    }
  };
  const results = await Promise.allSettled(Array.from({ length: concurrency }, worker));
  for (const result of results) if (result.status === "rejected") throw result.reason;
  const body = { size, sha256, parts: parts.map(({ part_number, etag }) => ({ part_number, etag })) };
  // The tracker reads the file once to assemble it.
  await client.request("POST", `/api/anneal/artifacts/uploads/${upload.upload_id}/complete`, body, timeoutFor(size));
  return true;
}

/** Uploads a part, with retries. Returns its ETag. */
async function uploadPart(client: TrackerClient, url: string, bytes: Buffer<ArrayBuffer>): Promise<string> {
  const digest = contentDigest(createHash("sha256").update(bytes).digest("hex"));
  const headers = { "content-type": "application/octet-stream", "content-digest": digest };
  for (let attempt = 1; ; attempt++) {
    try {
      const answer = await client.fetch(url, { method: "PUT", headers, body: bytes }, timeoutFor(bytes.length));
      const etag = answer.headers.get("etag")?.replaceAll('"', "");
      if (etag) return etag;
      throw new TrackerError("The response to the upload of a part is not the tracker's.", "UNREACHABLE", true);
    } catch (error) {
      if (!isRetryable(error) || attempt === attempts) throw error;
      await new Promise((resolve) => setTimeout(resolve, firstDelay * 2 ** (attempt - 1)));
    }
  }
}
