// Signing in with OpenID Connect: replayed and forged responses, names that are others', and a provider that misbehaves.
import { createHash, createSign, generateKeyPairSync, type KeyObject, randomUUID } from "node:crypto";
import { createServer, request as rawRequest, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { userInfo } from "node:os";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { AttackedServer } from "./server.ts";

const base64 = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString("base64url");

/** A provider that signs whatever it is told to, for tests of what the tracker accepts. */
class Provider {
  readonly #server: Server;
  readonly #key: KeyObject;
  readonly #codes = new Map<string, { nonce: string; challenge: string; claims: Record<string, unknown> }>();
  issuer = "";
  checksCodes = true;
  /** Requests for tokens. */
  asked = 0;
  /** Sends something else than the token. */
  answer: ((response: ServerResponse) => void) | undefined;
  /** Of the next ID tokens. */
  header: Record<string, unknown> = { alg: "RS256", kid: "k" };

  constructor() {
    const { privateKey, publicKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });
    this.#key = privateKey;
    this.#server = createServer((request, response) => {
      const send = (value: unknown, status = 200) =>
        response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(value));
      if (request.url === "/jwks")
        return send({ keys: [{ ...publicKey.export({ format: "jwk" }), kid: "k", alg: "RS256" }] });
      if (request.url !== "/token") {
        return send({
          issuer: this.issuer,
          authorization_endpoint: `${this.issuer}/authorize`,
          token_endpoint: `${this.issuer}/token`,
          jwks_uri: `${this.issuer}/jwks`,
          response_types_supported: ["code"],
          subject_types_supported: ["public"],
          id_token_signing_alg_values_supported: ["RS256"],
        });
      }
      let body = "";
      request.on("data", (part) => {
        body += part;
      });
      request.on("end", () => {
        this.asked++;
        if (this.answer) return this.answer(response);
        const form = new URLSearchParams(body);
        const code = this.#codes.get(form.get("code") ?? "");
        this.#codes.delete(form.get("code") ?? "");
        const challenge = createHash("sha256")
          .update(form.get("code_verifier") ?? "")
          .digest("base64url");
        if (!code || (this.checksCodes && challenge !== code.challenge)) return send({ error: "invalid_grant" }, 400);
        const now = Math.floor(Date.now() / 1000);
        const claims = { iss: this.issuer, aud: "anneal", iat: now, exp: now + 60, nonce: code.nonce, ...code.claims };
        const text = `${base64(this.header)}.${base64(claims)}`;
        const signature = createSign("sha256").update(text).sign(this.#key).toString("base64url");
        send({
          access_token: "x",
          token_type: "Bearer",
          id_token: `${text}.${this.header.alg === "none" ? "" : signature}`,
        });
      });
    });
  }

  async listen(): Promise<void> {
    await new Promise<void>((resolve) => this.#server.listen(0, "127.0.0.1", resolve));
    this.issuer = `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  /** What the provider's page does once somebody has signed in there. @returns a code that can be used once */
  code(attempt: Attempt, claims: Record<string, unknown>): string {
    const code = randomUUID();
    const { nonce, code_challenge: challenge } = attempt.asked;
    this.#codes.set(code, { nonce: nonce ?? "", challenge: challenge ?? "", claims });
    return code;
  }

  close(): void {
    this.#server.closeAllConnections();
    this.#server.close();
  }
}

/** A sign-in that a browser has started. */
interface Attempt {
  cookie: string;
  /** The query of the provider's address. */
  asked: Record<string, string>;
}

let provider: Provider;
let server: AttackedServer;
const optionsFor = (it: Provider) => ({
  oidc: { issuer: it.issuer, clientId: "anneal", clientSecret: "shared", role: "viewer" as const },
  trustedProxies: ["127.0.0.1"],
});
beforeEach(async () => {
  provider = new Provider();
  await provider.listen();
  server = await AttackedServer.start(optionsFor(provider));
});
afterEach(async () => {
  vi.useRealTimers();
  await server.close();
  provider.close();
});

let client = 0;
/** A request of another client each time, as attempts to sign in are limited. */
const get = (path: string, cookie = ""): Promise<Response> =>
  fetch(server.url + path, {
    redirect: "manual",
    headers: { ...(cookie ? { cookie } : {}), "x-forwarded-for": `10.0.0.${client++ % 250}` },
  });

async function begin(back = "/tracker/models"): Promise<Attempt> {
  const response = await get(`/auth/login?${new URLSearchParams({ back })}`);
  expect(response.status).toBe(302);
  const [cookie = ""] = response.headers.getSetCookie().map((it) => it.split(";")[0] ?? "");
  return { cookie, asked: Object.fromEntries(new URL(response.headers.get("location") ?? "").searchParams) };
}

interface Ended {
  status: number;
  text: string;
  /** The session's cookie. */
  session: string;
}

async function end({ cookie, asked }: Attempt, code: string, more: Record<string, string> = {}): Promise<Ended> {
  const query = new URLSearchParams({ code, state: asked.state ?? "", ...more });
  const response = await get(`/auth/callback?${query}`, cookie);
  const session = response.headers.getSetCookie().find((it) => it.startsWith("anneal_token")) ?? "";
  return { status: response.status, text: await response.text(), session: session.split(";")[0] ?? "" };
}

async function signIn(claims: Record<string, unknown>, back?: string): Promise<Ended> {
  const attempt = await begin(back);
  return end(attempt, provider.code(attempt, claims));
}

/** Who a session is, or the status of the refusal. */
async function who({ session }: Ended): Promise<unknown> {
  const response = await get("/api/anneal/me", session);
  return response.status === 200 ? ((await response.json()) as { name: string }).name : response.status;
}
const users = async () => (await server.owner.get("/api/anneal/users")).at("users") as { name: string; role: string }[];

describe("a response of the provider", () => {
  test("counts once, in the browser that asked, with its own code", async () => {
    const attempt = await begin();
    const code = provider.code(attempt, { sub: "ada" });
    const nobody = await end({ ...attempt, cookie: "" }, code);
    const other = await begin();
    const elsewhere = await end({ ...attempt, cookie: other.cookie }, code);
    const forged = await end(attempt, code, { state: "x" });
    expect([nobody.status, elsewhere.status, forged.status]).toEqual([401, 401, 401]);
    expect((await end(attempt, code)).status).toBe(200);
    const again = await end(attempt, code);
    expect([again.status, again.session]).toEqual([401, ""]);
    expect(await users()).toHaveLength(1);
  });

  test.each([true, false])(
    "with somebody else's code signs nobody in (the provider checks codes: %s)",
    async (checks) => {
      provider.checksCodes = checks;
      const eves = provider.code(await begin(), { sub: "eve" });
      const ended = await end(await begin(), eves);
      expect([ended.status, ended.session, await users()]).toEqual([401, "", []]);
    },
  );

  test.each([
    ["another provider", { iss: "https://other.example" }],
    ["another client", { aud: "other" }],
    ["several clients", { aud: ["anneal", "other"], azp: "other" }],
    ["another attempt", { nonce: "x" }],
    ["no attempt", { nonce: undefined }],
    ["the past", { exp: 1 }],
    ["nobody", { sub: undefined }],
    ["nobody by name", { sub: "" }],
    ["a list", { sub: ["ada"] }],
  ])("with an ID token for %s is refused", async (_, claims) => {
    const ended = await signIn({ sub: "ada", ...claims });
    expect([ended.status, ended.session, await users()]).toEqual([401, "", []]);
  });

  test.each([{ alg: "none" }, { alg: "HS256" }, { alg: "RS512" }])(
    "with an ID token of %j is refused",
    async (header) => {
      provider.header = header;
      const ended = await signIn({ sub: "ada" });
      expect([ended.status, await users()]).toEqual([401, []]);
    },
  );

  test("that is endless or never comes is given up, and others are answered meanwhile", async () => {
    let sent = 0;
    provider.answer = (response) => {
      response.writeHead(200, { "content-type": "application/json" });
      const more = (): void => {
        while (!response.destroyed && sent < 500e6) {
          sent += 65_536;
          if (!response.write(" ".repeat(65_536))) return void response.once("drain", more);
        }
      };
      more();
    };
    const endless = await signIn({ sub: "ada" });
    expect([endless.status, sent < 100e6]).toEqual([401, true]);
    expect(endless.text).toContain("larger than");

    provider.answer = () => {};
    const start = performance.now();
    const silent = signIn({ sub: "ada" });
    await expect.poll(() => provider.asked).toBe(2);
    expect((await get("/health")).status).toBe(200);
    expect((await silent).status).toBe(401);
    expect(performance.now() - start).toBeLessThan(20_000);
  });

  test("is asked for a limited number of times for one client", async () => {
    const { cookie, asked } = await begin();
    const statuses: number[] = [];
    for (let i = 0; i < 32; i++) {
      const address = `${server.url}/auth/callback?code=wrong&state=${asked.state}`;
      const response = await fetch(address, { headers: { cookie, "x-forwarded-for": "10.1.1.1" } });
      statuses.push(response.status);
    }
    expect(statuses).toEqual([...Array<number>(30).fill(401), 429, 429]);
    expect(provider.asked).toBe(30);
  });
});

describe("the page after signing in", () => {
  test.each([
    "https://evil.test",
    "//evil.test",
    "///evil.test",
    "/\\evil.test",
    "/\t/evil.test",
    "/\n/evil.test",
    "/\r\\evil.test",
    "\t//evil.test",
    " //evil.test",
    "/.//evil.test",
    "/x/..//evil.test",
    "/%2e//evil.test",
    "/./\\evil.test",
    "http:evil.test",
    "javascript:alert(1)",
    "data:text/html,x",
    "@evil.test",
    "/auth/logout",
    "/x/../auth/logout",
    "\0//evil.test",
  ])("is not %j", async (back) => {
    const { text } = await signIn({ sub: "ada" }, back);
    const places = [...text.matchAll(/(?:url=|href=")([^"]*)"/g)].map(([, place = ""]) => place);
    expect(places).toEqual(["/tracker/", "/tracker/"]);
  });

  test("is the one that was asked for, and cannot contain markup", async () => {
    const { text } = await signIn({ sub: "ada" }, `/tracker/runs?filter=a "b"&x=<script>#'`);
    expect(text).toContain("/tracker/runs?filter=a%20%22b%22&#38;x=%3Cscript%3E#&#39;");
    expect(text).not.toContain("<script");
    // Two parameters are not one that is checked and another that is used.
    const twice = await get("/auth/login?back=/tracker/&back=//evil.test");
    expect(twice.status).toBe(302);
    const attempt = { cookie: twice.headers.getSetCookie()[0]?.split(";")[0] ?? "", asked: {} };
    expect(Buffer.from(attempt.cookie.split("=")[1] ?? "", "base64url").toString()).toContain('"back":"/tracker/"');
  });

  test("is not what somebody wrote into the cookie", async () => {
    const attempt = await begin();
    const content = JSON.parse(Buffer.from(attempt.cookie.split("=")[1] ?? "", "base64url").toString()) as object;
    const cookie = `anneal_oidc=${base64({ ...content, back: "/\t/evil.test" })}`;
    const { text } = await end({ ...attempt, cookie }, provider.code(attempt, { sub: "ada" }));
    expect(text).not.toContain("evil");
  });
});

