import { accessSync, constants, mkdirSync, statSync } from "node:fs";
import { join, resolve } from "node:path";
import websocket from "@fastify/websocket";
import { type FastifyError, fastify } from "fastify";
import { guard, loadToken, type OidcOptions, openTracker, trackerPlugin } from "../tracker/index.ts";
import { channelRoutes } from "./channels.ts";
import { contentsRoutes } from "./contents.ts";
import { HttpError, UsageError } from "./errors.ts";
import { KernelManager } from "./kernels.ts";
import { labRoutes } from "./lab.ts";
import { announceStudio, findRunningStudio, lockStart } from "./running-studio.ts";
import { Notary } from "./trust.ts";
import { subprotocol } from "./wire.ts";

/** How to run the studio. */
export interface StudioOptions {
  /** Folder shown in the file browser. */
  root: string;
  /** Folder for everything that is kept: runs, artifacts, settings. */
  dataDir: string;
  host: string;
  /** 0 takes a free one. */
  port: number;
  /** Leave out the notebook's part: tracker only. */
  trackerOnly?: boolean;
  /** The tracker's database, where it is not in the data folder: see {@link openTracker}. */
  store?: string;
  /** Where its files go, where that is not in the data folder. */
  artifacts?: string;
  /** False lets everyone in who reaches it: a tracker alone only. */
  auth?: boolean;
  /** Requests a minute that one user's token may make. */
  rateLimit?: number;
  /** How people sign in, beside tokens. */
  oidc?: OidcOptions;
}

/** A running studio. */
export interface Studio {
  /** Without token and trailing slash. */
  url: string;
  /** Empty where everyone is let in. */
  token: string;
  close(): Promise<void>;
}

/**
 * Start JupyterLab, the Jupyter Server API and the tracker on one port.
 * @throws UsageError when the port is taken, or when a studio runs on the data folder already
 */
export async function startStudio(options: StudioOptions): Promise<Studio> {
  const data = resolve(options.dataDir);
  checkFolders(resolve(options.root), data);
  const release = lockStart(data);
  try {
    return await start({ ...options, dataDir: data });
  } finally {
    release();
  }
}

async function start({ root, dataDir: data, host, port, ...options }: StudioOptions): Promise<Studio> {
  const { trackerOnly = false, store, artifacts, auth = true, rateLimit, oidc } = options;
  const other = await findRunningStudio(data);
  if (other) {
    const [what, page] = other.trackerOnly ? ["tracker", "tracker/"] : ["studio", "lab"];
    throw new UsageError(
      `A ${what} already runs on ${data}: ${other.url}/${page}?token=${other.token} (process ${other.pid}). Open that one, or choose another folder with --data.`,
    );
  }
  const token = auth ? tokenOf(data) : "";
  const tracker = await openTracker({
    dataDir: data,
    ...(store ? { store } : {}),
    ...(artifacts ? { artifacts } : {}),
  }).catch(asUsage);
  const app = fastify({
    bodyLimit: 256 * 2 ** 20,
    forceCloseConnections: true,
    // A proxy on this machine or network says whom it speaks for.
    trustProxy: ["loopback", "uniquelocal"],
    routerOptions: { maxParamLength: 4096 },
  });
  app.setErrorHandler((error: FastifyError, _, reply) => {
    const status = error.statusCode ?? statusOfSystemError(error.code) ?? 500;
    if (status >= 500) process.stderr.write(`${error.stack ?? error.message}\n`);
    return reply.code(status).send({ message: error.message, reason: null });
  });
  await guard(app, {
    token: auth ? token : undefined,
    host,
    access: tracker.store.access,
    ...(rateLimit === undefined ? {} : { rateLimit }),
    ...(oidc ? { oidc } : {}),
  }).catch(asUsage);
  await app.register(websocket, {
    options: {
      maxPayload: 256 * 2 ** 20,
      handleProtocols: (offered: Set<string>) => (offered.has(subprotocol) ? subprotocol : false),
    },
  });
  await app.register(trackerPlugin, { tracker });
  const manager = new KernelManager(root, { ANNEAL_DATA: data });
  if (!trackerOnly) {
    await app.register(async (scope) => {
      // A cell can do whatever its owner can: a user of the tracker, whatever their role, is none.
      scope.addHook("onRequest", async ({ principal }) => {
        if (!principal?.owner) throw new HttpError(403, "Notebooks open with the studio's own token only.");
      });
      // Jupyter's clients send JSON under any content type, and nothing at all under JSON's.
      scope.removeAllContentTypeParsers();
      scope.addContentTypeParser("*", { parseAs: "string" }, async (_: unknown, body: string) => {
        if (body === "") return {};
        try {
          return JSON.parse(body);
        } catch {
          throw new HttpError(400, "The request's body is no JSON.");
        }
      });
      contentsRoutes(scope, resolve(root), new Notary(join(data, "lab", "trusted")));
      await labRoutes(scope, data);
      manager.routes(scope);
      channelRoutes(scope, manager);
      serverRoutes(scope, () => manager.activity());
    });
  }
  try {
    await app.listen({ host, port });
  } catch (error) {
    await app.close();
    await tracker.close();
    throw explainListen(error as NodeJS.ErrnoException, host, port);
  }
  const address = app.server.address();
  const bound = typeof address === "object" && address ? address.port : port;
  const url = `http://${host === "0.0.0.0" || host === "::" ? "127.0.0.1" : host.includes(":") ? `[${host}]` : host}:${bound}`;
  const moveOut = announceStudio(data, { url, token, pid: process.pid, trackerOnly });
  return {
    url,
    token,
    close: async () => {
      moveOut();
      await manager.shutdownAll();
      await app.close();
      await tracker.close();
    },
  };
}

