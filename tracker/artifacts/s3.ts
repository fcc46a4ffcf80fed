import { Readable } from "node:stream";
import {
  CopyObjectCommand,
  DeleteObjectsCommand,
  GetObjectCommand,
  HeadObjectCommand,
  ListObjectsV2Command,
  type ListObjectsV2CommandOutput,
  type S3Client,
} from "@aws-sdk/client-s3";
import { Upload } from "@aws-sdk/lib-storage";
import { invalid, missing, TrackerError } from "../errors.ts";
import type { ArtifactIndex } from "../store/store.ts";
import { type ArtifactInfo, type Artifacts, byName, storeFailed } from "./artifacts.ts";
import { measured } from "./measure.ts";
import { ownPath } from "./paths.ts";
import { type Bucket, isAbsentThere } from "./s3-client.ts";
import { s3Uploads } from "./s3-uploads.ts";

/** Part size of uploads of unknown length. Two parts are in memory at a time. */
const PART_BYTES = 8 * 1024 * 1024;

/** Maximum number of concurrent uploads, because each has parts in memory. */
const AT_ONCE = 8;

/** S3 cannot copy larger objects in one request. */
const MAX_COPY = 5 * 1024 ** 3;

/** Limits the number of concurrent tasks; the others wait in a queue. */
function turnstile(places: number): <T>(work: () => Promise<T>) => Promise<T> {
  const waiting: (() => void)[] = [];
  let free = places;
  return async (work) => {
    if (free > 0) free--;
    else await new Promise<void>((resolve) => waiting.push(resolve));
    try {
      return await work();
    } finally {
      const next = waiting.shift();
      if (next) next();
      else free++;
    }
  };
}

/** Converts an S3 error for clients: a store that is down or rejects the tracker is not the client's fault. */
async function asking<T>(path: string, request: Promise<T>): Promise<T> {
  try {
    return await request;
  } catch (error) {
    if (error instanceof TrackerError) throw error;
    if (isAbsentThere(error)) throw missing(`No such artifact: '${path}'`);
    throw storeFailed(error);
  }
}

