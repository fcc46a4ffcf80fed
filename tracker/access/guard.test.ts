import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type FastifyInstance, fastify } from "fastify";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { answerError } from "../api/plugin.ts";
import { TestTracker } from "../testing.ts";
import { guard } from "./guard.ts";
import { loadToken } from "./tokens.ts";

const folder = mkdtempSync(join(tmpdir(), "anneal-auth-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe("the token of a data folder", () => {
  test("is created once, stored, and readable only by its owner", () => {
    const data = join(folder, "new/data");
    const token = loadToken(data);
    expect(token).toMatch(/^[0-9a-f]{48}$/);
    expect(loadToken(data)).toBe(token);
    expect(statSync(join(data, "token")).mode & 0o077).toBe(0);
    expect(loadToken(join(folder, "other"))).not.toBe(token);
  });

  test("is created again if the file is empty", () => {
    writeFileSync(join(folder, "token"), "\n");
    const token = loadToken(folder);
    expect(token).toMatch(/^[0-9a-f]{48}$/);
    expect(readFileSync(join(folder, "token"), "utf8")).toBe(token);
  });
});

test("the environment may set the token if it is long enough", () => {
  process.env.ANNEAL_ADMIN_TOKEN = "short";
  try {
    expect(() => loadToken(folder)).toThrow(/24 characters/);
    process.env.ANNEAL_ADMIN_TOKEN = "a-token-that-several-processes-share";
    expect(loadToken(folder)).toBe("a-token-that-several-processes-share");
  } finally {
    delete process.env.ANNEAL_ADMIN_TOKEN;
  }
});

describe("a request", () => {
  const token = "0123456789abcdef";
  const host = "127.0.0.1:8888";
  let app: FastifyInstance;
  let t: TestTracker;
  beforeAll(async () => {
    t = await TestTracker.open();
    app = fastify();
    app.setErrorHandler(answerError);
    await guard(app, { token, host: "127.0.0.1", access: t.tracker.store.access });
    for (const method of ["GET", "POST"] as const) app.route({ method, url: "/*", handler: () => "in" });
    await app.ready();
  });
  afterAll(async () => {
    await app.close();
    await t.close();
  });

  const ask = async (url: string, headers: Record<string, string> = {}, method: "GET" | "POST" = "GET") => {
    const answer = await app.inject({ method, url, headers: { host, ...headers } });
    return { status: answer.statusCode, body: answer.body, location: answer.headers.location, cookies: answer.cookies };
  };
  /** Returns the browser's cookies after a visit with the token in the address. */
  const visit = async () => {
    const { cookies } = await ask(`/lab?token=${token}`, { accept: "text/html" });
    return cookies.map(({ name, value }) => `${name}=${value}`).join("; ");
  };

  test("is accepted with the token in any supported place only", async () => {
    const ways: Record<string, string>[] = [
      { authorization: `Bearer ${token}` },
      { authorization: `bearer ${token}` },
      { authorization: `token ${token}` },
      { authorization: `Basic ${Buffer.from(`anybody:${token}`).toString("base64")}` },
      { cookie: await visit() },
    ];
    for (const headers of ways) {
      expect(await ask("/api/contents", headers)).toMatchObject({ status: 200, body: "in" });
    }
    expect((await ask(`/api/contents?token=${token}`)).status).toBe(200);
    for (const wrong of ["", "x", token.slice(1), `${token}0`, token.toUpperCase(), "é".repeat(token.length)]) {
      expect((await ask("/api/contents", { authorization: `Bearer ${encodeURIComponent(wrong)}` })).status).toBe(401);
      expect((await ask(`/api/contents?token=${encodeURIComponent(wrong)}`)).status).toBe(401);
      expect((await ask("/api/contents", { cookie: `anneal_token_8888=${encodeURIComponent(wrong)}` })).status).toBe(
        401,
      );
    }
    expect((await ask(`/api/contents?token=${token}&token=${token}`)).status).toBe(401);
  });

  test("for a page is redirected to the address without the token, on this server", async () => {
    const page = { accept: "text/html,*/*" };
    expect(await ask(`/lab/tree/a%20b?token=${token}&reset=1`, page)).toMatchObject({
      status: 302,
      location: "/lab/tree/a%20b?reset=1",
    });
    const away = await ask(`//elsewhere.example/?token=${token}`, page);
    expect(away.location ?? "/").not.toMatch(/^\/\//);
    const [cookie] = (await ask(`/lab?token=${token}`, page)).cookies;
    expect(cookie).toMatchObject({ value: token, httpOnly: true, sameSite: "Strict", path: "/" });
    expect(cookie.name).toContain("8888");
  });

  test("that changes data with only the cookie must come from one of the server's pages", async () => {
    const cookie = await visit();
    const xsrf = (await ask("/lab", { cookie })).cookies.find(({ name }) => name === "_xsrf")?.value ?? "";
    expect(xsrf).not.toBe("");
    const cookies = `${cookie}; _xsrf=${xsrf}`;
    expect((await ask("/api/kernels", { cookie: cookies }, "POST")).status).toBe(403);
    expect((await ask("/api/kernels", { cookie: cookies, "x-xsrftoken": "other" }, "POST")).status).toBe(403);
    expect((await ask("/api/kernels", { cookie, "x-xsrftoken": "" }, "POST")).status).toBe(403);
    const ours: Record<string, string>[] = [
      { "x-xsrftoken": xsrf },
      { origin: `http://${host}` },
      { "sec-fetch-site": "same-origin" },
    ];
    for (const own of ours) {
      expect((await ask("/api/kernels", { cookie: cookies, ...own }, "POST")).status).toBe(200);
    }
    expect((await ask("/api/kernels", { authorization: `Bearer ${token}` }, "POST")).status).toBe(200);
  });

  test("from another origin is refused even with the token", async () => {
    const authorization = `Bearer ${token}`;
    for (const origin of [
      "http://127.0.0.1:9999",
      "http://localhost:8888",
      "https://elsewhere.example",
      "no address",
    ]) {
      expect((await ask("/api/contents", { authorization, origin })).status).toBe(403);
    }
    expect((await ask("/api/contents", { authorization, origin: "null" })).status).toBe(200);
    expect((await ask("/api/contents", { authorization, origin: "null" }, "POST")).status).toBe(403);
    expect((await ask("/api/contents", { authorization, origin: "null", upgrade: "websocket" })).status).toBe(403);
  });
});
