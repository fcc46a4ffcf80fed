import { randomBytes } from "node:crypto";
import { isIP, isIPv4 } from "node:net";
import cookies from "@fastify/cookie";
import rateLimit from "@fastify/rate-limit";
import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import { TrackerError } from "../errors.ts";
import type { AccessStore } from "../store/store.ts";
import { loginPage } from "./login-page.ts";
import { ownerName } from "./names.ts";
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
  /** The owner's token, with all rights. Without it, every request has all rights. */
  token: string | undefined;
  /** The address that the server listens on. */
  host: string;
  access: AccessStore;
  oidc?: OidcOptions;
  /** Requests per minute and token; unlimited by default. */
  rateLimit?: number;
}

/** Browsers share cookies between the ports of a host, so each server has its own cookie name. */
const cookieNameOf = (request: FastifyRequest) =>
  `anneal_token_${/:(\d+)$/.exec(request.headers.host ?? "")?.[1] ?? "default"}`;
const xsrfName = "_xsrf";

/** Wrong tokens per minute and client address before requests are rate-limited. */
const MAX_WRONG_TOKENS = 20;
/** Attempts to sign in per minute and client address. Each sends a request to the provider. */
const MAX_SIGN_INS = 30;
/** Milliseconds for which a token is cached. A revoked token stays valid up to this long. */
const CACHE_MS = 5000;

/**
 * Accepts only requests with a token: as `Authorization: Bearer` (or Jupyter's `token`), as the password of Basic
 * authentication (which MLflow's clients support), as `?token=`, or as the cookie that is set by the first page visit with
 * `?token=` or by signing in. With only the cookie, requests that change data must come from the server's own pages.
 * Sets `request.principal`.
 */
export async function guard(app: FastifyInstance, options: GuardOptions): Promise<void> {
  const { access, token, host } = options;
  await app.register(cookies);
  await app.register(rateLimit, { global: false });
  app.decorateRequest("principal", undefined);
  const oidc = options.oidc && (await openOidc(options.oidc));
  const wrong = app.createRateLimit({
    max: MAX_WRONG_TOKENS,
    timeWindow: 60_000,
    keyGenerator: ({ ip }) => `wrong ${ip}`,
  });
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
    // Such a request has no token and no principal: its signed address defines what it may do.
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
      const tried = shown !== undefined;
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
      // A redirect within the site, so that the browser sends the strict cookie set by this response.
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
      const tokens = await access.tokens(principal.name);
      const session = tokens.find(({ id, session }) => id === principal.tokenId && session);
      if (session) await access.deleteToken(session.id);
    }
    return reply.clearCookie(cookieNameOf(request), { path: "/" }).redirect("/tracker/", 302);
  });
  if (oidc) oidcRoutes(app, { oidc, access, setSession, needRate: rateOfSignIns(app) });
}

type Rate = Awaited<ReturnType<ReturnType<FastifyInstance["createRateLimit"]>>>;

/** @throws REQUEST_LIMIT_EXCEEDED with a retry-after header in seconds */
function checkRate(reply: FastifyReply, rate: Rate, what: string): void {
  if (rate.isAllowed || !rate.isExceeded) return;
  reply.header("retry-after", Math.max(1, rate.ttlInSeconds));
  const message = `More than ${rate.max} ${what} within a minute. Try again in ${rate.ttlInSeconds} s.`;
  throw new TrackerError("REQUEST_LIMIT_EXCEEDED", message);
}

/** Anybody can start a sign-in, and a provider may block a client that sends it too many wrong codes. */
function rateOfSignIns(app: FastifyInstance): (request: FastifyRequest, reply: FastifyReply) => Promise<void> {
  const attempts = app.createRateLimit({
    max: MAX_SIGN_INS,
    timeWindow: 60_000,
    keyGenerator: ({ ip }) => `sign-in ${ip}`,
  });
  return async (request, reply) => checkRate(reply, await attempts(request), "attempts to sign in");
}

/** Resolves tokens to principals, with a short-lived cache: a logging client sends thousands of requests per second. */
function principals(access: AccessStore): (token: string) => Promise<Principal | undefined> {
  const cache = new Map<string, { principal: Principal | undefined; until: number }>();
  const principalOf = async (token: string): Promise<Principal | undefined> => {
    const now = Date.now();
    const cached = cache.get(token);
    if (cached && cached.until > now) return cached.principal;
    const hash = hashOf(token);
    const match = await access.findToken(hash);
    const expires = match?.token.expiresAt ?? Number.POSITIVE_INFINITY;
    const valid = match && !match.user.disabled && expires > now;
    const principal = valid
      ? new Principal({
          name: match.user.name,
          role: match.user.role,
          scope: match.token.scope,
          grants: match.grants,
          tokenId: match.token.id,
          renew: () => principalOf(token),
        })
      : undefined;
    if (cache.size >= 10_000) cache.clear();
    cache.set(token, { principal, until: Math.min(now + CACHE_MS, expires) });
    const { id, lastUsedAt } = match?.token ?? {};
    // A resolution of one minute is enough to see which tokens are unused.
    if (principal && id !== undefined && now - (lastUsedAt ?? 0) > 60_000) await access.touchToken(id);
    return principal;
  };
  return principalOf;
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
    "Send a token as `Authorization: Bearer <token>`, or open the address with ?token=... in a browser once.";
  const message = tried ? `The token is invalid or has expired. ${hint}` : `The request has no token. ${hint}`;
  return reply.send({ error_code: "UNAUTHENTICATED", message });
}

/** Sets the session cookie. */
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
/** Whether a name, compared as a whole, is this machine's: 127.example.com is not. */
const isLoopback = (name: string): boolean =>
  name === "localhost" || name === "::1" || (isIPv4(name) && name.startsWith("127."));

/** Without a token, only the loopback address protects the server, so requests through DNS rebinding are refused. */
function checkHost(request: FastifyRequest, host: string): void {
  const requestedHost = nameOf(request.headers.host ?? "");
  if (isLoopback(nameOf(host)) && !isLoopback(requestedHost) && isIP(requestedHost) === 0) {
    throw denied(`Requests for the host ${requestedHost} are refused: use the address that the server printed.`);
  }
}

/** Refuses requests from pages of other sites, even with a token. */
function checkOrigin(request: FastifyRequest): void {
  const { origin, host } = request.headers;
  if (origin === undefined) return;
  if (origin === "null") {
    // A sandboxed frame may load files, but not change data or connect to kernels.
    if (request.method === "GET" && request.headers.upgrade === undefined) return;
    throw denied("Requests without an origin are refused.");
  }
  let from: string | undefined;
  try {
    from = new URL(origin).host;
  } catch {
    // Not a valid address.
  }
  if (from !== host) throw denied(`Requests from ${origin} are refused; this server is at ${host}.`);
}

function checkXsrf(request: FastifyRequest): void {
  if (request.method === "GET" || request.method === "HEAD") return;
  if (request.headers.origin !== undefined) return; // checkOrigin has compared it with the server's address.
  if (request.headers["sec-fetch-site"] === "same-origin") return;
  const sent = request.headers["x-xsrftoken"];
  if (typeof sent !== "string" || sent !== request.cookies[xsrfName]) {
    throw denied("The X-XSRFToken header does not match the _xsrf cookie: reload the page.");
  }
}
