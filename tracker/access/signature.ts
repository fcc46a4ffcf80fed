import { createHmac, timingSafeEqual } from "node:crypto";
import { loadToken } from "./tokens.ts";

/**
 * Returns the signing key of a data folder, which is derived from the folder's token. Signatures stay valid after a
 * restart, and trackers with the same token accept each other's.
 * @returns 32 bytes
 */
export const loadSigningKey = (dataDir: string): Buffer =>
  createHmac("sha256", loadToken(dataDir)).update("addresses that are handed out").digest();

/** Returns the signature of a text, in hex. */
export const sign = (key: Buffer, text: string): string => createHmac("sha256", key).update(text).digest("hex");

/** Checks the signature of a text, in constant time. */
export function isSigned(key: Buffer, text: string, signature: string): boolean {
  const [expected, actual] = [Buffer.from(sign(key, text)), Buffer.from(signature)];
  return expected.length === actual.length && timingSafeEqual(expected, actual);
}

/** The path for the parts of multipart uploads, whose addresses are signed. */
export const PARTS = "/api/anneal/artifacts/parts";

/**
 * Whether a request has a signed address, and so needs no token. The route checks the signature.
 * @param url path and query
 */
export const carriesSignature = (method: string, url: string): boolean =>
  method === "PUT" && url.startsWith(`${PARTS}/`);