describe("the name", () => {
  test("is not an address that the provider has not verified, so that nobody waits under it for another's rights", async () => {
    for (const [sub, claims] of [
      ["1", { email: "boss@x.test" }],
      ["2", { email: "boss@x.test", email_verified: "true" }],
      ["3", { email: "boss@x.test", email_verified: false, preferred_username: "boss@x.test" }],
      ["boss@x.test", {}],
    ] as const) {
      expect(await who(await signIn({ sub, ...claims }))).not.toBe("boss@x.test");
    }
    await server.user("boss@x.test", "admin");
    const pretender = await signIn({
      sub: "4",
      email: "boss@x.test",
      email_verified: 1,
      preferred_username: "boss@x.test",
    });
    expect(await who(pretender)).toBe("4");
    expect(await who(await signIn({ sub: "5", email: "boss@x.test", email_verified: true }))).toBe("boss@x.test");
    expect((await users()).map(({ name, role }) => `${name} ${role}`)).toEqual([
      "1 viewer",
      "2 viewer",
      "3 viewer",
      "4 viewer",
      "boss@x.test admin",
      expect.stringMatching(/^user-[0-9a-f]{12} viewer$/),
    ]);
  });

  test("is not that of another user or of the owner, in any case of letters", async () => {
    await server.user("ada", "admin");
    const owner = userInfo().username;
    for (const [sub, preferred_username] of ["ada", "Ada", "ADA", owner, owner.toUpperCase()].entries()) {
      expect(await who(await signIn({ sub: String(sub), preferred_username }))).toBe(String(sub));
    }
    // An admin cannot create a user whom the activity log would show as the owner.
    const refused = await server.owner.post("/api/anneal/users", { name: owner, role: "viewer" });
    expect([refused.status, refused.at("error_code")]).toEqual([400, "RESOURCE_ALREADY_EXISTS"]);
  });

  test("is one that an admin could have given", async () => {
    let sub = 0;
    for (const preferred_username of [
      "a b",
      "a\nb",
      "<b>",
      "",
      "x".repeat(101),
      "../x",
      "a\0",
      "adа",
      ["ada"],
      { a: 1 },
      5,
    ]) {
      expect(await who(await signIn({ sub: String(++sub), preferred_username }))).toBe(String(sub));
    }
    expect(await who(await signIn({ sub: "auth0|1" }))).toMatch(/^user-[0-9a-f]{12}$/);
  });

  test("stays when the provider's changes, and does not follow an address to another subject", async () => {
    await server.user("boss@x.test", "admin");
    const claims = { email: "boss@x.test", email_verified: true };
    expect(await who(await signIn({ sub: "1", ...claims }))).toBe("boss@x.test");
    expect(await who(await signIn({ sub: "1", email: "new@x.test", email_verified: true }))).toBe("boss@x.test");
    // The address was given to somebody else.
    expect(await who(await signIn({ sub: "2", ...claims }))).toBe("2");
    // Nor does a subject count at another provider.
    const other = new Provider();
    await other.listen();
    await server.restart(optionsFor(other));
    provider.close();
    provider = other;
    expect(await who(await signIn({ sub: "2" }))).toMatch(/^user-/);
  });

  test("is given once to somebody who signs in in several windows at the same time", async () => {
    const ended = await Promise.all(Array.from({ length: 6 }, () => signIn({ sub: "1", preferred_username: "ada" })));
    expect(await Promise.all(ended.map(who))).toEqual(Array(6).fill("ada"));
    expect(await users()).toHaveLength(1);
  });
});

