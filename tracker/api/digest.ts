import type { FastifyRequest } from "fastify";
import { invalid } from "../errors.ts";

/**
 * Returns the SHA-256 in a request's Content-Digest header (RFC 9530: `sha-256=:<base64>:`), in hex, or undefined
 * without a SHA-256.
 */
export function contentDigest(request: FastifyRequest): string | undefined {
  const header = request.headers["content-digest"];
  if (header === undefined) return undefined;
  const text = String(header);
  const value = /(?:^|,)\s*sha-256\s*=\s*([^,;\s]*)/i.exec(text)?.[1];
  if (value === undefined) return undefined;
  const base64 = /^:([A-Za-z0-9+/]{43}=):$/.exec(value)?.[1];
  if (base64 === undefined) {
    throw invalid(`Invalid Content-Digest '${text.slice(0, 120)}': expected sha-256=:<32 bytes in base64>:.`);
  }
  return Buffer.from(base64, "base64").toString("hex");
}

/** Refuses a compressed body, which would be stored without being decompressed. */
export function refuseEncoded(request: FastifyRequest): void {
  const encoding = request.headers["content-encoding"];
  if (encoding !== undefined && encoding.toLowerCase() !== "identity") {
    throw invalid(`Content-Encoding '${encoding.slice(0, 40)}' is not supported: send the file uncompressed.`);
  }
}
