import { randomUUID } from "node:crypto";
import { createReadStream, type Dirent, existsSync, statSync } from "node:fs";
import { cp, mkdir, open, readdir, readFile, realpath, rename, rm, stat, writeFile } from "node:fs/promises";
import { basename, dirname, extname, join, relative, resolve, sep } from "node:path";
import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import { HttpError } from "./errors.ts";
import { parseNotebook } from "./execute.ts";
import { notebookText, openedNotebook } from "./notebook-file.ts";
import type { Notary } from "./trust.ts";

/** A file, notebook or folder in Jupyter's contents API. */
interface ContentsModel {
  name: string;
  path: string;
  type: "file" | "notebook" | "directory";
  created: string;
  last_modified: string;
  mimetype: string | null;
  content: unknown;
  format: "json" | "text" | "base64" | null;
  writable: boolean;
  size: number | null;
}

interface SaveBody {
  type?: string;
  format?: string;
  content?: unknown;
  chunk?: number;
  ext?: string;
  copy_from?: string;
  path?: string;
}

const textTypes: Record<string, string> = {
  ".ts": "text/typescript",
  ".tsx": "text/typescript",
  ".js": "text/javascript",
  ".json": "application/json",
  ".jsonl": "application/x-ndjson",
  ".md": "text/markdown",
  ".html": "text/html",
  ".css": "text/css",
  ".csv": "text/csv",
  ".svg": "image/svg+xml",
  ".png": "image/png",
  ".jpg": "image/jpeg",
  ".pdf": "application/pdf",
};

const emptyNotebook = { cells: [], metadata: {}, nbformat: 4, nbformat_minor: 5 };

const checkpointFolder = ".ipynb_checkpoints";

/**
 * Jupyter's contents API for one folder, and its raw files under `/files/`. Paths cannot leave the folder, except through
 * symbolic links that the user has created.
 * @param notary stores which notebooks' outputs are trusted
 */
export function contentsRoutes(app: FastifyInstance, root: string, notary: Notary): void {
  const base = "/api/contents";
  const pathOf = (request: { params: unknown }) => decodePath((request.params as { "*"?: string })["*"] ?? "");

  type Answer = (path: string, request: FastifyRequest, reply: FastifyReply) => Promise<unknown>;
  const handler = (answer: Answer) => async (request: FastifyRequest, reply: FastifyReply) => {
    const path = pathOf(request);
    return answer(path, request, reply).catch((error) => {
      throw explain(error, path);
    });
  };

  for (const url of [base, `${base}/*`]) {
    app.get(
      url,
      handler(async (path, request) => {
        const { content = "1", type, format } = request.query as Record<string, string>;
        const checkpoint = checkpointOf(root, path);
        if (checkpoint) return listCheckpoints(root, checkpoint.file);
        const model = await describe(root, path, content !== "0", type, format);
        if (model.type !== "notebook" || model.content === null) return model;
        notary.mark(model.content);
        return { ...model, content: openedNotebook(model.content) };
      }),
    );
    app.post(
      url,
      handler(async (path, request, reply) => {
        const body = (request.body ?? {}) as SaveBody;
        const checkpoint = checkpointOf(root, path);
        if (!checkpoint) return reply.code(201).send(await create(root, path, body));
        const { file, id } = checkpoint;
        if (id === undefined) return reply.code(201).send(await createCheckpoint(root, file));
        await cp(checkpointPath(root, file), inside(root, file));
        return reply.code(204).send();
      }),
    );
    app.put(
      url,
      handler(async (path, request, reply) => {
        const existed = existsSync(inside(root, path));
        const body = (request.body ?? {}) as SaveBody;
        if (body.type === "notebook") notary.sign(body.content);
        const model = await save(root, path, body);
        return reply.code(existed ? 200 : 201).send(model);
      }),
    );
    app.patch(
      url,
      handler(async (path, request) => {
        const to = decodePath(((request.body ?? {}) as SaveBody).path ?? "");
        const [from, target] = [inside(root, path), inside(root, to)];
        if (!existsSync(from)) throw new HttpError(404, `There is no ${path}.`);
        if (existsSync(target)) throw new HttpError(409, `${to} already exists.`);
        await mkdir(dirname(target), { recursive: true });
        await rename(from, target);
        return describe(root, to, false);
      }),
    );
    app.delete(
      url,
      handler(async (path, _, reply) => {
        const checkpoint = checkpointOf(root, path);
        const target = checkpoint ? checkpointPath(root, checkpoint.file) : inside(root, path);
        if (target === resolve(root)) throw new HttpError(400, "The studio's root folder cannot be deleted.");
        await rm(target, { recursive: true });
        return reply.code(204).send();
      }),
    );
  }

  app.get(
    "/files/*",
    handler(async (path, request, reply) => {
      const target = inside(root, path);
      const facts = await stat(target);
      if (!facts.isFile()) throw new HttpError(400, `${path} is not a file.`);
      const download = (request.query as { download?: string }).download !== undefined;
      const name = encodeURIComponent(basename(target));
      return reply
        .headers({
          "content-type": textTypes[extname(path).toLowerCase()] ?? "application/octet-stream",
          "content-length": facts.size,
          "last-modified": facts.mtime.toUTCString(),
          // An HTML file of the user must not act with the user's rights.
          "content-security-policy": "sandbox allow-scripts",
          "x-content-type-options": "nosniff",
          ...(download ? { "content-disposition": `attachment; filename*=UTF-8''${name}` } : {}),
        })
        .send(createReadStream(target));
    }),
  );
}