describe("a session", () => {
  test("ends after half a day", async () => {
    const ended = await signIn({ sub: "ada" });
    vi.useFakeTimers({ toFake: ["Date"], now: Date.now() + 11.9 * 3600_000 });
    expect(await who(ended)).toBe("ada");
    vi.setSystemTime(Date.now() + 0.2 * 3600_000);
    expect(await who(ended)).toBe(401);
  });

  test("ends when its user is disabled, and signing in again does not help", async () => {
    const ended = await signIn({ sub: "ada" });
    await server.owner.must("PATCH", "/api/anneal/users/ada", { disabled: true });
    const again = await signIn({ sub: "ada" });
    expect([again.status, again.session]).toEqual([403, ""]);
    await expect.poll(() => who(ended)).toBe(401);
    // Invited, and disabled before the first sign-in.
    await server.user("boss@x.test", "admin");
    await server.owner.must("PATCH", "/api/anneal/users/boss@x.test", { disabled: true });
    expect((await signIn({ sub: "b", email: "boss@x.test", email_verified: true })).status).toBe(403);
  });

  test("is not started by a page of another site", async () => {
    // The other site makes the browser open the address, without the cookie of an attempt of its own.
    const eves = await begin();
    const code = provider.code(eves, { sub: "eve" });
    const mine = await begin();
    expect((await end({ ...mine, asked: eves.asked }, code)).session).toBe("");
  });
});

