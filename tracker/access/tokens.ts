import { createHash, randomBytes, timingSafeEqual } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { FastifyRequest } from "fastify";

/** Shorter ones could be guessed. */
const SHORTEST = 24;

/**
 * The secret that opens everything on a data folder. It stays the same over restarts, so that open pages and
 * bookmarks go on working. ANNEAL_ADMIN_TOKEN sets it, for several processes that are to have the same.
 * @throws when that is too short to be a secret
 */
export function loadToken(dataDir: string): string {
  const set = process.env.ANNEAL_ADMIN_TOKEN;
  if (set && set.length < SHORTEST) {
    throw new Error(
      `ANNEAL_ADMIN_TOKEN must have ${SHORTEST} characters or more, such as \`openssl rand -hex 24\` prints.`,
    );
  }
  if (set) return set;
  const path = join(dataDir, "token");
  const kept = existsSync(path) ? readFileSync(path, "utf8").trim() : "";
  if (kept !== "") return kept; // An empty file, as a full disk leaves one, is no token: it would let everyone in.
  const token = randomBytes(24).toString("hex");
  mkdirSync(dataDir, { recursive: true });
  writeFileSync(path, token, { mode: 0o600 });
  return token;
}

/** A new token of a user; it begins with what it is, so that people and scanners know it where it leaks. */
export const newToken = (): string => `anneal_${randomBytes(32).toString("base64url")}`;

/** What is kept of a token. It has 256 random bits, so a plain digest cannot be turned back by trying. */
export const hashOf = (token: string): string => createHash("sha256").update(token).digest("hex");

/** Compared in a time that does not tell where the two differ. */
export function same(a: string, b: string): boolean {
  const [left, right] = [Buffer.from(a), Buffer.from(b)];
  return left.length === right.length && timingSafeEqual(left, right);
}

/** The token that an Authorization header shows: as Bearer, as Jupyter's `token`, or as the password of Basic. */
export function shownToken({ headers: { authorization = "" } }: FastifyRequest): string | undefined {
  const [scheme = "", value = ""] = authorization.split(/\s+/, 2);
  if (/^(?:token|bearer)$/i.test(scheme)) return value;
  if (!/^basic$/i.test(scheme)) return undefined;
  const pair = Buffer.from(value, "base64").toString();
  return pair.slice(pair.indexOf(":") + 1);
}
