import { Readable } from "node:stream";
import type { FastifyInstance } from "fastify";
import { need, subjectOf } from "../access/protect/checks.ts";
import { isSigned, PARTS, sign } from "../access/signature.ts";
import { join } from "../artifacts/locations.ts";
import { MAX_PART_BYTES, MAX_PARTS } from "../artifacts/uploads.ts";
import { invalid, missing, TrackerError } from "../errors.ts";
import { int } from "../message.ts";
import type { Tracker } from "../tracker.ts";
import { contentDigest, refuseEncoded } from "./digest.ts";
import * as endpoints from "./endpoints/multipart.ts";
import { route } from "./route.ts";

/*
 * Multipart uploads: the protocol of MLflow's client, and that of Anneal's client, which can resume an upload.
 * The address of a part is signed, because MLflow's client sends parts without a token.
 */

/** How long a part's address is valid: as long as an unfinished upload is stored. Seconds. */
const LIFETIME = 24 * 3600;

/** The size of a part of Anneal's client: few requests, and little to send again after an error. Bytes. */
const PART_BYTES = 16 * 1024 * 1024;

const signedText = (id: string, number: number, expires: number): string =>
  `PUT part ${number} of ${id} until ${expires}`;

/** Returns the signed path and query to send part `number` of an upload to. */
function partAddress(key: Buffer, id: string, number: number): string {
  const expires = Math.floor(Date.now() / 1000) + LIFETIME;
  return `${PARTS}/${id}/${number}?expires=${expires}&signature=${sign(key, signedText(id, number, expires))}`;
}

/** Receives parts. Register it in a scope that does not parse bodies. */
export function partRoutes(app: FastifyInstance, { artifacts, signingKey }: Tracker): void {
  route(
    app,
    endpoints.putPart,
    async (message, request, reply) => {
      const { id, expires = "", signature = "" } = message;
      const number = Number(message.number);
      if (!isSigned(signingKey, signedText(id, number, Number(expires)), signature)) {
        throw new TrackerError(
          "PERMISSION_DENIED",
          "The address of this part has an invalid signature: use the address that the tracker returned.",
        );
      }
      if (Number(expires) * 1000 < Date.now()) {
        throw new TrackerError(
          "PERMISSION_DENIED",
          "The address of this part has expired. Request the upload again to get a new address.",
        );
      }
      refuseEncoded(request);
      const length = request.headers["content-length"];
      if (length === undefined) throw invalid("The part has no Content-Length header: send one.");
      const size = Number(length);
      if (size > MAX_PART_BYTES)
        throw invalid(`The part of ${size} bytes is too large: at most ${MAX_PART_BYTES} bytes are allowed.`);
      const content = request.body instanceof Readable ? request.body : Readable.from([]);
      const sha256 = contentDigest(request);
      const part = await artifacts.uploads.putPart(id, number, content, { size, ...(sha256 ? { sha256 } : {}) });
      reply.header("etag", `"${part.etag}"`);
      return {};
    },
    { bodyLimit: Number.MAX_SAFE_INTEGER },
  );
}

/** MLflow's protocol, under /api/2.0/mlflow-artifacts: the address has the folder, and `path` is the file's path at the client. */
export function multipartRoutes(app: FastifyInstance, { artifacts: { uploads }, signingKey }: Tracker): void {
  const target = (message: { "*"?: string; path: string }): string => {
    const name = message.path.split(/[/\\]/).at(-1) ?? "";
    if (name === "") throw invalid(`Invalid path '${message.path.slice(0, 200)}': it must end with a file name.`);
    return join(message["*"]?.replace(/\/+$/, "") ?? "", name);
  };
  /** Returns the id of the request's upload, after checking that it belongs to the request's path. */
  const uploadOf = async (message: { "*"?: string; path: string; upload_id: string }): Promise<string> => {
    const path = target(message);
    if ((await uploads.pathOf(message.upload_id)) !== path) {
      throw missing(`No upload '${message.upload_id}' to '${path}' exists.`);
    }
    return message.upload_id;
  };

  route(app, endpoints.createMultipart, async (message, request) => {
    const count = int(message.num_parts ?? 1, "num_parts");
    if (count < 1 || count > MAX_PARTS) {
      throw invalid(`Invalid value ${count} for parameter 'num_parts': expected 1 to ${MAX_PARTS}.`);
    }
    const upload_id = await uploads.begin(target(message));
    const credentials = Array.from({ length: count }, (_, index) => ({
      // The protocol and host that the client used, also behind a trusted proxy.
      url: `${request.protocol}://${request.host}${partAddress(signingKey, upload_id, index + 1)}`,
      part_number: index + 1,
      headers: {},
    }));
    return { upload_id, credentials };
  });

  route(app, endpoints.completeMultipart, async (message) => {
    const parts = message.parts.map(({ part_number, etag = "" }) => ({
      number: int(part_number, "part_number"),
      etag: etag.replace(/^"(.*)"$/, "$1"),
    }));
    await uploads.complete(await uploadOf(message), parts);
    return {};
  });

  route(app, endpoints.abortMultipart, async (message) => {
    await uploads.abort(await uploadOf(message));
    return {};
  });
}

/** The protocol of Anneal's client, under /api/anneal. */
export function uploadRoutes(app: FastifyInstance, { artifacts, store, signingKey }: Tracker): void {
  const { uploads } = artifacts;

  /** Starts an upload, or resumes one of the same file to the same path. */
  route(app, endpoints.beginUpload, async (message) => {
    const path = join("", message.path);
    const size = int(message.size, "size");
    if (size < 1 || size > MAX_PARTS * MAX_PART_BYTES) throw invalid(`Invalid value ${size} for parameter 'size'.`);
    // Only a user who may write the file may learn that it exists.
    need("editor", subjectOf(path));
    const there = await store.artifacts.find(path);
    // The upload was completed, but the client did not receive the response.
    if (there?.sha256 === message.sha256 && (await artifacts.get(path).catch(() => undefined))?.size === size) {
      return { stored: true as const };
    }
    const part_size = Math.max(PART_BYTES, Math.ceil(size / MAX_PARTS / PART_BYTES) * PART_BYTES);
    const upload_id = await uploads.begin(path, `${message.sha256} ${size} ${part_size}`);
    const have = new Map((await uploads.parts(upload_id)).map((part) => [part.number, part]));
    const parts = Array.from({ length: Math.ceil(size / part_size) }, (_, index) => {
      const number = index + 1;
      const bytes = Math.min(part_size, size - index * part_size);
      const part = have.get(number);
      return part?.size === bytes
        ? { part_number: number, etag: part.etag }
        : { part_number: number, url: partAddress(signingKey, upload_id, number) };
    });
    return { stored: false as const, upload_id, part_size, parts };
  });

  route(app, endpoints.completeUpload, async (message) => {
    const parts = message.parts.map(({ part_number, etag }) => ({ number: int(part_number, "part_number"), etag }));
    await uploads.complete(message.upload_id, parts, { size: int(message.size, "size"), sha256: message.sha256 });
    return {};
  });

  route(app, endpoints.abortUpload, async ({ upload_id }) => {
    await uploads.abort(upload_id);
    return {};
  });
}
