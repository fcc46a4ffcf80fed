import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import * as client from "openid-client";
import { invalid, TrackerError } from "../errors.ts";
import type { AccessStore } from "../store/store.ts";
import type { Role, User } from "../store/types.ts";
import { isUserName, ownerName, sameName } from "./names.ts";
import { hashOf, newToken } from "./tokens.ts";

/** Options of signing in with OpenID Connect. */
export interface OidcOptions {
  /** The provider's address, which has `/.well-known/openid-configuration`. */
  issuer: string;
  clientId: string;
  clientSecret: string;
  /** The role of users who sign in for the first time. */
  role: Role;
  /** The server's address in the browser; from the request by default. */
  url?: string;
}

export interface Oidc {
  options: OidcOptions;
  /** Shown on the button. */
  name: string;
  configuration: client.Configuration;
}

const STATE = "anneal_oidc";
/** The lifetime of a session, in milliseconds. */
const SESSION = 12 * 3600 * 1000;
/** Seconds that the provider has for one answer, and its most bytes. */
const TIMEOUT = 10;
const MAX_ANSWER = 1024 * 1024;

/** A fetch for the provider's answers, which are small. */
const bounded: client.CustomFetch = async (url, options) => {
  const answer = await fetch(url, options as RequestInit);
  const parts: Uint8Array[] = [];
  let size = 0;
  for await (const part of answer.body ?? []) {
    size += part.length;
    if (size > MAX_ANSWER) throw new Error(`The provider's answer is larger than ${MAX_ANSWER} bytes.`);
    parts.push(part);
  }
  const { status, statusText, headers } = answer;
  return new Response(size === 0 ? null : Buffer.concat(parts), { status, statusText, headers });
};

/**
 * Reads the provider's configuration.
 * @throws if it does not answer or is not an OpenID provider
 */
export async function openOidc(options: OidcOptions): Promise<Oidc> {
  const issuer = new URL(options.issuer);
  // Without TLS only on this machine, for tests and local proxies.
  const plain = issuer.protocol === "http:" && ["localhost", "127.0.0.1", "[::1]"].includes(issuer.hostname);
  try {
    const configuration = await client.discovery(issuer, options.clientId, options.clientSecret, undefined, {
      timeout: TIMEOUT,
      [client.customFetch]: bounded,
      ...(plain ? { execute: [client.allowInsecureRequests] } : {}),
    });
    return { options, name: issuer.hostname, configuration };
  } catch (error) {
    throw new Error(`The OpenID provider ${options.issuer} cannot be used: ${reasonOf(error)}.`);
  }
}

/** The library's errors say what happened in their cause. */
function reasonOf(error: unknown): string {
  const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error;
  return (cause instanceof Error ? cause.message : String(cause)).replace(/\.$/, "");
}

interface Attempt {
  verifier: string;
  state: string;
  nonce: string;
  back: string;
}

/** Returns `back` if it is a path of this server as browsers understand it, otherwise the start page. */
function placeOf(back: unknown): string {
  const start = "/tracker/";
  if (typeof back !== "string" || !back.startsWith("/")) return start;
  // Browsers ignore tabs and line breaks, and read \ as /: "/\t/host" is another site.
  const here = "http://anneal.invalid";
  const url = URL.canParse(back, here) ? new URL(back, here) : undefined;
  if (url?.origin !== here || url.pathname.startsWith("//") || url.pathname.startsWith("/auth/")) return start;
  return url.pathname + url.search + url.hash;
}

