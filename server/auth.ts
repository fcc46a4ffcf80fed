import { randomBytes, timingSafeEqual } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import cookies from "@fastify/cookie";
import type { FastifyInstance, FastifyRequest } from "fastify";
import { HttpError } from "./errors.ts";

/** Cookies are shared by all ports of a host: each studio has one of its own, or they would log each other out. */
const cookieNameOf = (request: FastifyRequest) =>
  `anneal_token_${/:(\d+)$/.exec(request.headers.host ?? "")?.[1] ?? "default"}`;
const xsrfName = "_xsrf";

/**
 * The secret that opens the studio on a data folder. It stays the same over restarts, so that open pages and
 * bookmarks go on working.
 */
export function loadToken(dataDir: string): string {
  const path = join(dataDir, "token");
  const kept = existsSync(path) ? readFileSync(path, "utf8").trim() : "";
  if (kept !== "") return kept; // An empty file, as a full disk leaves one, is no token: it would let everyone in.
  const token = randomBytes(24).toString("hex");
  mkdirSync(dataDir, { recursive: true });
  writeFileSync(path, token, { mode: 0o600 });
  return token;
}

/**
 * Let in only requests that carry the token: as `Authorization: Bearer` (or Jupyter's `token`), as the password of Basic
 * authentication (which MLflow's clients know), as `?token=`, or as the cookie that the first page visit with `?token=` sets. With the cookie alone, requests that change something must
 * come from our own pages.
 */
export function protect(app: FastifyInstance, token: string): void {
  app.register(cookies);
  app.addHook("onRequest", async (request, reply) => {
    if (request.url === "/health") return;
    checkOrigin(request);
    const query = request.query as { token?: string };
    if (same(shownToken(request.headers.authorization), token)) return;
    const isPage = request.method === "GET" && request.headers.accept?.includes("text/html");
    if (same(query.token, token)) {
      if (!isPage) return;
      reply.setCookie(cookieNameOf(request), token, { path: "/", httpOnly: true, sameSite: "strict" });
      const url = new URL(request.url, "http://studio");
      url.searchParams.delete("token");
      // Within the site, so that the strict cookie set by this answer is sent along.
      return reply
        .code(302)
        .header("location", url.pathname.replace(/^\/+/, "/") + url.search)
        .send();
    }
    if (same(request.cookies[cookieNameOf(request)], token)) {
      if (!request.cookies[xsrfName])
        reply.setCookie(xsrfName, randomBytes(16).toString("hex"), { path: "/", sameSite: "strict" });
      checkXsrf(request);
      return;
    }
    if (isPage)
      return reply
        .code(401)
        .type("text/html")
        .send(loginPage(query.token !== undefined));
    throw new HttpError(403, "This needs the studio's token: send it as `Authorization: Bearer <token>`.");
  });
}

/** The token that an Authorization header shows. */
function shownToken(header = ""): string | undefined {
  const [scheme, value] = header.split(/\s+/, 2);
  if (/^(?:token|bearer)$/i.test(scheme)) return value;
  if (!/^basic$/i.test(scheme)) return undefined;
  const pair = Buffer.from(value ?? "", "base64").toString();
  return pair.slice(pair.indexOf(":") + 1);
}

function same(given: string | undefined, token: string): boolean {
  if (given === undefined) return false;
  const [a, b] = [Buffer.from(given), Buffer.from(token)];
  return a.length === b.length && timingSafeEqual(a, b);
}

/** A page of another site must not reach us, whatever it knows. */
function checkOrigin(request: FastifyRequest): void {
  const { origin, host } = request.headers;
  if (origin === undefined) return;
  if (origin === "null") {
    // A sandboxed frame may load what it shows; it may neither change anything nor talk to kernels.
    if (request.method === "GET" && request.headers.upgrade === undefined) return;
    throw new HttpError(403, "Requests without an origin are refused.");
  }
  let from: string | undefined;
  try {
    from = new URL(origin).host;
  } catch {
    // Not an address at all.
  }
  if (from !== host) throw new HttpError(403, `Requests from ${origin} are refused; the studio is at ${host}.`);
}

function checkXsrf(request: FastifyRequest): void {
  if (request.method === "GET" || request.method === "HEAD") return;
  if (request.headers.origin !== undefined) return; // Compared with our own address above.
  if (request.headers["sec-fetch-site"] === "same-origin") return;
  const sent = request.headers["x-xsrftoken"];
  if (typeof sent !== "string" || sent !== request.cookies[xsrfName]) {
    throw new HttpError(403, "The _xsrf cookie and the X-XSRFToken header do not agree.");
  }
}

function loginPage(wrong: boolean): string {
  return `<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Anneal</title><style>
:root{color-scheme:light dark}body{font:16px/1.5 system-ui,sans-serif;max-width:26rem;margin:18vh auto;padding:0 1rem}
input{font:inherit;width:100%;box-sizing:border-box;padding:.5rem;margin:.5rem 0 1rem}button{font:inherit;padding:.4rem 1.2rem}
p.wrong{color:#c33}</style><h1>Anneal</h1>${wrong ? '<p class="wrong">That token is not this studio\'s.</p>' : ""}
<form method="get"><label>Token<input name="token" type="password" autofocus autocomplete="current-password"></label>
<button>Open</button></form><p>The command that started the studio printed its address with the token.</p></html>`;
}
