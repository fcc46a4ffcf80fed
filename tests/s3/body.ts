import { createHash } from "node:crypto";
import type { IncomingMessage } from "node:http";
import { crc32 } from "node:zlib";
import { S3Error, type Signed } from "./signature.ts";

const EMPTY = createHash("sha256").digest("hex");

/**
 * Reads the content of a request and verifies it: against its SHA-256, or chunk by chunk against signatures or a trailing
 * checksum. Throws at the end if the content does not match.
 */
export async function* content(request: IncomingMessage, signed: Signed): AsyncGenerator<Buffer> {
  const { payload } = signed;
  const header = (name: string): string | undefined => {
    const value = request.headers[name];
    return value === undefined ? undefined : String(value);
  };
  if (payload.startsWith("STREAMING-")) {
    yield* checksummed(chunked(request, signed), header);
    return;
  }
  const hash = createHash("sha256");
  for await (const bytes of checksummed(bytesOf(request), header)) {
    hash.update(bytes);
    yield bytes;
  }
  if (payload !== "UNSIGNED-PAYLOAD" && hash.digest("hex") !== payload) {
    throw new S3Error(
      400,
      "XAmzContentSHA256Mismatch",
      "The provided x-amz-content-sha256 is not that of the content.",
    );
  }
}

/** The bytes of a request. A reader that stops early can still send a response. */
const bytesOf = (request: IncomingMessage): AsyncIterable<Buffer> => request.iterator({ destroyOnReturn: false });

/** Passes content through and compares it with the digests in the request's headers or trailers. */
async function* checksummed(
  source: AsyncIterable<Buffer>,
  header: (name: string) => string | undefined,
): AsyncGenerator<Buffer> {
  const md5 = createHash("md5");
  const sha256 = createHash("sha256");
  let crc = 0;
  for await (const bytes of source) {
    md5.update(bytes);
    sha256.update(bytes);
    crc = crc32(bytes, crc);
    yield bytes;
  }
  const trailers = "trailers" in source ? (source as Chunked).trailers : new Map<string, string>();
  const crcBytes = Buffer.alloc(4);
  crcBytes.writeUInt32BE(crc);
  const digests: [string, string][] = [
    ["content-md5", md5.digest("base64")],
    ["x-amz-checksum-sha256", sha256.digest("base64")],
    ["x-amz-checksum-crc32", crcBytes.toString("base64")],
  ];
  for (const [name, value] of digests) {
    const said = trailers.get(name) ?? header(name);
    if (said !== undefined && said !== value) throw new S3Error(400, "BadDigest", `${name} is ${value}, not ${said}.`);
  }
  const trailer = header("x-amz-trailer");
  if (trailer !== undefined && !trailers.has(trailer)) throw new S3Error(400, "MalformedTrailerError", "No trailer.");
}

interface Chunked extends AsyncIterable<Buffer> {
  trailers: Map<string, string>;
}

/** Decodes the aws-chunked encoding: chunks with sizes, optional signatures, and trailers. */
function chunked(request: IncomingMessage, { payload, seed, sign, time, scope }: Signed): Chunked {
  const trailers = new Map<string, string>();
  const isSigned = payload.startsWith("STREAMING-AWS4-HMAC-SHA256-PAYLOAD");
  async function* read(): AsyncGenerator<Buffer> {
    let rest = Buffer.alloc(0);
    const source = bytesOf(request)[Symbol.asyncIterator]();
    const fill = async (): Promise<void> => {
      const { value, done } = await source.next();
      if (done) throw new S3Error(400, "IncompleteBody", "The body ends within a chunk.");
      rest = Buffer.concat([rest, value as Buffer]);
    };
    const line = async (): Promise<string> => {
      let end = rest.indexOf("\r\n");
      while (end < 0) {
        await fill();
        end = rest.indexOf("\r\n");
      }
      const text = rest.subarray(0, end).toString();
      rest = rest.subarray(end + 2);
      return text;
    };
    let previous = seed;
    let total = 0;
    while (true) {
      const [size = "", extension = ""] = (await line()).split(";");
      const length = Number.parseInt(size, 16);
      if (!/^[0-9a-f]+$/i.test(size)) throw new S3Error(400, "InvalidRequest", `Bad chunk size '${size}'`);
      while (rest.length < length) await fill();
      const bytes = Buffer.from(rest.subarray(0, length));
      rest = rest.subarray(length);
      if (isSigned) {
        const hash = createHash("sha256").update(bytes).digest("hex");
        const expected = sign(["AWS4-HMAC-SHA256-PAYLOAD", time, scope, previous, EMPTY, hash].join("\n"));
        if (extension !== `chunk-signature=${expected}`) {
          throw new S3Error(403, "SignatureDoesNotMatch", "A chunk's signature does not match.");
        }
        previous = expected;
      }
      if (length === 0) break;
      total += length;
      yield bytes;
      if ((await line()) !== "") throw new S3Error(400, "InvalidRequest", "A chunk is longer than it says.");
    }
    if (payload.endsWith("-TRAILER")) {
      for (let text = await line(); text !== ""; text = await line()) {
        const [name = "", value = ""] = text.split(/:(.*)/);
        trailers.set(name.trim().toLowerCase(), value.trim());
      }
      const signature = trailers.get("x-amz-trailer-signature");
      if (isSigned) {
        const named = [...trailers].filter(([name]) => name !== "x-amz-trailer-signature");
        const hash = createHash("sha256")
          .update(named.map(([name, value]) => `${name}:${value}\n`).join(""))
          .digest("hex");
        const expected = sign(["AWS4-HMAC-SHA256-TRAILER", time, scope, previous, hash].join("\n"));
        if (signature !== expected)
          throw new S3Error(403, "SignatureDoesNotMatch", "The trailers' signature does not match.");
      }
    }
    const decoded = request.headers["x-amz-decoded-content-length"];
    if (decoded !== undefined && Number(decoded) !== total) {
      throw new S3Error(400, "IncompleteBody", `The content has ${total} bytes, not ${decoded}.`);
    }
  }
  return { [Symbol.asyncIterator]: read, trailers };
}
