import { createHmac, timingSafeEqual } from "node:crypto";
import { loadToken } from "./tokens.ts";

/**
 * The key that a data folder's tracker signs with. It comes from the folder's token: what is handed out stays good when the
 * tracker is started anew, and trackers that stand for one another, with the same token, take each other's.
 * @returns 32 bytes
 */
export const loadSigningKey = (dataDir: string): Buffer =>
  createHmac("sha256", loadToken(dataDir)).update("addresses that are handed out").digest();

/** A text's signature, in hex. */
export const sign = (key: Buffer, text: string): string => createHmac("sha256", key).update(text).digest("hex");

/** Whether a signature is a text's, in a time that does not tell where it differs. */
export function isSigned(key: Buffer, text: string, signature: string): boolean {
  const [expected, given] = [Buffer.from(sign(key, text)), Buffer.from(signature)];
  return expected.length === given.length && timingSafeEqual(expected, given);
}

/** Where the parts of large files go. Their addresses are signed. */
export const PARTS = "/api/anneal/artifacts/parts";

/**
 * Whether a request has a signature in its address. It is checked where the request is answered, so the request needs no
 * token.
 * @param url path and query
 */
export const carriesSignature = (method: string, url: string): boolean =>
  method === "PUT" && url.startsWith(`${PARTS}/`);
