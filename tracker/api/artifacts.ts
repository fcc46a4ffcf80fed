import { Readable } from "node:stream";
import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import { actingAs, Principal } from "../access/principal.ts";
import type { ArtifactInfo, Artifacts } from "../artifacts/artifacts.ts";
import { join, locate } from "../artifacts/locations.ts";
import { mediaType } from "../artifacts/paths.ts";
import { invalid, missing } from "../errors.ts";
import type { Tracker } from "../tracker.ts";
import { contentDigest, refuseEncoded } from "./digest.ts";
import * as endpoints from "./endpoints/artifacts.ts";
import type { FileInfo } from "./endpoints/schemas.ts";
import { route } from "./route.ts";
import { runIdOf } from "./runs.ts";

/** Parses a Range header with a single range, as a resumed download sends it. */
function rangeOf(request: FastifyRequest, size: number): { start: number; end: number } | "none" | "impossible" {
  const match = /^bytes=(\d*)-(\d*)$/.exec(request.headers.range ?? "");
  if (!match || (match[1] === "" && match[2] === "")) return "none";
  const start = match[1] === "" ? Math.max(0, size - Number(match[2])) : Number(match[1]);
  const end = match[1] === "" || match[2] === "" ? size - 1 : Math.min(Number(match[2]), size - 1);
  return start > end || start >= size ? "impossible" : { start, end };
}

/**
 * Sends a file, always as a download that the browser does not render: an uploaded file must not run as a page of the
 * tracker.
 */
async function sendArtifact(
  { artifacts }: Tracker,
  path: string,
  request: FastifyRequest,
  reply: FastifyReply,
): Promise<FastifyReply> {
  const file = await artifacts.get(path);
  const range = rangeOf(request, file.size);
  const name = path.slice(path.lastIndexOf("/") + 1);
  reply
    .header("content-type", mediaType(path))
    .header("content-disposition", `attachment; filename*=UTF-8''${encodeURIComponent(name)}`)
    .header("x-content-type-options", "nosniff")
    .header("content-security-policy", "sandbox; default-src 'none'")
    .header("cache-control", "private, no-cache")
    .header("accept-ranges", "bytes");
  if (file.sha256) reply.header("etag", `"${file.sha256}"`);
  if (range === "impossible") return reply.code(416).header("content-range", `bytes */${file.size}`).send("");
  if (range === "none") return reply.header("content-length", file.size).send(await file.open());
  return reply
    .code(206)
    .header("content-range", `bytes ${range.start}-${range.end}/${file.size}`)
    .header("content-length", range.end - range.start + 1)
    .send(await file.open(range));
}

/** Converts the store's entries to MLflow's list of files; an empty list is omitted. */
function filesFrom(folder: string, entries: readonly ArtifactInfo[]): { files?: FileInfo[] } {
  const prefix = folder === "" ? 0 : folder.length + 1;
  const files = entries.map(({ path, isDir, size }) => ({
    path: path.slice(prefix),
    is_dir: isDir,
    ...(size === undefined ? {} : { file_size: size }),
  }));
  return files.length > 0 ? { files } : {};
}

/** Stores a request's body as a file, after checking its declared length and digest. */
async function receive(
  artifacts: Artifacts,
  path: string,
  request: FastifyRequest,
): Promise<{ size: number; sha256: string }> {
  refuseEncoded(request);
  const content = request.body instanceof Readable ? request.body : Readable.from([]);
  const sha256 = contentDigest(request);
  const length = request.headers["content-length"];
  return artifacts.put(path, content, {
    ...(length === undefined ? {} : { size: Number(length) }),
    ...(sha256 === undefined ? {} : { sha256: sha256 }),
  });
}