/** Stores artifacts as objects of a bucket, and their SHA-256 in the index. */
export function s3Artifacts(bucket: Bucket, index: ArtifactIndex): Artifacts {
  const { client, name: Bucket, prefix } = bucket;
  const turn = turnstile(AT_ONCE);

  const keyOf = (path: string): string => {
    const key = prefix + ownPath(path);
    if (Buffer.byteLength(key) > 1024) {
      throw invalid(`Invalid artifact path '${path.slice(0, 80)}...': S3 takes names of at most 1024 bytes.`);
    }
    return key;
  };
  const pages = (Prefix: string, more: { Delimiter?: string } = {}) => listing(client, { Bucket, Prefix, ...more });

  const background = new Set<Promise<unknown>>();
  const closing = new AbortController();
  /** Reads a completed multipart upload, to compute its SHA-256. */
  const learn = (path: string): void => {
    const work = (async () => {
      const { Body } = await client.send(new GetObjectCommand({ Bucket, Key: keyOf(path) }), {
        abortSignal: closing.signal,
      });
      if (!(Body instanceof Readable)) return;
      closing.signal.addEventListener("abort", () => Body.destroy(), { once: true });
      const measure = measured(Body);
      for await (const _ of measure);
      await index.record({ path: ownPath(path), size: measure.count, sha256: measure.sha256, createdAt: Date.now() });
    })()
      // Then the digest stays unknown: the file can be read, but is not found by its content.
      .catch(() => undefined)
      .finally(() => background.delete(work));
    background.add(work);
  };

  return {
    async put(path, content, expected = {}) {
      const Key = keyOf(path);
      const partSize = Math.max(PART_BYTES, Math.ceil((expected.size ?? 0) / 10_000));
      return turn(async () => {
        const measure = measured(content, expected);
        try {
          // Aborts the upload when the stream fails. A small file is one request at the end of the stream.
          const upload = new Upload({ client, params: { Bucket, Key, Body: measure }, partSize, queueSize: 2 });
          await asking(path, upload.done());
        } finally {
          measure.destroy();
        }
        const { count: size, sha256 } = measure;
        await index.record({ path: ownPath(path), size, sha256, createdAt: Date.now() });
        return { size, sha256 };
      });
    },

    async get(path) {
      const Key = keyOf(path);
      const { ContentLength: size = 0, ETag } = await asking(path, client.send(new HeadObjectCommand({ Bucket, Key })));
      const record = await index.find(ownPath(path));
      return {
        size,
        sha256: record?.size === size ? record.sha256 : undefined,
        revision: `${ETag} ${size}`,
        open: async (range) => {
          const Range = range && `bytes=${range.start}-${range.end}`;
          // IfMatch: only the file that was hashed.
          const request = new GetObjectCommand({ Bucket, Key, IfMatch: ETag, ...(Range ? { Range } : {}) });
          const { Body } = await asking(path, client.send(request));
          if (!(Body instanceof Readable)) throw storeFailed(new Error("it sent no content"));
          return Body;
        },
      };
    },

    async list(path) {
      const folder = path === "" ? prefix : `${keyOf(path)}/`;
      const infos: ArtifactInfo[] = [];
      for await (const { CommonPrefixes = [], Contents = [] } of pages(folder, { Delimiter: "/" })) {
        for (const { Prefix = "" } of CommonPrefixes)
          infos.push({ path: Prefix.slice(prefix.length, -1), isDir: true });
        for (const { Key = "", Size = 0 } of Contents) {
          // Some tools create an empty object with the folder's name.
          if (Key !== folder) infos.push({ path: Key.slice(prefix.length), isDir: false, size: Size });
        }
      }
      return infos.filter((it) => it.path !== ".uploads").sort(byName);
    },

    async remove(path) {
      const Key = keyOf(path);
      let count = 0;
      const away = async (keys: string[]): Promise<void> => {
        count += keys.length;
        if (keys.length === 0) return;
        const Delete = { Objects: keys.map((key) => ({ Key: key })), Quiet: true };
        const { Errors = [] } = await asking(path, client.send(new DeleteObjectsCommand({ Bucket, Delete })));
        if (Errors.length > 0) throw storeFailed(new Error(`${Errors[0].Key}: ${Errors[0].Message}`));
      };
      const there = await client.send(new HeadObjectCommand({ Bucket, Key })).catch((error: unknown) => {
        if (isAbsentThere(error)) return undefined;
        throw storeFailed(error);
      });
      if (there) await away([Key]);
      for await (const { Contents = [] } of pages(`${Key}/`)) await away(Contents.flatMap((it) => it.Key ?? []));
      if (count === 0) throw missing(`No such artifact: '${path}'`);
      await index.remove(ownPath(path));
    },

    async copy(from, path) {
      const Key = keyOf(path);
      if (from.size > MAX_COPY) return false;
      const source = new HeadObjectCommand({ Bucket, Key: keyOf(from.path) });
      try {
        const { ContentLength, ETag } = await client.send(source);
        if (ContentLength !== from.size || (await index.find(from.path))?.sha256 !== from.sha256) return false;
        if (keyOf(from.path) === Key) return true;
        const CopySource = `${Bucket}/${keyOf(from.path).split("/").map(encodeURIComponent).join("/")}`;
        await client.send(new CopyObjectCommand({ Bucket, Key, CopySource }));
        // Not all stores support a condition on the source, so it is checked again afterwards.
        if ((await client.send(source)).ETag !== ETag) return false;
        const copied = await client.send(new HeadObjectCommand({ Bucket, Key }));
        if (copied.ContentLength !== from.size) return false;
      } catch (error) {
        if (isAbsentThere(error)) return false;
        throw storeFailed(error);
      }
      await index.record({ path: ownPath(path), size: from.size, sha256: from.sha256, createdAt: Date.now() });
      return true;
    },

    uploads: s3Uploads(bucket, keyOf, async (path) => {
      // The index entry is of the previous file.
      await index.remove(ownPath(path));
      learn(path);
    }),

    async close() {
      closing.abort();
      await Promise.all(background);
      client.destroy();
    },
  };
}

/** All pages of a listing. */
async function* listing(
  client: S3Client,
  query: { Bucket: string; Prefix: string; Delimiter?: string },
): AsyncGenerator<ListObjectsV2CommandOutput> {
  let ContinuationToken: string | undefined;
  do {
    const page: ListObjectsV2CommandOutput = await asking(
      query.Prefix,
      client.send(new ListObjectsV2Command({ ...query, ContinuationToken })),
    );
    yield page;
    ContinuationToken = page.IsTruncated ? page.NextContinuationToken : undefined;
  } while (ContinuationToken !== undefined);
}
