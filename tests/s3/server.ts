import { createHash, randomUUID } from "node:crypto";
import { createReadStream, createWriteStream, mkdtempSync, rmSync } from "node:fs";
import { rm } from "node:fs/promises";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { content } from "./body.ts";
import { type Credentials, S3Error, type Signed, uriEncode, verify } from "./signature.ts";

/*
 * An S3 server for tests: path-style URLs, objects with ranges and conditions, listings with delimiters and paging, copies,
 * multi-object deletion, multipart uploads. It verifies the signatures of all requests and responds with 501 to
 * unsupported ones.
 */

interface Blob {
  file: string;
  size: number;
  /** MD5 in hex; for multipart uploads, the MD5 of the parts' MD5s and the number of parts. */
  etag: string;
  modified: Date;
}

interface MultipartUpload {
  bucket: string;
  key: string;
  parts: Map<number, Blob>;
}

export interface S3Server {
  url: string;
  credentials: Credentials;
  /** Handled requests, such as `PUT UploadPart 200`. */
  log: string[];
  /** Keys in a bucket. */
  keys(bucket: string): string[];
  /** Multipart uploads that are neither completed nor aborted. */
  uploads(): number;
  /** Whether to cut a request in the middle. */
  fail: (request: IncomingMessage) => boolean;
  /** Stops the server; `start` continues at the same address with the stored objects. */
  stop(): Promise<void>;
  start(): Promise<void>;
  close(): Promise<void>;
}