/** Parses a path such as `a.ipynb/checkpoints/<id>`; a folder may also be named checkpoints. */
function checkpointOf(root: string, path: string): { file: string; id: string | undefined } | undefined {
  const match = /^(.+)\/checkpoints(?:\/([^/]+))?$/.exec(path);
  if (!match || statSync(inside(root, match[1]), { throwIfNoEntry: false })?.isDirectory()) return undefined;
  return { file: match[1], id: match[2] };
}

/** Converts an error of the file system to a response that names the file. */
function explain(error: NodeJS.ErrnoException, path: string): Error {
  switch (error.code) {
    case "ENOENT":
      return new HttpError(404, `There is no ${path}.`);
    case "ENOTDIR":
    case "EEXIST":
      return new HttpError(400, `A part of the path ${path} is a file, not a folder.`);
    case "EISDIR":
      return new HttpError(400, `${path} is a folder.`);
    case "EACCES":
    case "EPERM":
    case "EROFS":
      return new HttpError(403, `The studio has no permission for ${path}.`);
    case "ENAMETOOLONG":
      return new HttpError(400, `The name ${path} is too long.`);
    case "ENOSPC":
    case "EDQUOT":
      return new HttpError(507, `There is no space left on the disk for ${path}.`);
    default:
      return error;
  }
}

function decodePath(path: string): string {
  return path.replace(/^\/+|\/+$/g, "");
}

/** Resolves a path inside the root. */
function inside(root: string, path: string): string {
  const target = resolve(root, path);
  const within = relative(root, target);
  if (within.startsWith("..") || resolve(within) === within || path.includes("\0")) {
    throw new HttpError(404, `${path} is outside the studio's folder.`);
  }
  return target;
}

async function describe(
  root: string,
  path: string,
  withContent: boolean,
  type?: string,
  format?: string,
): Promise<ContentsModel> {
  const target = inside(root, path);
  const facts = await stat(target).catch(() => {
    throw new HttpError(404, `There is no ${path || "such folder"}.`);
  });
  const kind = facts.isDirectory() ? "directory" : type === "file" || !path.endsWith(".ipynb") ? "file" : "notebook";
  if (type === "directory" && kind !== "directory") throw new HttpError(400, `${path} is not a folder.`);
  const model: ContentsModel = {
    name: path === "" ? "" : basename(target),
    path,
    type: kind,
    created: facts.birthtime.toISOString(),
    last_modified: facts.mtime.toISOString(),
    mimetype: null,
    content: null,
    format: null,
    writable: true,
    size: kind === "directory" ? null : facts.size,
  };
  if (!withContent) return model;
  if (kind === "directory") return { ...model, content: await list(root, path), format: "json" };
  const bytes = await readFile(target);
  if (kind === "notebook") return { ...model, content: readNotebook(bytes.toString("utf8"), path), format: "json" };
  const text = format === "base64" ? undefined : asText(bytes);
  if (text === undefined && format === "text") throw new HttpError(400, `${path} is not UTF-8 text.`);
  const mimetype =
    textTypes[extname(path).toLowerCase()] ?? (text === undefined ? "application/octet-stream" : "text/plain");
  return text === undefined
    ? { ...model, content: bytes.toString("base64"), format: "base64", mimetype }
    : { ...model, content: text, format: "text", mimetype };
}

async function list(root: string, path: string): Promise<ContentsModel[]> {
  const entries: Dirent[] = await readdir(inside(root, path), { withFileTypes: true });
  const shown = entries.filter(({ name }) => !name.startsWith(".") && name !== "node_modules");
  // Entries that disappear between listing and stat are skipped.
  const models = await Promise.all(
    shown.map(({ name }) => describe(root, path === "" ? name : `${path}/${name}`, false).catch(() => undefined)),
  );
  return models.filter((model) => model !== undefined);
}

