// Attacks on the way in: host names, forwarded addresses, wrong tokens, and connections that outlive the right to them.
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { type IncomingMessage, request } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { afterEach, describe, expect, test } from "vitest";
import { type ServedTracker, type ServeOptions, serveTracker } from "../../tracker/index.ts";
import { AttackedServer, type User } from "./server.ts";

const closers: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
});

async function serve(options: Partial<ServeOptions> = {}): Promise<ServedTracker> {
  const dataDir = mkdtempSync(join(tmpdir(), "anneal-attacks-"));
  const served = await serveTracker({ dataDir, host: "127.0.0.1", port: 0, ...options });
  closers.push(async () => {
    await served.close();
    rmSync(dataDir, { recursive: true, force: true });
  });
  return served;
}

/** The status for a request with any headers, which `fetch` does not allow. */
async function statusFor(url: string, headers: Record<string, string>): Promise<number> {
  const sent = request(url, { headers });
  sent.end();
  const [answer] = (await once(sent, "response")) as [IncomingMessage];
  answer.resume();
  return answer.statusCode ?? 0;
}

describe("without authentication", () => {
  test("only the names of this machine are accepted", async () => {
    const { url } = await serve();
    const port = new URL(url).port;
    const path = `${url}/api/anneal/me`;
    for (const name of ["127.0.0.1", "localhost", "LOCALHOST", "127.8.7.6", "[::1]"])
      expect([name, await statusFor(path, { host: `${name}:${port}` })]).toEqual([name, 200]);
    const others = [
      "127.evil.com",
      "127.0.0.1.evil.com",
      "127.",
      "127.0.0.1.nip.io",
      "localhost.evil.com",
      "localhost.",
      "evil-localhost",
      "::1.evil.com",
      "[::1].evil.com",
      "0x7f.1.evil.com",
      "evil.com#127.0.0.1",
      "evil.com",
    ];
    for (const name of others) {
      expect([name, await statusFor(path, { host: `${name}:${port}` })]).toEqual([name, 403]);
      expect([name, await statusFor(path, { host: name })]).toEqual([name, 403]);
    }
  });
});

describe("wrong tokens", () => {
  const token = "token-of-the-owner-of-the-tested-server";
  const ways: [string, (url: string, token: string) => [string, Record<string, string>]][] = [
    ["a header", (url, token) => [url, { authorization: `Bearer ${token}` }]],
    ["a password", (url, token) => [url, { authorization: `Basic ${Buffer.from(`x:${token}`).toString("base64")}` }]],
    ["the address", (url, token) => [`${url}?token=${token}`, {}]],
    ["a cookie", (url, token) => [url, { cookie: `anneal_token_${new URL(url).port}=${token}` }]],
  ];

  test.each(ways)("in %s are limited", async (_, way) => {
    const { url } = await serve({ token });
    const path = `${url}/api/anneal/me`;
    const statuses: number[] = [];
    for (let guess = 0; guess < 30; guess++) statuses.push(await statusFor(...way(path, `guess-${guess}`)));
    expect(statuses.slice(0, 20)).toEqual(Array(20).fill(401));
    expect(statuses.slice(20)).toEqual(Array(10).fill(429));
    // The right token still works.
    expect(await statusFor(...way(path, token))).toBe(200);
  });

  const guesses = async (url: string): Promise<number[]> => {
    const statuses: number[] = [];
    for (let guess = 0; guess < 25; guess++) {
      const headers = { authorization: "Bearer wrong", "x-forwarded-for": `203.0.113.${guess}` };
      statuses.push(await statusFor(`${url}/api/anneal/me`, headers));
    }
    return statuses;
  };

  test("are counted for the client's own address, whatever it forwards", async () => {
    const { url } = await serve({ token });
    expect((await guesses(url)).slice(20)).toEqual(Array(5).fill(429));
  });

  test("are counted for the forwarded address behind a proxy that was named", async () => {
    const { url } = await serve({ token, trustedProxies: ["127.0.0.1"] });
    expect(await guesses(url)).toEqual(Array(25).fill(401));
  });
});

describe("an open event stream", () => {
  /** Opens the stream. @returns its text so far, and whether it has ended */
  async function open(user: User): Promise<{ text: () => string; ended: () => boolean }> {
    const response = await user.fetch("/api/anneal/events");
    expect(response.status).toBe(200);
    let text = "";
    let ended = false;
    void (async () => {
      const decoder = new TextDecoder();
      for await (const piece of response.body ?? []) text += decoder.decode(piece as Uint8Array);
    })()
      .catch(() => undefined)
      .finally(() => {
        ended = true;
      });
    await expect.poll(() => text).toContain("event: open");
    return { text: () => text, ended: () => ended };
  }

  test("ends when its user is disabled, and shows nothing after a right is revoked", async () => {
    const server = await AttackedServer.start();
    closers.push(() => server.close());
    const { owner } = server;
    const experiment = await owner.experiment("secret");
    const disabled = await server.user("dora", "viewer");
    const withoutToken = await server.user("theo", "viewer");
    const demoted = await server.grant(await server.user("rita", "none"), "experiment", experiment, "viewer");
    const streams = {
      disabled: await open(disabled),
      withoutToken: await open(withoutToken),
      demoted: await open(demoted),
    };
    await owner.run(experiment);
    for (const stream of Object.values(streams)) await expect.poll(stream.text).toContain("event: run");

    await owner.must("PATCH", "/api/anneal/users/dora", { disabled: true });
    const tokens = await owner.get("/api/anneal/tokens", { user: "theo" });
    for (const { id } of tokens.body.tokens as { id: string }[]) await owner.must("DELETE", `/api/anneal/tokens/${id}`);
    await owner.must("DELETE", "/api/anneal/grants", { user: "rita", kind: "experiment", target: experiment });
    // A change is seen once the guard forgets the token, and the stream asks again.
    await pause(7000);
    expect(streams.disabled.ended()).toBe(true);
    expect(streams.withoutToken.ended()).toBe(true);
    expect(streams.demoted.ended()).toBe(false);
    const before = streams.demoted.text().match(/event: run/g)?.length;
    await owner.run(experiment);
    await pause(1000);
    expect(streams.demoted.text().match(/event: run/g)?.length).toBe(before);
  });
});
