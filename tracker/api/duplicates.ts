import { createHash, randomBytes } from "node:crypto";
import { Type } from "@sinclair/typebox";
import type { FastifyInstance } from "fastify";
import { join } from "../artifacts/locate.ts";
import { invalid } from "../errors.ts";
import type { Tracker } from "../tracker.ts";
import { endpoint, Int, int, parseMessage, Text } from "./message.ts";
import { isSigned, sign } from "./signature.ts";

/*
 * A file that is stored already need not be sent again. But whoever knows a file's SHA-256 does not thereby have the
 * file: hashes stand in logs, model cards and lockfiles. So a client is asked for bytes of it, at places that it cannot
 * foresee, and gets a copy only when it has them. That a file of a certain digest is stored somewhere here, any client
 * that may write can find out; of what is in it, nothing that it did not have.
 */

const RANGES = 32;
const RANGE_BYTES = 32 * 1024;

/** How long a client has to answer, in milliseconds. */
const PATIENCE = 600_000;

const Challenge = Type.Object({ path: Text, size: Type.Integer(), sha256: Text, nonce: Text, expires: Type.Integer() });

/**
 * The places that a nonce asks for: spread over the file at random, or all of a small one.
 * @returns offsets in bytes, each of `length` bytes
 */
export function askedRanges(nonce: string, size: number): { offset: number; length: number }[] {
  if (size <= RANGES * RANGE_BYTES) return [{ offset: 0, length: size }];
  return Array.from({ length: RANGES }, (_, index) => {
    const random = createHash("sha256").update(`${nonce} ${index}`).digest().readBigUInt64BE();
    return { offset: Number(random % BigInt(size - RANGE_BYTES + 1)), length: RANGE_BYTES };
  });
}

/** Files that the tracker has already, under /api/anneal. */
export function duplicateRoutes(app: FastifyInstance, { artifacts, store, signingKey }: Tracker): void {
  const signed = (payload: string): string => `challenge ${payload}`;

  endpoint(
    app,
    "POST",
    "/artifacts/challenges",
    Type.Object({
      path: Text,
      size: Int,
      sha256: Type.String({ pattern: "^[0-9a-f]{64}$", title: "a SHA-256 in hex" }),
    }),
    async (message) => {
      const size = int(message.size, "size");
      const path = join("", message.path);
      if (size < 1 || (await store.artifacts.withDigest(message.sha256, size)).length === 0) return {};
      const nonce = randomBytes(32).toString("hex");
      const challenge = { path, size, sha256: message.sha256, nonce, expires: Date.now() + PATIENCE };
      const payload = Buffer.from(JSON.stringify(challenge)).toString("base64url");
      return {
        challenge: `${payload}.${sign(signingKey, signed(payload))}`,
        nonce,
        ranges: askedRanges(nonce, size),
      };
    },
  );

  /** `proof`: SHA-256 of the nonce's text followed by the ranges' bytes, in hex. */
  endpoint(
    app,
    "POST",
    "/artifacts/copies",
    Type.Object({ challenge: Text, proof: Text }),
    async ({ challenge, proof }) => {
      const [payload = "", signature = ""] = challenge.split(".");
      if (!isSigned(signingKey, signed(payload), signature))
        throw invalid("The challenge is not one of this tracker's.");
      const asked: unknown = JSON.parse(Buffer.from(payload, "base64url").toString());
      const { path, size, sha256, nonce, expires } = parseMessage(Challenge, asked);
      if (expires < Date.now()) throw invalid("The challenge has expired. Ask for another.");
      for (const twin of await store.artifacts.withDigest(sha256, size)) {
        const expected = await proofOf(twin.path, nonce, size).catch(() => undefined);
        if (expected === undefined) continue;
        if (expected !== proof) throw invalid("The proof does not hold: upload the file.");
        if (twin.path === path || (await artifacts.copy(twin, path))) return { copied: true };
      }
      return { copied: false };
    },
  );

  const proofOf = async (path: string, nonce: string, size: number): Promise<string | undefined> => {
    const file = await artifacts.get(path);
    if (file.size !== size) return undefined;
    const hash = createHash("sha256").update(nonce);
    const chunks = await Promise.all(
      askedRanges(nonce, size).map(async ({ offset, length }) => {
        const parts: Buffer[] = [];
        for await (const part of await file.open({ start: offset, end: offset + length - 1 })) parts.push(part);
        return Buffer.concat(parts);
      }),
    );
    for (const chunk of chunks) hash.update(chunk);
    return hash.digest("hex");
  };
}
