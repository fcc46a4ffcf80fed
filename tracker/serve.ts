import { createHash, timingSafeEqual } from "node:crypto";
import type { AddressInfo } from "node:net";
import { isIP } from "node:net";
import fastifyCookie from "@fastify/cookie";
import Fastify, { type FastifyInstance, type FastifyRequest } from "fastify";
import { trackerPlugin } from "./api/plugin.ts";
import { openTracker } from "./tracker.ts";

export interface ServeOptions {
  /** Holds the database and the artifacts; made where it is missing. */
  dataDir: string;
  host: string;
  /** 0 lets the system choose. */
  port: number;
  /** What a client must show: as a Bearer token, as the password of Basic authentication, or once as ?token=. */
  token?: string;
}

export interface ServedTracker {
  /** Where it answers, such as http://127.0.0.1:5000. */
  url: string;
  close(): Promise<void>;
}

const COOKIE = "anneal_tracker_token";

/** Compared as digests, so that neither length nor place of a difference shows in the time it takes. */
function same(a: string, b: string): boolean {
  const digest = (text: string): Buffer => createHash("sha256").update(text).digest();
  return timingSafeEqual(digest(a), digest(b));
}

/** The token that a request shows, in whichever way. */
function shownToken(request: FastifyRequest): string | undefined {
  const [scheme = "", value = ""] = (request.headers.authorization ?? "").split(/\s+/, 2);
  if (scheme.toLowerCase() === "bearer") return value;
  if (scheme.toLowerCase() === "basic") {
    const pair = Buffer.from(value, "base64").toString();
    return pair.slice(pair.indexOf(":") + 1);
  }
  const { token } = request.query as { token?: unknown };
  return typeof token === "string" ? token : request.cookies[COOKIE];
}

const nameOf = (host: string): string =>
  host
    .replace(/:\d+$/, "")
    .replace(/^\[(.*)\]$/, "$1")
    .toLowerCase();
const isLoopback = (name: string): boolean => name === "localhost" || name === "::1" || name.startsWith("127.");

/** Requires the token where there is one, and keeps other sites' pages from using the visitor's access. */
function guard(app: FastifyInstance, { token, host }: ServeOptions): void {
  app.addHook("onRequest", async (request, reply) => {
    const deny = (status: 401 | 403, message: string) =>
      reply
        .code(status)
        .headers(status === 401 ? { "www-authenticate": "Bearer" } : {})
        .send({ error_code: status === 401 ? "UNAUTHENTICATED" : "PERMISSION_DENIED", message });
    const { origin, host: called = "" } = request.headers;
    if (origin !== undefined && origin !== `http://${called}` && origin !== `https://${called}`) {
      return deny(403, `Requests from pages of ${origin} are not accepted.`);
    }
    if (token === undefined) {
      // Without a token, the loopback address is what protects; a site whose name was made to point at it must not pass.
      const name = nameOf(called);
      if (isLoopback(nameOf(host)) && !isLoopback(name) && isIP(name) === 0) {
        return deny(403, `Requests for the host ${called} are not accepted here.`);
      }
      return undefined;
    }
    if (request.url === "/health") return undefined;
    const shown = shownToken(request);
    if (shown === undefined || !same(shown, token)) {
      const hint = "Show the tracker's token: as a Bearer token, or once in a browser as ?token=... after the address.";
      return deny(401, shown === undefined ? hint : `The token is not the tracker's. ${hint}`);
    }
    const address = new URL(request.url, "http://tracker");
    if (request.method === "GET" && address.searchParams.has("token") && !address.pathname.startsWith("/api")) {
      address.searchParams.delete("token");
      reply.setCookie(COOKIE, token, { path: "/", httpOnly: true, sameSite: "strict" });
      return reply.redirect(address.pathname + address.search, 302);
    }
    return undefined;
  });
}

/**
 * Runs the tracker by itself.
 * @returns when it answers
 * @throws with the port in the message when it is taken
 */
export async function serveTracker(options: ServeOptions): Promise<ServedTracker> {
  const tracker = await openTracker({ dataDir: options.dataDir });
  const app = Fastify({
    logger: { level: "warn" },
    forceCloseConnections: true,
    routerOptions: { maxParamLength: 4096 },
  });
  try {
    await app.register(fastifyCookie);
    guard(app, options);
    await app.register(trackerPlugin, { tracker });
    app.get("/", async (_request, reply) => reply.redirect("/tracker/", 302));
    await app.listen({ host: options.host, port: options.port });
  } catch (error) {
    await app.close();
    await tracker.close();
    if (error instanceof Error && "code" in error && error.code === "EADDRINUSE") {
      throw new Error(`Port ${options.port} is in use on ${options.host}. Choose another, or 0 for any free one.`);
    }
    throw error;
  }
  const { address, family, port } = app.server.address() as AddressInfo;
  return {
    url: `http://${family === "IPv6" ? `[${address}]` : address}:${port}`,
    close: async () => {
      await app.close();
      await tracker.close();
    },
  };
}