/** Parses a notebook's content; an empty file is a notebook without cells. */
function readNotebook(text: string, path: string): unknown {
  if (text.trim() === "") return emptyNotebook;
  try {
    return parseNotebook(text, path);
  } catch (error) {
    throw new HttpError(400, (error as Error).message);
  }
}

function asText(bytes: Buffer): string | undefined {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    return undefined;
  }
}

async function save(root: string, path: string, body: SaveBody): Promise<ContentsModel> {
  const target = inside(root, path);
  if (body.type === "directory") {
    await mkdir(target, { recursive: true });
    return describe(root, path, false);
  }
  await mkdir(dirname(target), { recursive: true });
  const bytes = body.type === "notebook" ? await encodeNotebook(body, path, target) : encode(body, path);
  if (body.chunk !== undefined && body.chunk !== 1) {
    await writeFile(target, bytes, { flag: "a" });
  } else if (body.chunk === 1) {
    await writeFile(target, bytes);
  } else {
    await replaceFile(target, bytes);
  }
  return describe(root, path, false);
}

async function encodeNotebook({ content }: SaveBody, path: string, target: string): Promise<Buffer> {
  checkContent(content, path);
  return Buffer.from(notebookText(content, await readFile(target, "utf8").catch(() => undefined)));
}

function checkContent(content: unknown, path: string): void {
  if (content !== undefined && content !== null) return;
  // An empty file is sent as "". Missing content is an error, which would otherwise erase the file.
  throw new HttpError(400, `There is no content to save as ${path}.`);
}

function encode({ content, format }: SaveBody, path: string): Buffer {
  checkContent(content, path);
  if (format === "base64") return Buffer.from(String(content), "base64");
  if (format === "json") return Buffer.from(JSON.stringify(content));
  if (typeof content !== "string") throw new HttpError(400, `The content of ${path} must be text.`);
  return Buffer.from(content);
}

/** Replaces a file atomically. */
async function replaceFile(path: string, bytes: Uint8Array): Promise<void> {
  const target = await realpath(path).catch(() => path); // Keeps symbolic links.
  const mode = (await stat(target).catch(() => undefined))?.mode;
  const partial = join(dirname(target), `.${basename(target)}.partial-${randomUUID()}`);
  try {
    const file = await open(partial, "wx", mode);
    try {
      await file.writeFile(bytes);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(partial, target);
  } catch (error) {
    await rm(partial, { force: true });
    throw error;
  }
}

async function create(root: string, folder: string, body: SaveBody): Promise<ContentsModel> {
  if (body.copy_from) {
    const from = decodePath(body.copy_from);
    if (!existsSync(inside(root, from))) throw new HttpError(404, `There is no ${from}.`);
    const ending = extname(from);
    const path = await freeName(root, folder, `${basename(from, ending)}-Copy`, ending);
    await cp(inside(root, from), inside(root, path), { recursive: true });
    return describe(root, path, false);
  }
  if (body.type === "directory") {
    const path = await freeName(root, folder, "Untitled Folder", "");
    await mkdir(inside(root, path), { recursive: true });
    return describe(root, path, false);
  }
  const ending = body.ext ?? (body.type === "notebook" ? ".ipynb" : ".txt");
  const path = await freeName(root, folder, body.type === "notebook" ? "Untitled" : "untitled", ending);
  const content = ending === ".ipynb" ? { type: "notebook", content: emptyNotebook } : { type: "file", content: "" };
  return save(root, path, content);
}

async function freeName(root: string, folder: string, stem: string, ending: string): Promise<string> {
  for (let i = 0; ; i++) {
    const name = `${stem}${i === 0 ? "" : i}${ending}`;
    const path = folder === "" ? name : `${folder}/${name}`;
    if (!existsSync(inside(root, path))) return path;
  }
}

function checkpointPath(root: string, path: string): string {
  const target = inside(root, path);
  return join(dirname(target), checkpointFolder, basename(target).split(sep).join("-"));
}

async function createCheckpoint(root: string, path: string) {
  const target = checkpointPath(root, path);
  await mkdir(dirname(target), { recursive: true });
  await cp(inside(root, path), target);
  return { id: "checkpoint", last_modified: (await stat(target)).mtime.toISOString() };
}

async function listCheckpoints(root: string, path: string) {
  const facts = await stat(checkpointPath(root, path)).catch(() => undefined);
  return facts ? [{ id: "checkpoint", last_modified: facts.mtime.toISOString() }] : [];
}
