import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import * as client from "openid-client";
import { TrackerError } from "../errors.ts";
import type { AccessStore } from "../store/store.ts";
import type { Role, User } from "../store/types.ts";
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

/**
 * Reads the provider's configuration.
 * @throws if it does not answer or is not an OpenID provider
 */
export async function openOidc(options: OidcOptions): Promise<Oidc> {
  const issuer = new URL(options.issuer);
  // Without TLS only on this machine, for tests and local proxies.
  const plain = issuer.protocol === "http:" && ["localhost", "127.0.0.1", "[::1]"].includes(issuer.hostname);
  try {
    const configuration = await client.discovery(
      issuer,
      options.clientId,
      options.clientSecret,
      undefined,
      plain ? { execute: [client.allowInsecureRequests] } : {},
    );
    return { options, name: issuer.hostname, configuration };
  } catch (error) {
    const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error;
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new Error(`The OpenID provider ${options.issuer} cannot be used: ${why}.`);
  }
}

interface Attempt {
  verifier: string;
  state: string;
  nonce: string;
  back: string;
}

/** Returns `back` if it is a path of this server, otherwise the start page. */
const placeOf = (back: unknown): string =>
  typeof back === "string" && /^\/(?![/\\])/.test(back) && !back.startsWith("/auth/") ? back : "/tracker/";

export function oidcRoutes(
  app: FastifyInstance,
  {
    oidc: { options, configuration },
    access,
    setSession,
  }: {
    oidc: Oidc;
    access: AccessStore;
    setSession: (request: FastifyRequest, reply: FastifyReply, token: string) => void;
  },
): void {
  const here = (request: FastifyRequest): string =>
    (options.url ?? `${request.protocol}://${request.headers.host}`).replace(/\/+$/, "");

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
    reply.setCookie(STATE, value, { path: "/auth", httpOnly: true, sameSite: "lax", maxAge: 600 });
    return reply.redirect(url.href, 302);
  });

  app.get("/auth/callback", async (request, reply) => {
    const attempt = attemptOf(request.cookies[STATE]);
    reply.clearCookie(STATE, { path: "/auth" });
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
      throw new TrackerError(
        "UNAUTHENTICATED",
        `Signing in failed: ${error instanceof Error ? error.message : String(error)}. Start again at /tracker/.`,
      );
    }
    if (!claims) throw new TrackerError("UNAUTHENTICATED", "The provider sent no ID token. Start again at /tracker/.");
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
  const { email, email_verified, preferred_username } = claims;
  const users = await access.users();
  // At many providers users choose their other names, so these must not give access to an existing account.
  const invited = email_verified === true && users.find(({ name, subject: taken }) => name === email && taken === null);
  if (invited) return access.updateUser(invited.name, { subject });
  const names = [email, preferred_username, claims.sub].filter((name): name is string => typeof name === "string");
  const name = names.find((candidate) => !users.some((user) => user.name === candidate));
  if (name === undefined) {
    throw new TrackerError(
      "PERMISSION_DENIED",
      `The name ${names[0]} belongs to another user. Ask an admin of the tracker for an account.`,
    );
  }
  return access.createUser({ name, role: options.role, subject });
}
