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

/** Options of the studio. */
export interface StudioOptions {
  /** Root folder of the file browser. */
  root: string;
  /** Folder of all data: runs, artifacts, settings. */
  dataDir: string;
  host: string;
  /** Port; 0 for any free one. */
  port: number;
  /** Run only the tracker, without JupyterLab. */
  trackerOnly?: boolean;
  /** The tracker's database, if not in the data folder: see {@link openTracker}. */
  store?: string;
  /** Location of the tracker's artifacts, if not in the data folder. */
  artifacts?: string;
  /** Locations outside the tracker that users may record: see {@link openTracker}. */
  allowedLocations?: readonly string[];
  /** False disables authentication; only for a tracker without JupyterLab. */
  auth?: boolean;
  /** Requests per minute for each user's token. */
  rateLimit?: number;
  /** Sign-in by OpenID Connect, in addition to tokens. */
  oidc?: OidcOptions;
  /** Addresses and subnets of proxies whose X-Forwarded headers are believed; none by default. */
  trustedProxies?: string[];
  /** Whether the tracker's webhooks may be delivered to this machine and private networks. */
  allowPrivateWebhooks?: boolean;
}

/** A running studio. */
export interface Studio {
  /** URL without token and trailing slash. */
  url: string;
  /** Token; empty without authentication. */
  token: string;
  close(): Promise<void>;
}

/**
 * Starts JupyterLab, the Jupyter Server API and the tracker on one port.
 * @throws UsageError when the port is in use, or a studio is already running on the data folder
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
  const {
    trackerOnly = false,
    store,
    artifacts,
    allowedLocations,
    auth = true,
    rateLimit,
    oidc,
    trustedProxies,
    allowPrivateWebhooks,
  } = options;
  const other = await findRunningStudio(data);
  if (other) {
    const [what, page] = other.trackerOnly ? ["tracker", "tracker/"] : ["studio", "lab"];
    throw new UsageError(
      `A ${what} is already running on ${data}: ${other.url}/${page}?token=${other.token} (process ${other.pid}). Open that one, or choose another folder with --data.`,
    );
  }
  const token = auth ? tokenOf(data) : "";
  const tracker = await openTracker({
    dataDir: data,
    ...(store ? { store } : {}),
    ...(artifacts ? { artifacts } : {}),
    ...(allowPrivateWebhooks === undefined ? {} : { allowPrivateWebhooks }),
    ...(allowedLocations ? { allowedLocations } : {}),
  }).catch(asUsage);
  const app = fastify({
    bodyLimit: 256 * 2 ** 20,
    forceCloseConnections: true,
    trustProxy: trustedProxies ?? false,
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
  // A redirect keeps the fragment of an address such as /#/experiments/0, which the pages understand.
  if (trackerOnly) app.get("/", (_, reply) => reply.redirect("/tracker/"));
  else {
    await app.register(async (scope) => {
      // Cells run with the owner's rights, so users of the tracker have no access, whatever their role.
      scope.addHook("onRequest", async ({ principal }) => {
        if (!principal?.owner) throw new HttpError(403, "Notebooks can only be opened with the studio's own token.");
      });
      // Jupyter's clients send JSON with any content type, and an empty body with JSON's.
      scope.removeAllContentTypeParsers();
      scope.addContentTypeParser("*", { parseAs: "string" }, async (_: unknown, body: string) => {
        if (body === "") return {};
        try {
          return JSON.parse(body);
        } catch {
          throw new HttpError(400, "The request's body is not valid JSON.");
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

/** Converts an error on opening the tracker (database, identity provider) to one that is shown without a stack. */
function asUsage(error: unknown): never {
  throw new UsageError(error instanceof Error ? error.message : String(error), { cause: error });
}

function checkFolders(root: string, data: string): void {
  if (!statSync(root, { throwIfNoEntry: false })?.isDirectory()) {
    throw new UsageError(`There is no folder ${root}. Choose another with --root.`);
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

/** Returns the HTTP status for an error of the file system; undefined for other errors. */
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
  if (error.code === "EACCES") return new UsageError(`This user may not use port ${port}. Choose one above 1023.`);
  if (error.code === "EADDRNOTAVAIL" || error.code === "ENOTFOUND") {
    return new UsageError(`This machine has no address ${host}. Use --host 127.0.0.1, or 0.0.0.0 for all.`);
  }
  return error;
}

/** Routes with information about the server for JupyterLab. */
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
