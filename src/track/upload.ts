import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import { Readable } from "node:stream";
import type { ReadableStream } from "node:stream/web";
import type { TrackerClient } from "./client.ts";
import { TrackerError } from "./error.ts";

/** Below this a file is sent at once; from here on the tracker is asked whether it has it. Bytes. */
const worthAsking = 1024 * 1024;

/** From here on a file is sent in parts, so that what breaks off can go on. Bytes. */
const worthParts = 32 * 1024 * 1024;

/** Parts on their way at a time; each is in memory as long. */
const atOnce = 3;

/** Attempts at one part, and the wait after the first in milliseconds; each later wait is twice as long. */
const attempts = 5;
const firstWait = 250;

/** Time allowed for so many bytes, in milliseconds: a large file over a slow line is no tracker that does not answer. */
const timeFor = (bytes: number): number => 60_000 + Math.ceil(bytes / 1000);

/**
 * Store a file as an artifact. Anneal's tracker is spared what it has, and gets large files in parts; an upload that
 * broke off goes on where it stopped, even from another process. MLflow's server gets it in one piece.
 * @param path from the tracker's artifact root on
 * @throws TrackerError; a temporary one where the same call may succeed later
 */
export async function uploadFile(client: TrackerClient, path: string, file: string): Promise<void> {
  const handle = await open(file);
  try {
    const { size } = await handle.stat();
    const sha256 = await digestOf(handle, size);
    if (size >= worthAsking && (await orRefused(isStored(client, path, size, sha256)))) return;
    if (size >= worthParts && (await orRefused(uploadParts(client, path, handle, size, sha256)))) return;
    await put(client, path, file, size, sha256);
  } finally {
    await handle.close();
  }
}

/** What was refused for good is not done; there is the plain way still. */
async function orRefused(work: Promise<boolean>): Promise<boolean> {
  try {
    return await work;
  } catch (error) {
    if (error instanceof TrackerError && !error.temporary) return false;
    throw error;
  }
}

/** Content that was changed on the way may arrive the next time. */
const mayArrive = (error: unknown): boolean =>
  error instanceof TrackerError && (error.temporary || error.code === "DIGEST_MISMATCH");

/** SHA-256 of a file's first `size` bytes, in hex. */
async function digestOf(handle: FileHandle, size: number): Promise<string> {
  const hash = createHash("sha256");
  if (size > 0) {
    const stream = handle.createReadStream({ start: 0, end: size - 1, autoClose: false, highWaterMark: 1024 * 1024 });
    for await (const chunk of stream) hash.update(chunk);
  }
  return hash.digest("hex");
}

/** As RFC 9530 writes it. */
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

/** The whole file in one request. */
async function put(client: TrackerClient, path: string, file: string, size: number, sha256: string): Promise<void> {
  const target = path.split("/").map(encodeURIComponent).join("/");
  // No further than its length was: a log may have grown since.
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
    await client.answerTo(`PUT ${place}`, await client.fetch(place, options, timeFor(size)));
  } catch (error) {
    if (!(error instanceof TrackerError) || !mayArrive(error)) throw error;
    throw new TrackerError(error.message, error.code, true, error.status);
  }
}

/** The answer of a call that only Anneal's tracker knows; undefined from any other. */
async function ask<T>(client: TrackerClient, path: string, body: object): Promise<T | undefined> {
  try {
    return await client.request<T>("POST", `/api/anneal/artifacts/${path}`, body);
  } catch (error) {
    if (error instanceof TrackerError && (error.status === 404 || error.status === 405)) return undefined;
    throw error;
  }
}

/** Whether the tracker has the file already, and has put it under its path as well. */
async function isStored(client: TrackerClient, path: string, size: number, sha256: string): Promise<boolean> {
  return (await ask<{ copied: boolean }>(client, "copies", { path, size, sha256 }))?.copied === true;
}

/** Sends what is missing of a file, part by part; false where the tracker takes no parts. */
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
        // What is on its way still arrives, and need not be sent again; no more is begun.
        failed = true;
        throw error;
      }
    }
  };
  const ends = await Promise.allSettled(Array.from({ length: atOnce }, worker));
  for (const end of ends) if (end.status === "rejected") throw end.reason;
  const body = { size, sha256, parts: parts.map(({ part_number, etag }) => ({ part_number, etag })) };
  // The tracker reads the file once to put it together.
  await client.request("POST", `/api/anneal/artifacts/uploads/${upload.upload_id}/complete`, body, timeFor(size));
  return true;
}

/** Sends a part, more than once where need be; its ETag. */
async function uploadPart(client: TrackerClient, url: string, bytes: Buffer<ArrayBuffer>): Promise<string> {
  const digest = contentDigest(createHash("sha256").update(bytes).digest("hex"));
  const headers = { "content-type": "application/octet-stream", "content-digest": digest };
  for (let attempt = 1; ; attempt++) {
    try {
      const answer = await client.fetch(url, { method: "PUT", headers, body: bytes }, timeFor(bytes.length));
      const etag = answer.headers.get("etag")?.replaceAll('"', "");
      if (etag) return etag;
      throw new TrackerError("Something answered in the tracker's place to a part of a file.", "UNREACHABLE", true);
    } catch (error) {
      if (!mayArrive(error) || attempt === attempts) throw error;
      await new Promise((resolve) => setTimeout(resolve, firstWait * 2 ** (attempt - 1)));
    }
  }
}