describe("the address that the provider sends the browser back to", () => {
  const location = (host: string): Promise<{ status: number; place: string; cache: string }> =>
    new Promise((resolve, reject) => {
      const sent = rawRequest(`${server.url}/auth/login`, { headers: { host } }, (answer) => {
        answer.resume();
        resolve({
          status: answer.statusCode ?? 0,
          place: new URL(answer.headers.location ?? "http://none").searchParams.get("redirect_uri") ?? "",
          cache: String(answer.headers["cache-control"]),
        });
      });
      sent.on("error", reject);
      sent.end();
    });

  test("is the configured one, whatever the Host header says", async () => {
    await server.restart({ oidc: { ...optionsFor(provider).oidc, url: "https://tracker.test" } });
    for (const host of ["evil.test", "evil.test/x?", "tracker.test:99"]) {
      expect(await location(host)).toMatchObject({ status: 302, place: "https://tracker.test/auth/callback" });
    }
    const login = await get("/auth/login");
    expect(login.headers.getSetCookie()[0]).toMatch(/HttpOnly; Secure; SameSite=Lax/);
  });

  test("without one, is only a host, and is not kept by caches", async () => {
    for (const host of ["evil.test/x?", "evil.test#", "evil.test/..", "a@evil.test", "evil.test\\x", "evil test"]) {
      expect([host, (await location(host)).status]).toEqual([host, 400]);
    }
    expect(await location("[::1]:5000")).toEqual({
      status: 302,
      place: "http://[::1]:5000/auth/callback",
      cache: "no-store",
    });
  });
});
