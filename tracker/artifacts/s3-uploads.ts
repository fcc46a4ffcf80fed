import { randomBytes } from "node:crypto";
import {
  AbortMultipartUploadCommand,
  CompleteMultipartUploadCommand,
  CreateMultipartUploadCommand,
  DeleteObjectCommand,
  GetObjectCommand,
  ListObjectsV2Command,
  type ListObjectsV2CommandOutput,
  ListPartsCommand,
  type ListPartsCommandOutput,
  PutObjectCommand,
  S3ServiceException,
  UploadPartCommand,
} from "@aws-sdk/client-s3";
import { invalid, missing, TrackerError } from "../errors.ts";
import { storeFailed } from "./artifacts.ts";
import { measured } from "./measure.ts";
import { ownPath } from "./paths.ts";
import { type Bucket, isAbsentThere } from "./s3-client.ts";
import { checkParts, checkUploadId, type Part, type Uploads, uploadId } from "./uploads.ts";

/** The record of an upload in the bucket. */
interface State {
  path: string;
  /** S3's own id of the upload. */
  upload: string;
}

/**
 * Multipart uploads in S3. An object in the bucket maps each upload to S3's id, so that any tracker that uses the
 * bucket can continue the upload.
 * @param completed is called with each completed file
 */
export function s3Uploads(
  { client, name: Bucket, prefix }: Bucket,
  keyOf: (path: string) => string,
  completed: (path: string) => Promise<void>,
): Uploads {
  const stateKey = (id: string): string => `${prefix}.uploads/${checkUploadId(id)}`;
  const unknown = (id: string) =>
    missing(`There is no upload '${id}': it was completed, aborted, or abandoned for a day.`);
  /** An upload's record never changes, so it is cached. */
  const states = new Map<string, State>();

  const remember = (id: string, state: State): State => {
    const [oldest] = states.keys();
    if (states.size >= 1000 && oldest !== undefined) states.delete(oldest);
    states.set(id, state);
    return state;
  };

  const asking = async <T>(id: string, request: Promise<T>): Promise<T> => {
    try {
      return await request;
    } catch (error) {
      if (error instanceof TrackerError) throw error;
      if (isAbsentThere(error)) {
        states.delete(id);
        throw unknown(id);
      }
      if (error instanceof S3ServiceException && error.$fault === "client") {
        if (["InvalidPart", "InvalidPartOrder", "EntityTooSmall", "EntityTooLarge"].includes(error.name)) {
          throw invalid(`The parts do not make a file: ${error.message} (${error.name})`);
        }
      }
      throw storeFailed(error);
    }
  };

  const find = async (id: string): Promise<State> => {
    const Key = stateKey(id);
    const cached = states.get(id);
    if (cached) return cached;
    const { Body } = await asking(id, client.send(new GetObjectCommand({ Bucket, Key })));
    return remember(id, JSON.parse((await Body?.transformToString()) ?? "") as State);
  };

  const forget = async (id: string): Promise<void> => {
    states.delete(id);
    await client.send(new DeleteObjectCommand({ Bucket, Key: stateKey(id) }));
  };

  const partsOf = async (id: string): Promise<Part[]> => {
    const { path, upload: UploadId } = await find(id);
    const parts: Part[] = [];
    let PartNumberMarker: string | undefined;
    do {
      const page: ListPartsCommandOutput = await asking(
        id,
        client.send(new ListPartsCommand({ Bucket, Key: keyOf(path), UploadId, PartNumberMarker })),
      );
      for (const { PartNumber = 0, Size = 0, ETag = "" } of page.Parts ?? []) {
        parts.push({ number: PartNumber, size: Size, etag: ETag.replaceAll('"', "") });
      }
      PartNumberMarker = page.IsTruncated ? page.NextPartNumberMarker : undefined;
    } while (PartNumberMarker !== undefined);
    return parts;
  };

  const abort = async (id: string): Promise<void> => {
    const { path, upload: UploadId } = await find(id);
    try {
      await client.send(new AbortMultipartUploadCommand({ Bucket, Key: keyOf(path), UploadId }));
    } catch (error) {
      if (!isAbsentThere(error)) throw storeFailed(error);
    }
    await asking(id, forget(id));
  };

  return {
    pathOf: async (id) => (await find(id)).path,
    parts: partsOf,
    abort,

    async begin(path, key) {
      const safe = ownPath(path);
      const Key = keyOf(safe);
      const id = key === undefined ? randomBytes(16).toString("hex") : uploadId(safe, key);
      if (key !== undefined) {
        try {
          await partsOf(id);
          return id;
        } catch (error) {
          if (!(error instanceof TrackerError) || error.statusCode !== 404) throw error;
        }
      }
      const created = await asking(id, client.send(new CreateMultipartUploadCommand({ Bucket, Key })));
      const state = { path: safe, upload: created.UploadId ?? "" };
      const Body = JSON.stringify(state);
      await asking(id, client.send(new PutObjectCommand({ Bucket, Key: stateKey(id), Body })));
      remember(id, state);
      return id;
    },

    async putPart(id, number, content, expected) {
      const { path, upload: UploadId } = await find(id);
      const Body = measured(content, expected);
      const { size } = expected;
      const request = new UploadPartCommand({
        Bucket,
        Key: keyOf(path),
        UploadId,
        PartNumber: number,
        Body,
        ContentLength: size,
      });
      // Otherwise the S3 client would wait for the rest of a failed stream.
      const broken = new AbortController();
      let why: unknown;
      Body.once("error", (error) => {
        why = error;
        broken.abort();
      });
      try {
        const { ETag = "" } = await asking(id, client.send(request, { abortSignal: broken.signal }));
        return { number, size, etag: ETag.replaceAll('"', "") };
      } catch (error) {
        throw why ?? error;
      } finally {
        Body.destroy();
      }
    },

    async complete(id, parts, expected = {}) {
      checkParts(parts);
      if (expected.size !== undefined) {
        const sizes = new Map((await partsOf(id)).map(({ number, size }) => [number, size]));
        const size = parts.reduce((sum, { number }) => sum + (sizes.get(number) ?? 0), 0);
        if (size !== expected.size) throw invalid(`The parts make ${size} bytes, not ${expected.size} as announced.`);
      }
      const { path, upload: UploadId } = await find(id);
      await expected.ready?.();
      const Parts = parts.map(({ number, etag }) => ({ PartNumber: number, ETag: `"${etag}"` }));
      await asking(
        id,
        client.send(
          new CompleteMultipartUploadCommand({ Bucket, Key: keyOf(path), UploadId, MultipartUpload: { Parts } }),
        ),
      );
      await completed(path);
      await asking(id, forget(id));
    },

    async sweep(before) {
      let ContinuationToken: string | undefined;
      do {
        const page: ListObjectsV2CommandOutput = await client.send(
          new ListObjectsV2Command({ Bucket, Prefix: `${prefix}.uploads/`, ContinuationToken }),
        );
        for (const { Key = "", LastModified } of page.Contents ?? []) {
          // The object's time is the start of the upload; the time of its last part counts.
          if (!LastModified || LastModified.getTime() >= before) continue;
          await abandon(Key.slice(Key.lastIndexOf("/") + 1), before);
        }
        ContinuationToken = page.IsTruncated ? page.NextContinuationToken : undefined;
      } while (ContinuationToken !== undefined);
    },
  };

  async function abandon(id: string, before: number): Promise<void> {
    const { path, upload: UploadId } = await find(id);
    try {
      let PartNumberMarker: string | undefined;
      do {
        const page: ListPartsCommandOutput = await client.send(
          new ListPartsCommand({ Bucket, Key: keyOf(path), UploadId, PartNumberMarker }),
        );
        if (page.Parts?.some(({ LastModified }) => (LastModified?.getTime() ?? 0) >= before)) return;
        PartNumberMarker = page.IsTruncated ? page.NextPartNumberMarker : undefined;
      } while (PartNumberMarker !== undefined);
    } catch (error) {
      if (!isAbsentThere(error)) throw error;
    }
    await abort(id);
  }
}
