import { createHash } from "node:crypto";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

/** A model on the server. */
export interface HubServerModel {
  files: Readonly<Record<string, string | Uint8Array>>;
  /** LFS files, with a SHA-256 and served from another path. Default: files with the extension .safetensors. */
  large?: readonly string[];
  /** The required bearer token. Default: public. */
  token?: string;
  /** The new name of a renamed model, to which all requests are redirected. */
  movedTo?: string;
  /** Respond with 403, as for a licence that is not accepted. */
  gated?: boolean;
  /** Number of bytes of a file after which the connection breaks once. */
  breakAt?: Record<string, number>;
  /** Replacements for the content of files. */
  damaged?: Record<string, string | Uint8Array>;
}

/** A server with the read API of the Hugging Face Hub. */
export interface HubServer {
  url: string;
  models: Map<string, HubServerModel>;
  /** Requests so far, as "GET /path" with the requested range. */
  requests: string[];
  commit: string;
  close(): Promise<void>;
}

const bytesOf = (content: string | Uint8Array) => Buffer.from(content as Uint8Array);

/** The digest that the hub reports for a file. */
export function hubEtag(content: string | Uint8Array, large: boolean): string {
  const bytes = bytesOf(content);
  if (large) return createHash("sha256").update(bytes).digest("hex");
  return createHash("sha1").update(`blob ${bytes.length}\0`).update(bytes).digest("hex");
}

/** Starts a server on a free port. */
export async function startHubServer(commit = "c0ffee".repeat(7).slice(0, 40)): Promise<HubServer> {
  const models = new Map<string, HubServerModel>();
  const requests: string[] = [];
  const server = createServer((request, response) => {
    const range = request.headers.range ? ` ${request.headers.range}` : "";
    requests.push(`${request.method} ${request.url}${range}`);
    serve(request, response, models, commit);
  });
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    models,
    requests,
    commit,
    close: () =>
      new Promise((done) => {
        server.closeAllConnections();
        server.close(() => done());
      }),
  };
}

function serve(
  request: IncomingMessage,
  response: ServerResponse,
  models: ReadonlyMap<string, HubServerModel>,
  commit: string,
): void {
  const refuse = (status: number, code?: string) =>
    response.writeHead(status, code ? { "x-error-code": code } : {}).end();
  const path = decodeURIComponent(new URL(request.url ?? "/", "http://hub").pathname);
  const api = /^\/api\/models\/(.+?)\/revision\/(.+)$/.exec(path);
  const file = /^\/(cdn\/)?(.+?\/.+?)\/resolve\/([^/]+)\/(.+)$/.exec(path);
  const model = models.get(api?.[1] ?? file?.[2] ?? "");
  // The hub does not reveal to anonymous users whether a model exists.
  if (!model) return void refuse(request.headers.authorization ? 404 : 401, "RepoNotFound");
  if (model.movedTo) {
    const from = api?.[1] ?? file?.[2] ?? "";
    return void response.writeHead(307, { location: (request.url ?? "").replace(from, model.movedTo) }).end();
  }
  const cdn = file?.[1] !== undefined;
  if (!cdn && model.token && request.headers.authorization !== `Bearer ${model.token}`) return void refuse(401);
  if (model.gated) return void refuse(403, "GatedRepo");
  const revision = api?.[2] ?? file?.[3];
  if (revision !== "main" && revision !== commit) return void refuse(404, "RevisionNotFound");
  if (api) {
    const siblings = Object.keys(model.files).map((rfilename) => ({ rfilename }));
    response
      .writeHead(200, { "content-type": "application/json" })
      .end(JSON.stringify({ id: api[1], sha: commit, siblings }));
    return;
  }
  const name = file?.[4] ?? "";
  if (!(name in model.files)) return void refuse(404, "EntryNotFound");
  const large = model.large ? model.large.includes(name) : name.endsWith(".safetensors");
  const etag = hubEtag(model.files[name], large);
  const facts = { "x-repo-commit": commit, etag: `"${etag}"` };
  if (large && !cdn) {
    const linked = { "x-linked-etag": `"${etag}"`, "x-linked-size": String(bytesOf(model.files[name]).length) };
    response
      .writeHead(302, {
        ...facts,
        etag: '"other"',
        ...linked,
        location: `http://${request.headers.host}/cdn${request.url}`,
      })
      .end();
    return;
  }
  send(request, response, model, name, facts);
}

function send(
  request: IncomingMessage,
  response: ServerResponse,
  model: HubServerModel,
  name: string,
  facts: Record<string, string>,
): void {
  const content = bytesOf(model.damaged?.[name] ?? model.files[name]);
  const from = Number(/^bytes=(\d+)-$/.exec(request.headers.range ?? "")?.[1] ?? 0);
  if (from > 0 && from >= content.length) return void response.writeHead(416).end();
  const range = from > 0 ? { "content-range": `bytes ${from}-${content.length - 1}/${content.length}` } : {};
  const part = content.subarray(from);
  response.writeHead(from > 0 ? 206 : 200, { ...facts, ...range, "content-length": part.length });
  if (request.method === "HEAD") return void response.end();
  const breakAt = model.breakAt?.[name];
  if (breakAt !== undefined && breakAt > from) {
    delete model.breakAt?.[name];
    response.write(part.subarray(0, breakAt - from), () => setTimeout(() => response.destroy(), 20));
    return;
  }
  response.end(part);
}
