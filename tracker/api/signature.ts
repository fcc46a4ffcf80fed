import { createHmac, randomBytes, timingSafeEqual } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

/**
 * The key that a data folder's tracker signs with: what it hands out stays good when it is started anew. Trackers that
 * stand for one another need the same: ANNEAL_SIGNING_KEY, 32 bytes in hex.
 * @returns 32 bytes, made where there are none
 */
export function loadSigningKey(dataDir: string): Buffer {
  const given = process.env.ANNEAL_SIGNING_KEY;
  if (given) {
    if (!/^[0-9a-f]{64}$/i.test(given)) throw new Error("ANNEAL_SIGNING_KEY holds no key of 32 bytes in hex.");
    return Buffer.from(given, "hex");
  }
  const file = join(dataDir, "signing.key");
  try {
    writeFileSync(file, randomBytes(32).toString("hex"), { flag: "wx", mode: 0o600 });
  } catch (error) {
    if (!(error instanceof Error && "code" in error && error.code === "EEXIST")) throw error;
  }
  const key = Buffer.from(readFileSync(file, "utf8").trim(), "hex");
  if (key.length !== 32)
    throw new Error(`${file} holds no key of 32 bytes in hex. Take it away to have a new one made.`);
  return key;
}

/** A text's signature, in hex. */
export const sign = (key: Buffer, text: string): string => createHmac("sha256", key).update(text).digest("hex");

/** Whether a signature is a text's, in a time that does not tell where it differs. */
export function isSigned(key: Buffer, text: string, signature: string): boolean {
  const [expected, given] = [Buffer.from(sign(key, text)), Buffer.from(signature)];
  return expected.length === given.length && timingSafeEqual(expected, given);
}