export function oidcRoutes(
  app: FastifyInstance,
  {
    oidc: { options, configuration },
    access,
    setSession,
    needRate,
  }: {
    oidc: Oidc;
    access: AccessStore;
    /** Throws if the client's address signs in too often. */
    needRate: (request: FastifyRequest, reply: FastifyReply) => Promise<void>;
    setSession: (request: FastifyRequest, reply: FastifyReply, token: string) => void;
  },
): void {
  const here = (request: FastifyRequest): string => {
    const { host = "" } = request.headers;
    // What follows a host in its header would become part of the address that the provider sends the browser to.
    if (options.url === undefined && !/^([\w.-]+|\[[\da-f:.]+\])(:\d+)?$/i.test(host)) {
      throw invalid("The request's Host header is not a host name: use the address that the server printed.");
    }
    return (options.url ?? `${request.protocol}://${host}`).replace(/\/+$/, "");
  };

  app.get("/auth/login", async (request, reply) => {
    const { back } = request.query as { back?: unknown };
    const attempt: Attempt = {
      verifier: client.randomPKCECodeVerifier(),
      state: client.randomState(),
      nonce: client.randomNonce(),
      back: placeOf(back),
    };
    const url = client.buildAuthorizationUrl(configuration, {
      redirect_uri: `${here(request)}/auth/callback`,
      scope: "openid profile email",
      code_challenge: await client.calculatePKCECodeChallenge(attempt.verifier),
      code_challenge_method: "S256",
      state: attempt.state,
      nonce: attempt.nonce,
    });
    // Lax, because the redirect back comes from the provider's site.
    const value = Buffer.from(JSON.stringify(attempt)).toString("base64url");
    const secure = new URL(here(request)).protocol === "https:";
    reply.setCookie(STATE, value, { path: "/auth", httpOnly: true, sameSite: "lax", maxAge: 600, secure });
    return reply.header("cache-control", "no-store").redirect(url.href, 302);
  });

  app.get("/auth/callback", async (request, reply) => {
    const attempt = attemptOf(request.cookies[STATE]);
    reply.clearCookie(STATE, { path: "/auth" }).header("cache-control", "no-store");
    await needRate(request, reply);
    let claims: client.IDToken | undefined;
    try {
      const tokens = await client.authorizationCodeGrant(configuration, new URL(`${here(request)}${request.url}`), {
        pkceCodeVerifier: attempt.verifier,
        expectedState: attempt.state,
        expectedNonce: attempt.nonce,
      });
      claims = tokens.claims();
    } catch (error) {
      request.log.warn(error);
      throw new TrackerError("UNAUTHENTICATED", `Signing in failed: ${reasonOf(error)}. Start again at /tracker/.`);
    }
    // An empty subject would be one account for everybody who has none.
    if (!claims?.sub) throw new TrackerError("UNAUTHENTICATED", "The provider's ID token does not say who signs in.");
    const user = await userOf(access, options, claims);
    if (user.disabled)
      throw new TrackerError(
        "PERMISSION_DENIED",
        `The account ${user.name} is disabled. Ask an admin of the tracker to enable it.`,
      );
    const token = newToken();
    await access.createToken({
      user: user.name,
      label: "signed in",
      scope: "admin",
      session: true,
      hash: hashOf(token),
      expiresAt: Date.now() + SESSION,
    });
    setSession(request, reply, token);
    await access.record({
      at: Date.now(),
      who: user.name,
      action: "GET /auth/callback",
      target: "signed in",
      status: 200,
    });
    // A page instead of a redirect: browsers do not send the strict cookie in a redirect from the provider's site.
    const place = attempt.back.replace(/[&<>"']/g, (char) => `&#${char.charCodeAt(0)};`);
    return reply
      .type("text/html; charset=utf-8")
      .send(`<!doctype html><meta http-equiv="refresh" content="0;url=${place}"><a href="${place}">Go on</a>`);
  });
}

function attemptOf(cookie: string | undefined): Attempt {
  try {
    const { verifier, state, nonce, back } = JSON.parse(Buffer.from(cookie ?? "", "base64url").toString()) as Attempt;
    if ([verifier, state, nonce].every((part) => typeof part === "string" && part !== "")) {
      return { verifier, state, nonce, back: placeOf(back) };
    }
  } catch {
    // The error is thrown below.
  }
  throw new TrackerError(
    "UNAUTHENTICATED",
    "This sign-in has expired or was started in another browser. Start again at /tracker/.",
  );
}

/** Returns the user with the subject of the ID token, or the one with its verified email address, or a new one. */
async function userOf(access: AccessStore, options: OidcOptions, claims: client.IDToken): Promise<User> {
  const subject = `${claims.iss} ${claims.sub}`;
  const existing = await access.userBySubject(subject);
  if (existing) return existing;
  const { email, email_verified } = claims;
  const users = await access.users();
  // At many providers users choose their other names, so these must not give access to an existing account.
  const invited = email_verified === true && users.find(({ name, subject: taken }) => name === email && taken === null);
  if (invited) return access.updateUser(invited.name, { subject });
  const taken = [ownerName(), ...users.map(({ name }) => name)];
  const free = namesFor(claims, subject).filter((name) => !taken.some((other) => sameName(name, other)));
  for (const name of free) {
    try {
      return await access.createUser({ name, role: options.role, subject });
    } catch (error) {
      // Another sign-in took the name meanwhile, perhaps of the same user in another window.
      const other = await access.userBySubject(subject);
      if (other) return other;
      if (!(error instanceof TrackerError && error.code === "RESOURCE_ALREADY_EXISTS")) throw error;
    }
  }
  throw new TrackerError(
    "PERMISSION_DENIED",
    "The provider's names for you belong to other users. Ask an admin of the tracker for an account.",
  );
}

/**
 * Returns names for a new user, the best first. An email address is somebody's: it is a name only if the provider has
 * verified it, because admins give rights to the person whom they know by that address.
 */
function namesFor({ email, email_verified, preferred_username, sub }: client.IDToken, subject: string): string[] {
  const chosen = [preferred_username, sub].filter((name) => typeof name === "string" && !name.includes("@"));
  const names = [...(email_verified === true ? [email] : []), ...chosen, `user-${hashOf(subject).slice(0, 12)}`];
  return names.filter((name): name is string => typeof name === "string" && isUserName(name));
}
