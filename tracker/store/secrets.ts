import { createCipheriv, createDecipheriv, createHash, randomBytes } from "node:crypto";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

/** Characters of a key that is set, so that it cannot be guessed. */
const MIN_LENGTH = 24;
const PREFIX = "sealed:1:";
const [NONCE, TAG] = [12, 16];

/**
 * Returns the key that encrypts webhooks' secrets: from the file `secrets.key` in the data folder, which is created if
 * needed, or from ANNEAL_SECRETS_KEY, for several processes that share a database.
 * @throws if ANNEAL_SECRETS_KEY is too short
 */
export function loadSecretsKey(dataDir: string): Buffer {
  const set = process.env.ANNEAL_SECRETS_KEY;
  if (set && set.length < MIN_LENGTH) {
    throw new Error(
      `ANNEAL_SECRETS_KEY must have at least ${MIN_LENGTH} characters. Create one with \`openssl rand -hex 24\`.`,
    );
  }
  const path = join(dataDir, "secrets.key");
  if (!set && !existsSync(path)) writeFileSync(path, randomBytes(32).toString("hex"), { mode: 0o600 });
  return createHash("sha256")
    .update(set || readFileSync(path, "utf8").trim())
    .digest();
}

/** Encrypts secrets for the database, with AES-256-GCM. */
export class Secrets {
  readonly #key: Buffer;

  constructor(key: Buffer) {
    this.#key = key;
  }

  static isSealed(text: string): boolean {
    return text.startsWith(PREFIX);
  }

  /** @param owner what the secret belongs to; it cannot be opened for another */
  seal(secret: string, owner: string): string {
    const nonce = randomBytes(NONCE);
    const cipher = createCipheriv("aes-256-gcm", this.#key, nonce).setAAD(Buffer.from(owner));
    const sealed = Buffer.concat([cipher.update(secret, "utf8"), cipher.final()]);
    return PREFIX + Buffer.concat([nonce, cipher.getAuthTag(), sealed]).toString("base64");
  }

  /** @throws if the key is another one, or the text was changed */
  open(text: string, owner: string): string {
    const bytes = Buffer.from(text.slice(PREFIX.length), "base64");
    try {
      const decipher = createDecipheriv("aes-256-gcm", this.#key, bytes.subarray(0, NONCE), { authTagLength: TAG })
        .setAAD(Buffer.from(owner))
        .setAuthTag(bytes.subarray(NONCE, NONCE + TAG));
      return Buffer.concat([decipher.update(bytes.subarray(NONCE + TAG)), decipher.final()]).toString("utf8");
    } catch {
      throw new Error(
        "the secret was encrypted with another key (secrets.key in the data folder, or ANNEAL_SECRETS_KEY): set the secret again",
      );
    }
  }
}
