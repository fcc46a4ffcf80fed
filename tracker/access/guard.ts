import { randomBytes } from "node:crypto";
import { isIP } from "node:net";
import { userInfo } from "node:os";
import cookies from "@fastify/cookie";
import rateLimit from "@fastify/rate-limit";
import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import { TrackerError } from "../errors.ts";
import type { AccessStore } from "../store/store.ts";
import { loginPage } from "./login-page.ts";
import { type Oidc, type OidcOptions, oidcRoutes, openOidc } from "./oidc.ts";
import { Principal } from "./principal.ts";
import { carriesSignature } from "./signature.ts";
import { hashOf, same, shownToken } from "./tokens.ts";

declare module "fastify" {
  interface FastifyRequest {
    principal?: Principal;
  }
}

export interface GuardOptions {
  /** Opens everything; undefined lets everyone in who reaches the server. */
  token: string | undefined;
  /** The address that the server listens on. */
  host: string;
  access: AccessStore;
  oidc?: OidcOptions;
  /** Requests a minute that one user's token may make; no bound where it is left out. */
  rateLimit?: number;
}

/** Cookies are shared by all ports of a host: each server has one of its own, or they would log each other out. */
const cookieNameOf = (request: FastifyRequest) =>
  `anneal_token_${/:(\d+)$/.exec(request.headers.host ?? "")?.[1] ?? "default"}`;
const xsrfName = "_xsrf";

/** Wrong tokens that one address may show in a minute, before it has to wait. */
const WRONG = 20;
/** Milliseconds for which a token is taken to be what it was: so long may one that was taken back still open. */
const TRUST = 5000;

/** Whoever the server runs as owns its data folder. */
function ownerName(): string {
  try {
    return userInfo().username;
  } catch {
    return process.env.USER ?? "owner"; // A container may run as a user that the system has no name for.
  }
}

/**
 * Lets in only requests that carry a token: as `Authorization: Bearer` (or Jupyter's `token`), as the password of Basic
 * authentication (which MLflow's clients know), as `?token=`, or as the cookie that the first page visit with `?token=` or
 * signing in sets. With the cookie alone, requests that change something must come from our own pages. Says in
 * `request.principal` who it is.
 */
export async function guard(app: FastifyInstance, options: GuardOptions): Promise<void> {
  const { access, token, host } = options;
  await app.register(cookies);
  await app.register(rateLimit, { global: false });
  app.decorateRequest("principal", undefined);
  const oidc = options.oidc && (await openOidc(options.oidc));
  const wrong = app.createRateLimit({ max: WRONG, timeWindow: 60_000, keyGenerator: ({ ip }) => `wrong ${ip}` });
  const often =
    options.rateLimit !== undefined &&
    app.createRateLimit({
      max: options.rateLimit,
      timeWindow: 60_000,
      keyGenerator: ({ principal, ip }) => principal?.tokenId ?? ip,
    });
  const owner = new Principal({ name: ownerName(), role: "admin", owner: true });
  const principalOf = principals(access);

  app.addHook("onRequest", async (request, reply) => {
    const path = request.url.split("?")[0] ?? "";
    if (path === "/health" || path === "/auth/login" || path === "/auth/callback") return;
    checkOrigin(request);
    // Nobody's token is shown there, and in nobody's name is it done: the address says what may be done, and no more.
    if (carriesSignature(request.method, request.url)) return;
    if (token === undefined) {
      checkHost(request, host);
      request.principal = owner;
      return;
    }
    const { token: inAddress } = (path === request.url ? {} : request.query) as { token?: string | string[] };
    const inHeader = shownToken(request);
    const inCookie = request.cookies[cookieNameOf(request)];
    const shown = inHeader ?? (inAddress === undefined ? inCookie : typeof inAddress === "string" ? inAddress : "");
    const principal =
      shown === undefined || shown === "" ? undefined : same(shown, token) ? owner : await principalOf(shown);
    const isPage = request.method === "GET" && (request.headers.accept?.includes("text/html") ?? false);
    if (principal === undefined || shown === undefined) {
      const tried = inHeader !== undefined || inAddress !== undefined;
      if (tried) checkRate(reply, await wrong(request), "wrong tokens");
      return refuse(request, reply, { tried, isPage, ...(oidc ? { oidc } : {}) });
    }
    request.principal = principal;
    if (often && !principal.owner) checkRate(reply, await often(request), "requests");
    if (inHeader !== undefined) return;
    if (inAddress !== undefined) {
      if (!isPage) return;
      setSession(request, reply, shown);
      const url = new URL(request.url, "http://anneal");
      url.searchParams.delete("token");
      // Within the site, so that the strict cookie set by this answer is sent along.
      return reply
        .code(302)
        .header("location", url.pathname.replace(/^\/+/, "/") + url.search)
        .send();
    }
    if (!request.cookies[xsrfName]) {
      reply.setCookie(xsrfName, randomBytes(16).toString("hex"), { path: "/", sameSite: "strict" });
    }
    checkXsrf(request);
  });

  app.get("/auth/logout", async (request, reply) => {
    const { principal } = request;
    if (principal?.tokenId !== undefined) {
      const mine = await access.tokens(principal.name);
      const session = mine.find(({ id, session }) => id === principal.tokenId && session);
      if (session) await access.deleteToken(session.id);
    }
    return reply.clearCookie(cookieNameOf(request), { path: "/" }).redirect("/tracker/", 302);
  });
  if (oidc) oidcRoutes(app, { oidc, access, setSession });
}