/** Routes for artifacts of a run or logged model, under /api/2.0/mlflow and /ajax-api/2.0/mlflow. */
export function artifactRoutes(app: FastifyInstance, tracker: Tracker): void {
  const { store, artifacts } = tracker;
  /** Lists a folder under an artifact URI, with paths relative to that URI. */
  const listing = async (root_uri: string, path: string | undefined) => {
    const root = locate(root_uri);
    return { root_uri, ...filesFrom(root, await artifacts.list(join(root, path))) };
  };

  route(app, endpoints.listArtifacts, async (message) => {
    const { artifactUri } = await store.runs.get(runIdOf(message));
    return listing(artifactUri, message.path);
  });

  route(app, endpoints.listModelFiles, async (message) => {
    const { artifactUri } = await store.loggedModels.get(message.model_id);
    return listing(artifactUri, message.artifact_directory_path);
  });

  route(app, endpoints.getModelFile, async (message, request, reply) => {
    const { artifactUri } = await store.loggedModels.get(message.model_id);
    return sendArtifact(tracker, join(locate(artifactUri), message.artifact_file_path), request, reply);
  });
}

/** The upload route of MLflow's own pages. Register it in a scope that does not parse bodies. */
export function uploadArtifactRoute(app: FastifyInstance, { store, artifacts }: Tracker): void {
  route(
    app,
    endpoints.uploadRunFile,
    async ({ run_uuid, path }, request) => {
      const run = await store.runs.get(run_uuid);
      await receive(artifacts, join(locate(run.artifactUri), path), request);
      return {};
    },
    { bodyLimit: Number.MAX_SAFE_INTEGER },
  );
}

/** `/get-artifact` and `/model-versions/get-artifact`, which send a file's bytes. */
export function downloadRoutes(app: FastifyInstance, tracker: Tracker): void {
  const { store } = tracker;

  route(app, endpoints.getRunFile, async (message, request, reply) => {
    const run = await store.runs.get(runIdOf(message));
    return sendArtifact(tracker, join(locate(run.artifactUri), message.path), request, reply);
  });

  route(app, endpoints.getVersionFile, async ({ name, version, path }, request, reply) => {
    if (!/^\d{1,9}$/.test(version)) throw invalid(`Invalid value '${version}' for parameter 'version'.`);
    const { root } = await store.registry.getVersion(name, Number(version));
    const within = join("", path);
    const files = await store.registry.files(name, Number(version), within);
    // Only what was recorded when the version was registered: its source is not followed again.
    if (root === null || files.length === 0) {
      const where = root === null ? "its files are not stored by this tracker" : `it has no file '${within}'`;
      throw missing(`No such file of version ${version} of ${name}: ${where}.`);
    }
    // A user who may read the model may read its files in any experiment: registering them required that right.
    const reader = new Principal({ name: request.principal?.name ?? "", role: "viewer" });
    return actingAs(reader, () => sendArtifact(tracker, join(root, within), request, reply));
  });
}

/**
 * The artifact proxy under /api/2.0/mlflow-artifacts: uploads and downloads by path, as streams.
 * Register it in a scope that does not parse bodies.
 */
export function artifactProxy(app: FastifyInstance, tracker: Tracker): void {
  const { artifacts } = tracker;

  // Unlike in artifacts/list, paths are relative to the requested folder.
  route(app, endpoints.listByPath, async (message) => {
    const path = join("", message.path ?? "");
    return filesFrom(path, await artifacts.list(path));
  });

  const pathOf = ({ "*": path }: { "*": string }): string => {
    if (path === "") throw invalid("The artifact's path is missing: add it to the address.");
    return join("", path);
  };

  route(app, endpoints.getByPath, async (message, request, reply) =>
    sendArtifact(tracker, pathOf(message), request, reply),
  );

  route(
    app,
    endpoints.putByPath,
    async (message, request, reply) => {
      const { sha256 } = await receive(artifacts, pathOf(message), request);
      reply.header("etag", `"${sha256}"`);
      return {};
    },
    { bodyLimit: Number.MAX_SAFE_INTEGER },
  );

  route(app, endpoints.deleteByPath, async (message) => {
    await artifacts.remove(pathOf(message));
    return {};
  });
}
