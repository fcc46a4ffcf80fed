import { createHash, randomBytes, timingSafeEqual } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { FastifyRequest } from "fastify";

/** The minimum length of the owner's token, so that it cannot be guessed. */
const MIN_LENGTH = 24;

/**
 * Returns the owner's token of a data folder, creating it if needed. It stays the same after a restart, so that open pages
 * and bookmarks keep working. ANNEAL_ADMIN_TOKEN sets it, for several processes that share it.
 * @throws if ANNEAL_ADMIN_TOKEN is too short
 */
export function loadToken(dataDir: string): string {
  const set = process.env.ANNEAL_ADMIN_TOKEN;
  if (set && set.length < MIN_LENGTH) {
    throw new Error(
      `ANNEAL_ADMIN_TOKEN must have at least ${MIN_LENGTH} characters. Create one with \`openssl rand -hex 24\`.`,
    );
  }
  if (set) return set;
  const path = join(dataDir, "token");
  const stored = existsSync(path) ? readFileSync(path, "utf8").trim() : "";
  if (stored !== "") return stored; // A full disk may leave an empty file, and an empty token would accept every request.
  const token = randomBytes(24).toString("hex");
  mkdirSync(dataDir, { recursive: true });
  writeFileSync(path, token, { mode: 0o600 });
  return token;
}

/** Returns a new token of a user. Its prefix lets people and secret scanners recognize a leaked token. */
export const newToken = (): string => `anneal_${randomBytes(32).toString("base64url")}`;

/** Returns the hash that is stored of a token. A token has 256 random bits, so a plain digest cannot be reversed. */
export const hashOf = (token: string): string => createHash("sha256").update(token).digest("hex");

/** Compares two strings in constant time. */
export function same(a: string, b: string): boolean {
  const [left, right] = [Buffer.from(a), Buffer.from(b)];
  return left.length === right.length && timingSafeEqual(left, right);
}

/** Returns the token of an Authorization header: Bearer, Jupyter's `token`, or the password of Basic. */
export function shownToken({ headers: { authorization = "" } }: FastifyRequest): string | undefined {
  const [scheme = "", value = ""] = authorization.split(/\s+/, 2);
  if (/^(?:token|bearer)$/i.test(scheme)) return value;
  if (!/^basic$/i.test(scheme)) return undefined;
  const pair = Buffer.from(value, "base64").toString();
  return pair.slice(pair.indexOf(":") + 1);
}