const toXml = (text: string): string =>
  text.replace(/[<>&"']/g, (it) => `&#${it.charCodeAt(0)};`).replace(/\p{Cc}/gu, (it) => `&#${it.charCodeAt(0)};`);
const fromXml = (text: string): string =>
  text.replace(/&(#x?[0-9a-f]+|lt|gt|amp|quot|apos);/gi, (whole, name: string) => {
    if (!name.startsWith("#")) return { lt: "<", gt: ">", amp: "&", quot: '"', apos: "'" }[name.toLowerCase()] ?? whole;
    return String.fromCodePoint(name[1] === "x" ? Number.parseInt(name.slice(2), 16) : Number(name.slice(1)));
  });
const fieldsOf = (xml: string, name: string): string[] =>
  [...xml.matchAll(new RegExp(`<${name}>([^<]*)</${name}>`, "g"))].map(([, text = ""]) => fromXml(text));

const noSuchKey = (): S3Error => new S3Error(404, "NoSuchKey", "The specified key does not exist.");

/** Starts a server. @param buckets buckets to create */
export async function startS3(buckets: string[] = ["artifacts"]): Promise<S3Server> {
  const folder = mkdtempSync(join(tmpdir(), "anneal-s3-"));
  const credentials = { accessKeyId: "AKIDEXAMPLE", secretAccessKey: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY" };
  const store = new Map<string, Map<string, Blob>>(buckets.map((name) => [name, new Map()]));
  const uploads = new Map<string, MultipartUpload>();
  const log: string[] = [];

  const bucketOf = (name: string): Map<string, Blob> => {
    const found = store.get(name);
    if (!found) throw new S3Error(404, "NoSuchBucket", "The specified bucket does not exist.");
    return found;
  };

  /** Stores bytes as a file. Removes the file if the content is invalid. */
  async function keep(bytes: AsyncIterable<Buffer>): Promise<Blob> {
    const file = join(folder, randomUUID());
    const md5 = createHash("md5");
    let size = 0;
    try {
      await pipeline(
        Readable.from(
          (async function* () {
            for await (const chunk of bytes) {
              md5.update(chunk);
              size += chunk.length;
              yield chunk;
            }
          })(),
        ),
        createWriteStream(file),
      );
    } catch (error) {
      await rm(file, { force: true });
      throw error;
    }
    return { file, size, etag: md5.digest("hex"), modified: new Date() };
  }

  async function textOf(request: IncomingMessage, signed: Signed): Promise<string> {
    const parts: Buffer[] = [];
    for await (const part of content(request, signed)) parts.push(part);
    return Buffer.concat(parts).toString();
  }

  const answerXml = (response: ServerResponse, name: string, inner: string): void => {
    response.writeHead(200, { "content-type": "application/xml" });
    response.end(
      `<?xml version="1.0" encoding="UTF-8"?>\n<${name} xmlns="http://s3.amazonaws.com/doc/2006-03-01/">${inner}</${name}>`,
    );
  };

  function listObjects(bucket: Map<string, Blob>, query: URLSearchParams, response: ServerResponse): void {
    const [prefix, delimiter] = [query.get("prefix") ?? "", query.get("delimiter") ?? ""];
    const max = Math.min(Number(query.get("max-keys") ?? 1000), 1000);
    const after = query.has("continuation-token")
      ? Buffer.from(query.get("continuation-token") ?? "", "base64").toString()
      : (query.get("start-after") ?? "");
    const encode = query.get("encoding-type") === "url" ? (text: string) => uriEncode(text) : toXml;
    const items: { name: string; blob?: Blob }[] = [];
    let truncated = false;
    for (const [key, blob] of [...bucket].sort(([a], [b]) => Buffer.compare(Buffer.from(a), Buffer.from(b)))) {
      if (!key.startsWith(prefix)) continue;
      const cut = delimiter === "" ? -1 : key.indexOf(delimiter, prefix.length);
      const name = cut < 0 ? key : key.slice(0, cut + delimiter.length);
      if (name <= after || items.at(-1)?.name === name) continue;
      if (items.length >= max) {
        truncated = true;
        break;
      }
      items.push(cut < 0 ? { name, blob } : { name });
    }
    const next = truncated ? Buffer.from(items.at(-1)?.name ?? "").toString("base64") : undefined;
    const shown = items.map(({ name, blob }) =>
      blob
        ? `<Contents><Key>${encode(name)}</Key><Size>${blob.size}</Size><ETag>&#34;${blob.etag}&#34;</ETag><LastModified>${blob.modified.toISOString()}</LastModified></Contents>`
        : `<CommonPrefixes><Prefix>${encode(name)}</Prefix></CommonPrefixes>`,
    );
    answerXml(
      response,
      "ListBucketResult",
      `<KeyCount>${items.length}</KeyCount><IsTruncated>${truncated}</IsTruncated>${next ? `<NextContinuationToken>${next}</NextContinuationToken>` : ""}${query.get("encoding-type") ? "<EncodingType>url</EncodingType>" : ""}${shown.join("")}`,
    );
  }

  function sendObject(blob: Blob, request: IncomingMessage, response: ServerResponse): void {
    const headers = {
      etag: `"${blob.etag}"`,
      "last-modified": blob.modified.toUTCString(),
      "accept-ranges": "bytes",
      "content-type": "application/octet-stream",
    };
    const wanted = request.headers["if-match"];
    if (wanted !== undefined && wanted !== headers.etag) {
      throw new S3Error(412, "PreconditionFailed", "At least one of the pre-conditions did not hold.");
    }
    const [, from = "", to = ""] = /^bytes=(\d*)-(\d*)$/.exec(request.headers.range ?? "") ?? [];
    const ranged = from !== "" || to !== "";
    const start = from === "" && ranged ? Math.max(0, blob.size - Number(to)) : Number(from);
    const end = from === "" || to === "" ? blob.size - 1 : Math.min(Number(to), blob.size - 1);
    if (ranged && start > end) throw new S3Error(416, "InvalidRange", "The requested range is not satisfiable");
    const range = ranged ? { "content-range": `bytes ${start}-${end}/${blob.size}` } : {};
    response.writeHead(ranged ? 206 : 200, { ...headers, ...range, "content-length": Math.max(0, end - start + 1) });
    if (request.method === "HEAD" || blob.size === 0) response.end();
    else createReadStream(blob.file, { start, end }).pipe(response);
  }

  async function putObject(bucket: string, key: string, request: IncomingMessage, signed: Signed): Promise<Blob> {
    const objects = bucketOf(bucket);
    const source = request.headers["x-amz-copy-source"];
    let bytes: AsyncIterable<Buffer> = content(request, signed);
    if (source !== undefined) {
      await textOf(request, signed);
      const [, from = "", name = ""] = /^\/?([^/]+)\/(.*)$/.exec(decodeURIComponent(String(source))) ?? [];
      if (from === bucket && name === key) {
        throw new S3Error(400, "InvalidRequest", "This copy request is illegal: it copies an object to itself.");
      }
      const blob = bucketOf(from).get(name);
      if (!blob) throw noSuchKey();
      const wanted = request.headers["x-amz-copy-source-if-match"];
      if (wanted !== undefined && wanted !== `"${blob.etag}"`) throw new S3Error(412, "PreconditionFailed", "Changed.");
      bytes = createReadStream(blob.file);
    }
    const blob = await keep(bytes);
    objects.set(key, blob);
    return blob;
  }

  async function complete(id: string, upload: MultipartUpload, xml: string): Promise<Blob> {
    const numbers = fieldsOf(xml, "PartNumber").map(Number);
    const etags = fieldsOf(xml, "ETag").map((it) => it.replaceAll('"', ""));
    const parts = numbers.map((number, index) => {
      const part = upload.parts.get(number);
      if (!part || part.etag !== etags[index])
        throw new S3Error(400, "InvalidPart", `Part ${number} could not be found.`);
      if (index > 0 && number <= numbers[index - 1])
        throw new S3Error(400, "InvalidPartOrder", "Parts are not in order.");
      if (index < numbers.length - 1 && part.size < 5 * 1024 ** 2) {
        throw new S3Error(400, "EntityTooSmall", "Your proposed upload is smaller than the minimum allowed size");
      }
      return part;
    });
    if (parts.length === 0) throw new S3Error(400, "MalformedXML", "No parts.");
    const blob = await keep(
      (async function* () {
        for (const { file } of parts) yield* createReadStream(file) as AsyncIterable<Buffer>;
      })(),
    );
    const md5 = createHash("md5").update(Buffer.from(parts.map(({ etag }) => etag).join(""), "hex"));
    const whole = { ...blob, etag: `${md5.digest("hex")}-${parts.length}` };
    bucketOf(upload.bucket).set(upload.key, whole);
    uploads.delete(id);
    return whole;
  }

  async function answer(request: IncomingMessage, response: ServerResponse): Promise<string> {
    const url = new URL(request.url ?? "/", "http://s3");
    const signed = verify(request, url, credentials);
    const [, bucket = "", key = ""] = /^\/([^/]*)\/?(.*)$/s.exec(decodeURIComponent(url.pathname)) ?? [];
    const query = url.searchParams;
    const { method = "" } = request;
    if (Buffer.byteLength(key) > 1024) throw new S3Error(400, "KeyTooLongError", "Your key is too long");
    const is = (verb: string, ...names: string[]): boolean => method === verb && names.every((name) => query.has(name));

    if (key === "") {
      if (is("POST", "delete")) {
        const xml = await textOf(request, signed);
        if (
          !request.headers["content-md5"] &&
          !Object.keys(request.headers).some((it) => it.startsWith("x-amz-checksum-"))
        ) {
          throw new S3Error(400, "InvalidRequest", "Missing required header for this request: Content-MD5");
        }
        const keys = fieldsOf(xml, "Key");
        if (keys.length > 1000) throw new S3Error(400, "MalformedXML", "More than 1000 keys.");
        for (const name of keys) bucketOf(bucket).delete(name);
        answerXml(response, "DeleteResult", "");
        return "DeleteObjects";
      }
      if (is("PUT")) {
        await textOf(request, signed);
        if (!store.has(bucket)) store.set(bucket, new Map());
        response.writeHead(200).end();
        return "CreateBucket";
      }
      if (is("HEAD")) {
        bucketOf(bucket);
        response.writeHead(200).end();
        return "HeadBucket";
      }
      if (is("GET", "list-type")) {
        listObjects(bucketOf(bucket), query, response);
        return "ListObjectsV2";
      }
      throw new S3Error(501, "NotImplemented", `${method} of a bucket with ${[...query.keys()]}`);
    }
    if (is("POST", "uploads")) {
      bucketOf(bucket);
      const id = randomUUID();
      uploads.set(id, { bucket, key, parts: new Map() });
      answerXml(response, "InitiateMultipartUploadResult", `<UploadId>${id}</UploadId>`);
      return "CreateMultipartUpload";
    }
    const id = query.get("uploadId");
    if (id !== null) {
      const upload = uploads.get(id);
      if (!upload || upload.key !== key) throw new S3Error(404, "NoSuchUpload", "The upload does not exist.");
      if (is("PUT", "partNumber")) {
        const number = Number(query.get("partNumber"));
        if (!(number >= 1 && number <= 10_000)) throw new S3Error(400, "InvalidArgument", "partNumber");
        const blob = await keep(content(request, signed));
        upload.parts.set(number, blob);
        response.writeHead(200, { etag: `"${blob.etag}"` }).end();
        return "UploadPart";
      }
      if (is("GET")) {
        const after = Number(query.get("part-number-marker") ?? 0);
        const all = [...upload.parts].filter(([number]) => number > after).sort(([a], [b]) => a - b);
        const shown = all.slice(0, Math.min(Number(query.get("max-parts") ?? 1000), 1000));
        const list = shown.map(
          ([number, it]) =>
            `<Part><PartNumber>${number}</PartNumber><Size>${it.size}</Size><ETag>&#34;${it.etag}&#34;</ETag><LastModified>${it.modified.toISOString()}</LastModified></Part>`,
        );
        const marker = `<NextPartNumberMarker>${shown.at(-1)?.[0] ?? 0}</NextPartNumberMarker>`;
        answerXml(
          response,
          "ListPartsResult",
          `<IsTruncated>${shown.length < all.length}</IsTruncated>${marker}${list.join("")}`,
        );
        return "ListParts";
      }
      if (is("POST")) {
        const { etag } = await complete(id, upload, await textOf(request, signed));
        answerXml(response, "CompleteMultipartUploadResult", `<Key>${toXml(key)}</Key><ETag>&#34;${etag}&#34;</ETag>`);
        return "CompleteMultipartUpload";
      }
      if (is("DELETE")) {
        uploads.delete(id);
        response.writeHead(204).end();
        return "AbortMultipartUpload";
      }
    }
    if (is("PUT")) {
      const { etag, modified } = await putObject(bucket, key, request, signed);
      if (request.headers["x-amz-copy-source"] === undefined) {
        response.writeHead(200, { etag: `"${etag}"` }).end();
        return "PutObject";
      }
      answerXml(
        response,
        "CopyObjectResult",
        `<ETag>&#34;${etag}&#34;</ETag><LastModified>${modified.toISOString()}</LastModified>`,
      );
      return "CopyObject";
    }
    if (is("GET") || is("HEAD")) {
      const blob = bucketOf(bucket).get(key);
      if (!blob) throw noSuchKey();
      sendObject(blob, request, response);
      return method === "GET" ? "GetObject" : "HeadObject";
    }
    if (is("DELETE")) {
      bucketOf(bucket).delete(key);
      response.writeHead(204).end();
      return "DeleteObject";
    }
    throw new S3Error(501, "NotImplemented", `${method} of an object with ${[...query.keys()]}`);
  }

  const server = createServer((request, response) => {
    if (self.fail(request)) {
      request.once("data", () => request.socket.destroy());
      return;
    }
    answer(request, response)
      .then((name) => log.push(`${request.method} ${name} ${response.statusCode}`))
      .catch((error: unknown) => {
        const it = error instanceof S3Error ? error : new S3Error(500, "InternalError", String(error));
        log.push(`${request.method} ${it.code} ${it.status}`);
        if (response.headersSent || request.socket.destroyed) return void response.destroy();
        response.writeHead(it.status, { "content-type": "application/xml", connection: "close" });
        response.end(
          request.method === "HEAD"
            ? undefined
            : `<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>${it.code}</Code><Message>${toXml(it.message)}</Message></Error>`,
        );
      });
  });
  const listen = (port: number): Promise<void> =>
    new Promise((resolve, reject) => {
      server.once("error", reject).listen(port, "127.0.0.1", resolve);
    });
  const stop = (): Promise<void> =>
    new Promise((resolve) => {
      server.close(() => resolve());
      server.closeAllConnections();
    });
  await listen(0);
  const { port } = server.address() as AddressInfo;
  const self: S3Server = {
    url: `http://127.0.0.1:${port}`,
    credentials,
    log,
    keys: (bucket) => [...(store.get(bucket)?.keys() ?? [])].sort(),
    uploads: () => uploads.size,
    fail: () => false,
    stop,
    start: () => listen(port),
    async close() {
      if (server.listening) await stop();
      rmSync(folder, { recursive: true, force: true });
    },
  };
  return self;
}

// Standalone: `node dist/tests/s3/server.js` runs until it is interrupted, to try other clients.
if (process.argv[1]?.endsWith("s3/server.js")) {
  const { url, credentials } = await startS3();
  console.log(`${url}  ${credentials.accessKeyId}  ${credentials.secretAccessKey}`);
}