function tokenOf(data: string): string {
  try {
    return loadToken(data);
  } catch (error) {
    return asUsage(error);
  }
}

/** What keeps a tracker from opening (its database, its identity provider) is for people to put right: the message is enough. */
function asUsage(error: unknown): never {
  throw new UsageError(error instanceof Error ? error.message : String(error), { cause: error });
}

function checkFolders(root: string, data: string): void {
  if (!statSync(root, { throwIfNoEntry: false })?.isDirectory()) {
    throw new UsageError(`There is no folder ${root} to show. Choose one with --root.`);
  }
  try {
    mkdirSync(data, { recursive: true });
    accessSync(data, constants.W_OK | constants.X_OK);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    const why = { EEXIST: "it is a file", ENOTDIR: "a part of its path is a file", ENOSPC: "the disk is full" };
    throw new UsageError(
      `${data} cannot be the data folder: ${why[code as keyof typeof why] ?? (error as Error).message}. Choose another with --data.`,
    );
  }
}

/** What the file system says of a path that a page asked for, as a status; undefined for anything else. */
function statusOfSystemError(code: string): number | undefined {
  const statuses: Record<string, number> = {
    ENOENT: 404,
    ENOTDIR: 404,
    EISDIR: 400,
    ENAMETOOLONG: 400,
    EACCES: 403,
    EPERM: 403,
    EROFS: 403,
    EEXIST: 409,
    ENOTEMPTY: 409,
    ENOSPC: 507,
  };
  return statuses[code];
}

function explainListen(error: NodeJS.ErrnoException, host: string, port: number): Error {
  if (error.code === "EADDRINUSE") {
    return new UsageError(
      `Port ${port} is in use by another program. Choose another with --port, or --port 0 for any free one.`,
    );
  }
  if (error.code === "EACCES")
    return new UsageError(`Port ${port} may not be used by this user. Choose one above 1023.`);
  if (error.code === "EADDRNOTAVAIL" || error.code === "ENOTFOUND") {
    return new UsageError(`This machine has no address ${host}. Use --host 127.0.0.1, or 0.0.0.0 for all.`);
  }
  return error;
}

/** What JupyterLab asks the server about itself. */
function serverRoutes(app: import("fastify").FastifyInstance, activity: KernelManager["activity"]): void {
  const started = new Date().toISOString();
  app.get("/api", () => ({ version: "2.14.0" }));
  app.get("/api/status", () => ({ started, ...activity() }));
  app.get("/api/me", () => {
    const name = process.env.USER ?? "user";
    const identity = {
      username: name,
      name,
      display_name: name,
      initials: name.slice(0, 1).toUpperCase(),
      color: null,
    };
    return { identity, permissions: {} };
  });
  app.get("/api/terminals", () => []);
  app.get("/api/config/:section", () => ({}));
  app.get("/api/nbconvert", () => ({}));
  app.get("/lsp/status", () => ({ version: 2, sessions: {}, specs: {} }));
}