type Rate = Awaited<ReturnType<ReturnType<FastifyInstance["createRateLimit"]>>>;

/** @throws REQUEST_LIMIT_EXCEEDED, which clients try again after the seconds that its header says */
function checkRate(reply: FastifyReply, rate: Rate, what: string): void {
  if (rate.isAllowed || !rate.isExceeded) return;
  reply.header("retry-after", Math.max(1, rate.ttlInSeconds));
  const message = `More than ${rate.max} ${what} within a minute. Try again in ${rate.ttlInSeconds} s.`;
  throw new TrackerError("REQUEST_LIMIT_EXCEEDED", message);
}

/** Finds whose a token is, and remembers it for a moment: a client that logs asks thousands of times a second. */
function principals(access: AccessStore): (token: string) => Promise<Principal | undefined> {
  const known = new Map<string, { principal: Principal | undefined; until: number }>();
  return async (token) => {
    const now = Date.now();
    const remembered = known.get(token);
    if (remembered && remembered.until > now) return remembered.principal;
    const hash = hashOf(token);
    const found = await access.findToken(hash);
    const expires = found?.token.expiresAt ?? Number.POSITIVE_INFINITY;
    const valid = found && !found.user.disabled && expires > now;
    const principal = valid
      ? new Principal({
          name: found.user.name,
          role: found.user.role,
          scope: found.token.scope,
          grants: found.grants,
          tokenId: found.token.id,
        })
      : undefined;
    if (known.size >= 10_000) known.clear();
    known.set(token, { principal, until: Math.min(now + TRUST, expires) });
    const { id, lastUsedAt } = found?.token ?? {};
    // To the minute is enough to see which tokens nobody uses.
    if (principal && id !== undefined && now - (lastUsedAt ?? 0) > 60_000) await access.touchToken(id);
    return principal;
  };
}

function refuse(
  request: FastifyRequest,
  reply: FastifyReply,
  { tried, isPage, oidc }: { tried: boolean; isPage: boolean; oidc?: Oidc },
): FastifyReply {
  reply.code(401).header("www-authenticate", "Bearer");
  if (isPage) {
    const back = request.url.startsWith("/auth/") ? "/tracker/" : request.url;
    return reply.type("text/html; charset=utf-8").send(loginPage({ wrong: tried, back, provider: oidc?.name }));
  }
  const hint =
    "Send a token as `Authorization: Bearer <token>`, or open the address with ?token=... once in a browser.";
  const message = tried
    ? `The token is not one of this server's, or has expired. ${hint}`
    : `This needs a token. ${hint}`;
  return reply.send({ error_code: "UNAUTHENTICATED", message });
}

/** Keeps a token in the browser. */
function setSession(request: FastifyRequest, reply: FastifyReply, token: string): void {
  const secure = request.protocol === "https";
  reply.setCookie(cookieNameOf(request), token, { path: "/", httpOnly: true, sameSite: "strict", secure });
}

const denied = (message: string): TrackerError => new TrackerError("PERMISSION_DENIED", message);

const nameOf = (host: string): string =>
  host
    .replace(/:\d+$/, "")
    .replace(/^\[(.*)\]$/, "$1")
    .toLowerCase();
const isLoopback = (name: string): boolean => name === "localhost" || name === "::1" || name.startsWith("127.");

/** Without a token, the loopback address is what protects; a site whose name was made to point at it must not pass. */
function checkHost(request: FastifyRequest, host: string): void {
  const called = nameOf(request.headers.host ?? "");
  if (isLoopback(nameOf(host)) && !isLoopback(called) && isIP(called) === 0) {
    throw denied(`Requests for the host ${called} are not accepted here.`);
  }
}

/** A page of another site must not reach us, whatever it knows. */
function checkOrigin(request: FastifyRequest): void {
  const { origin, host } = request.headers;
  if (origin === undefined) return;
  if (origin === "null") {
    // A sandboxed frame may load what it shows; it may neither change anything nor talk to kernels.
    if (request.method === "GET" && request.headers.upgrade === undefined) return;
    throw denied("Requests without an origin are refused.");
  }
  let from: string | undefined;
  try {
    from = new URL(origin).host;
  } catch {
    // Not an address at all.
  }
  if (from !== host) throw denied(`Requests from ${origin} are refused; this server is at ${host}.`);
}

function checkXsrf(request: FastifyRequest): void {
  if (request.method === "GET" || request.method === "HEAD") return;
  if (request.headers.origin !== undefined) return; // Compared with our own address above.
  if (request.headers["sec-fetch-site"] === "same-origin") return;
  const sent = request.headers["x-xsrftoken"];
  if (typeof sent !== "string" || sent !== request.cookies[xsrfName]) {
    throw denied("The _xsrf cookie and the X-XSRFToken header do not agree.");
  }
}
