import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import Fastify, { type FastifyInstance, type InjectOptions } from "fastify";
import { Provider } from "oidc-provider";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { pathsOf, type Right } from "../api/endpoints/endpoint.ts";
import { endpoints } from "../api/endpoints/index.ts";
import { answerError, trackerPlugin } from "../api/plugin.ts";
import { type Answer, answer, TestTracker } from "../testing.ts";
import { type GuardOptions, guard } from "./guard.ts";
import { hashOf } from "./tokens.ts";

const OWNER = "the-owner's-token";

let t: TestTracker;
let app: FastifyInstance;
let routes: { method: string; url: string }[];

async function serve(options: Partial<GuardOptions> = {}): Promise<void> {
  app = Fastify({ routerOptions: { maxParamLength: 4096 } });
  routes = [];
  app.addHook("onRoute", ({ method, url }) => {
    for (const each of [method].flat()) routes.push({ method: each, url });
  });
  app.setErrorHandler(answerError);
  await guard(app, { token: OWNER, host: "127.0.0.1", access: t.tracker.store.access, ...options });
  await app.register(trackerPlugin, { tracker: t.tracker });
  await app.ready();
}

beforeEach(async () => {
  t = await TestTracker.open();
  await serve();
});
afterEach(async () => {
  await app.close();
  await t.close();
});

/** Sends a request with a token. */
async function as(token: string, method: InjectOptions["method"], url: string, body?: object): Promise<Answer> {
  const full = url.startsWith("/") ? url : `/api/2.0/mlflow/${url}`;
  const response = await app.inject({
    method,
    url: full,
    headers: { authorization: `Bearer ${token}` },
    ...(body === undefined ? {} : { payload: JSON.stringify(body) }),
  });
  return answer(response.statusCode, response.body === "" ? "{}" : response.body);
}
const owner = (method: InjectOptions["method"], url: string, body?: object) => as(OWNER, method, url, body);

/** Creates a user and returns a token of theirs. */
async function user(name: string, role: string, token: object = {}): Promise<string> {
  expect((await owner("POST", "/api/anneal/users", { name, role })).status).toBe(200);
  const created = await owner("POST", "/api/anneal/tokens", { user: name, label: "test", scope: "admin", ...token });
  return created.text("token");
}

const experiment = async (name: string, token = OWNER): Promise<string> =>
  (await as(token, "POST", "experiments/create", { name })).text("experiment_id");
const run = async (experiment_id: string, token = OWNER): Promise<string> =>
  (await as(token, "POST", "runs/create", { experiment_id })).text("run.info.run_id");

/** Replaces the parameters of a route's address. */
const concrete = (url: string): string => url.replace(/:\w+/g, "x").replace(/\*$/, "x");

const pathsWith = (right: Right): string[] => endpoints.filter((it) => it.right === right).flatMap(pathsOf);

describe("without a token", () => {
  test("only public routes answer", async () => {
    expect(routes.length).toBeGreaterThan(150);
    const open = new Set<string>();
    for (const { method, url } of routes) {
      const response = await app.inject({ method: method as "GET", url: concrete(url) });
      // The address of a part needs a signature, which is missing here.
      if (pathsWith("signature").includes(url)) expect(response.statusCode).toBe(403);
      else if (response.statusCode !== 401) open.add(url);
      else expect(response.body.length).toBeLessThan(400);
    }
    expect([...open]).toEqual(["/health"]);
    expect(pathsWith("public")).toEqual(["/health"]);
    expect(pathsWith("signature")).toEqual(["/api/anneal/artifacts/parts/:id/:number"]);
  });

  test("wrong, expired and revoked tokens and those of disabled users are refused", async () => {
    const name = "ada";
    const token = await user(name, "admin");
    expect((await as(token, "GET", "/api/anneal/me")).status).toBe(200);
    const { access } = t.tracker.store;
    const expired = "anneal_expired";
    const hash = hashOf(expired);
    await access.createToken({
      user: name,
      label: "x",
      scope: "admin",
      session: false,
      hash,
      expiresAt: Date.now() - 1,
    });
    for (const wrong of ["", "x", expired, hashOf(token), OWNER.slice(1)]) {
      expect((await as(wrong, "GET", "/api/anneal/me")).status).toBe(401);
    }
    await owner("PATCH", `/api/anneal/users/${name}`, { disabled: true });
    // Another process may still have the token cached; a new one does not.
    await app.close();
    await serve();
    expect((await as(token, "GET", "/api/anneal/me")).status).toBe(401);
  });

  test("many wrong tokens are rate-limited, and a valid one still works", async () => {
    let last = 0;
    for (let i = 0; i < 25; i++) last = (await as(`wrong ${i}`, "GET", "/api/anneal/me")).status;
    expect(last).toBe(429);
    expect((await owner("GET", "/api/anneal/me")).status).toBe(200);
  });

  test("only a hash of the token is stored", async () => {
    const token = await user("ada", "viewer");
    const listed = await owner("GET", "/api/anneal/tokens?user=ada");
    expect(JSON.stringify(listed.body)).not.toContain(token);
    expect(JSON.stringify(listed.body)).not.toContain(hashOf(token));
    expect(await t.tracker.store.access.findToken(token)).toBeUndefined();
  });
});

describe("roles", () => {
  test("a viewer reads, an editor writes, an admin grants roles", async () => {
    const [viewer, editor, admin] = [await user("v", "viewer"), await user("e", "editor"), await user("a", "admin")];
    const id = await experiment("one");
    const run_id = await run(id);
    const log = (token: string) => as(token, "POST", "runs/log-metric", { run_id, key: "k", value: 1, timestamp: 1 });
    const read = (token: string) => as(token, "GET", `runs/get?run_id=${run_id}`);
    const grant = (token: string) =>
      as(token, "PUT", "/api/anneal/grants", { user: "v", kind: "experiment", target: id, role: "editor" });
    expect([(await read(viewer)).status, (await log(viewer)).status]).toEqual([200, 403]);
    expect([(await read(editor)).status, (await log(editor)).status, (await grant(editor)).status]).toEqual([
      200, 200, 403,
    ]);
    expect((await log(viewer)).text("message")).toContain("v has the role viewer for experiment 1; editor is required");
    expect((await grant(admin)).status).toBe(200);
    await app.close();
    await serve();
    expect((await log(viewer)).status).toBe(200);
  });

  test("a user without a role sees only what was granted, through every route", async () => {
    const hidden = await experiment("hidden");
    const shown = await experiment("shown");
    const secret = await run(hidden);
    const open = await run(shown);
    await owner("POST", "runs/log-metric", { run_id: secret, key: "SECRET", value: 1, timestamp: 1 });
    await owner("POST", "runs/set-tag", { run_id: secret, key: "t", value: "SECRET" });
    for (const name of ["SECRET-model", "open-model"]) {
      await owner("POST", "registered-models/create", { name });
      await owner("POST", "model-versions/create", { name, source: `runs:/${secret}/weights`, run_id: secret });
    }
    const put = (path: string) =>
      app.inject({
        method: "PUT",
        url: `/api/2.0/mlflow-artifacts/artifacts/${path}`,
        headers: { authorization: `Bearer ${OWNER}` },
        payload: "SECRET",
      });
    expect((await put(`${hidden}/${secret}/artifacts/file`)).statusCode).toBe(200);
    const token = await user("nobody", "none");
    for (const grant of [
      { kind: "experiment", target: shown, role: "editor" },
      { kind: "model", target: "open-model", role: "editor" },
    ]) {
      await owner("PUT", "/api/anneal/grants", { user: "nobody", ...grant });
    }
    // Requests the hidden objects from every route, in each of its parameters.
    const values: Record<string, string> = {
      run_id: secret,
      run_uuid: secret,
      run_ids: secret,
      experiment_id: hidden,
      experiment_ids: hidden,
      experiment_name: "hidden",
      name: "SECRET-model",
      version: "1",
      stage: "Production",
      metric_key: "SECRET",
      path: "file",
      alias: "a",
      key: "t",
      value: "changed",
      new_name: "mine",
      source: `mlflow-artifacts:/${hidden}/${secret}/artifacts`,
      model_id: "m-x",
      timestamp: "1",
      status: "FINISHED",
      description: "changed",
    };
    const ownRun = await run(shown, token);
    for (const { method, url } of routes) {
      if (!url.startsWith("/api") || url.endsWith("/events") || method === "HEAD") continue;
      const address = url
        .replace(/:(\w+)/g, (_, name: string) => values[name] ?? "x")
        .replace(/\*$/, `${hidden}/${secret}/artifacts/file`);
      const query = method === "GET" ? `?${new URLSearchParams(values)}` : "";
      const payload = JSON.stringify({
        ...values,
        experiment_ids: [hidden],
        run_ids: [secret],
        gates: [],
        statements: [],
      });
      const response = await app.inject({
        method: method as "GET",
        url: address + query,
        headers: { authorization: `Bearer ${token}` },
        ...(method === "GET" ? {} : { payload }),
      });
      // An error may repeat the name in the request, but not the object's content.
      const text = response.body.replaceAll("SECRET-model", "");
      expect([method, address, text.includes("SECRET")]).toEqual([method, address, false]);
    }
    const after = await owner("GET", `runs/get?run_id=${secret}`);
    expect(after.at("run.info.status")).toBe("RUNNING");
    expect(JSON.stringify(after.at("run.data.tags"))).not.toContain("changed");
    expect((await owner("GET", "registered-models/get?name=SECRET-model")).status).toBe(200);
    // The granted objects are visible.
    expect((await as(token, "GET", `runs/get?run_id=${open}`)).status).toBe(200);
    const search = await as(token, "POST", "experiments/search", { max_results: 10 });
    expect((search.at("experiments") as { name: string }[]).map(({ name }) => name)).toEqual(["shown"]);
    const models = await as(token, "GET", "registered-models/search");
    expect((models.at("registered_models") as { name: string }[]).map(({ name }) => name)).toEqual(["open-model"]);
    const runs = await as(token, "POST", "runs/search", { experiment_ids: [hidden, shown] });
    expect((runs.at("runs") as { info: { run_id: string } }[]).map(({ info }) => info.run_id).sort()).toEqual(
      [open, ownRun].sort(),
    );
    // A user's own model does not give access to the files of others.
    const source = `mlflow-artifacts:/${hidden}/${secret}/artifacts`;
    expect((await as(token, "POST", "model-versions/create", { name: "open-model", source })).status).toBe(403);
    const claimed = { name: "mine", artifact_location: `mlflow-artifacts:/${hidden}` };
    expect((await as(token, "POST", "experiments/create", claimed)).status).toBe(403);
  });

  test("a reader of a model reads its files, but no other files of their experiment", async () => {
    const id = await experiment("hidden");
    const run_id = await run(id);
    for (const path of ["model/weights", "notes"]) {
      const url = `/api/2.0/mlflow-artifacts/artifacts/${id}/${run_id}/artifacts/${path}`;
      await app.inject({ method: "PUT", url, headers: { authorization: `Bearer ${OWNER}` }, payload: "bytes" });
    }
    await owner("POST", "registered-models/create", { name: "m" });
    await owner("POST", "model-versions/create", { name: "m", source: `runs:/${run_id}/model`, run_id });
    const token = await user("reader", "none");
    const read = async (address: string) =>
      (await app.inject({ url: address, headers: { authorization: `Bearer ${token}` } })).statusCode;
    const file = "/model-versions/get-artifact?name=m&version=1&path=weights";
    expect(await read(file)).toBe(403);
    await owner("PUT", "/api/anneal/grants", { user: "reader", kind: "model", target: "m", role: "viewer" });
    await app.close();
    await serve();
    expect(await read(file)).toBe(200);
    expect(await read("/model-versions/get-artifact?name=m&version=1&path=..%2Fnotes")).toBe(400);
    expect(await read(`/get-artifact?run_id=${run_id}&path=notes`)).toBe(403);
  });

  test("a creator may share what they created; setting gates needs an admin", async () => {
    const [maker, other] = [await user("maker", "editor"), await user("other", "none")];
    const id = await experiment("mine", maker);
    const share = { user: "other", kind: "experiment", target: id, role: "viewer" };
    expect((await as(other, "GET", `experiments/get?experiment_id=${id}`)).status).toBe(403);
    await app.close();
    await serve();
    expect((await as(maker, "PUT", "/api/anneal/grants", share)).status).toBe(200);
    expect((await as(other, "GET", `experiments/get?experiment_id=${id}`)).status).toBe(200);
    await owner("POST", "registered-models/create", { name: "m" });
    const gates = { gates: [{ metric: "loss", op: "<", bound: 1 }] };
    expect((await as(maker, "PUT", "/api/anneal/registered-models/m/gates", gates)).status).toBe(403);
    expect((await owner("PUT", "/api/anneal/registered-models/m/gates", gates)).status).toBe(200);
  });

  test("a token is limited by its scope", async () => {
    const reading = await user("ada", "admin", { scope: "read" });
    const created = await owner("POST", "/api/anneal/tokens", { user: "ada", label: "w", scope: "write" });
    const writing = created.text("token");
    expect((await as(reading, "POST", "experiments/create", { name: "a" })).status).toBe(403);
    expect((await as(writing, "POST", "experiments/create", { name: "a" })).status).toBe(200);
    for (const token of [reading, writing]) {
      expect((await as(token, "POST", "/api/anneal/tokens", { label: "more", scope: "admin" })).status).toBe(403);
      expect((await as(token, "GET", "/api/anneal/users")).status).toBe(403);
    }
  });

  test("a user manages only their own tokens", async () => {
    const [ada, bob] = [await user("ada", "viewer"), await user("bob", "viewer")];
    const own = await as(ada, "POST", "/api/anneal/tokens", { label: "laptop", expires_in_days: 7 });
    expect(own.text("token")).toMatch(/^anneal_/);
    expect((await as(bob, "GET", "/api/anneal/tokens?user=ada")).status).toBe(403);
    expect((await as(bob, "POST", "/api/anneal/tokens", { user: "ada", label: "x" })).status).toBe(403);
    expect((await as(bob, "DELETE", `/api/anneal/tokens/${own.text("id")}`)).status).toBe(404);
    expect((await as(ada, "DELETE", `/api/anneal/tokens/${own.text("id")}`)).status).toBe(200);
  });
});

test("changes are in the audit log, which admins read", async () => {
  const ada = await user("ada", "editor");
  await as(ada, "POST", "registered-models/create", { name: "m" });
  await as(ada, "DELETE", "registered-models/delete", { name: "none-such" });
  const run_id = await run("0", ada);
  await as(ada, "POST", "runs/log-metric", { run_id, key: "k", value: 1, timestamp: 1 });
  const text = async () => {
    const log = await owner("GET", "/api/anneal/audit?who=ada");
    const entries = log.at("entries") as { action: string; target: string; status: number }[];
    return entries.map(({ action, target, status }) => [action, target, status]);
  };
  // The entry is written after the response.
  await expect.poll(text).toEqual([
    ["POST /api/2.0/mlflow/runs/create", "experiment_id=0", 200],
    ["DELETE /api/2.0/mlflow/registered-models/delete", "name=none-such", 403],
    ["POST /api/2.0/mlflow/registered-models/create", "name=m", 200],
  ]);
  expect((await as(ada, "GET", "/api/anneal/audit")).status).toBe(403);
});

test("a user's requests are rate-limited, the owner's are not", async () => {
  await app.close();
  await serve({ rateLimit: 5 });
  const token = await user("ada", "viewer");
  const statuses = [];
  for (let i = 0; i < 7; i++) statuses.push((await as(token, "GET", "/api/anneal/me")).status);
  expect(statuses).toEqual([200, 200, 200, 200, 200, 429, 429]);
  for (let i = 0; i < 7; i++) expect((await owner("GET", "/api/anneal/me")).status).toBe(200);
});

describe("signing in with OpenID Connect", () => {
  let provider: Server;
  let issuer: string;
  const claims: Record<string, unknown> = {};

  beforeEach(async () => {
    // A real provider that accepts any user name in its form.
    let handle: (...args: Parameters<ReturnType<Provider["callback"]>>) => unknown = () => undefined;
    provider = createServer((request, response) => void handle(request, response));
    await new Promise<void>((resolve) => provider.listen(0, "127.0.0.1", resolve));
    issuer = `http://127.0.0.1:${(provider.address() as AddressInfo).port}`;
    const oidc = new Provider(issuer, {
      clients: [
        {
          client_id: "anneal",
          client_secret: "shared secret",
          redirect_uris: ["http://tracker.test/auth/callback"],
        },
      ],
      claims: { openid: ["sub"], email: ["email", "email_verified"], profile: ["preferred_username"] },
      conformIdTokenClaims: false,
      findAccount: (_context, id) => ({ accountId: id, claims: async () => ({ sub: id, ...claims }) }),
      features: { devInteractions: { enabled: true } },
      cookies: { keys: ["k"] },
    });
    handle = oidc.callback();
    await app.close();
    await serve({
      oidc: { issuer, clientId: "anneal", clientSecret: "shared secret", role: "viewer", url: "http://tracker.test" },
    });
  });
  afterEach(() => {
    provider.closeAllConnections();
    provider.close();
  });

  /** Follows the browser's requests from the button to the page after signing in. */
  async function signIn(login: string): Promise<{ status: number; cookies: Record<string, string>; body: string }> {
    const jar: Record<string, string> = {};
    const keep = (cookies: readonly string[]): void => {
      for (const cookie of cookies) {
        const [, name = "", value = ""] = /^([^=]+)=([^;]*)/.exec(cookie) ?? [];
        jar[name] = value;
      }
    };
    const header = () => ({
      cookie: Object.entries(jar)
        .map(([name, value]) => `${name}=${value}`)
        .join("; "),
    });
    const start = await app.inject({ url: "/auth/login?back=/tracker/models", headers: { host: "tracker.test" } });
    expect(start.statusCode).toBe(302);
    keep([start.headers["set-cookie"] ?? []].flat());
    let url = String(start.headers.location);
    for (let hop = 0; hop < 12; hop++) {
      if (url.startsWith("http://tracker.test/")) {
        const { pathname, search } = new URL(url);
        const back = await app.inject({ url: pathname + search, headers: { host: "tracker.test", ...header() } });
        keep([back.headers["set-cookie"] ?? []].flat());
        return { status: back.statusCode, cookies: jar, body: back.body };
      }
      let page = await fetch(url, { redirect: "manual", headers: header() });
      keep(page.headers.getSetCookie());
      if (page.status === 200) {
        const html = await page.text();
        const form = new URLSearchParams({
          prompt: /value="(login|consent)"/.exec(html)?.[1] ?? "",
          login,
          password: "x",
        });
        page = await fetch(url, { method: "POST", redirect: "manual", headers: header(), body: form });
        keep(page.headers.getSetCookie());
      }
      url = new URL(page.headers.get("location") ?? "", url).href;
    }
    throw new Error("the provider did not redirect back");
  }
  const me = async (cookies: Record<string, string>) => {
    const cookie = Object.entries(cookies)
      .map(([name, value]) => `${name}=${value}`)
      .join("; ");
    const response = await app.inject({ url: "/api/anneal/me", headers: { host: "tracker.test", cookie } });
    return answer(response.statusCode, response.body);
  };

  test("creates an account at the first sign-in and reuses it", async () => {
    Object.assign(claims, { preferred_username: "ada", email: "ada@x.test", email_verified: true });
    const first = await signIn("ada-at-provider");
    expect(first).toMatchObject({ status: 200 });
    expect(first.body).toContain("/tracker/models");
    expect((await me(first.cookies)).body).toMatchObject({ name: "ada@x.test", role: "viewer", owner: false });
    await owner("PATCH", "/api/anneal/users/ada@x.test", { role: "editor" });
    const second = await signIn("ada-at-provider");
    expect((await me(second.cookies)).body).toMatchObject({ name: "ada@x.test", role: "editor" });
    expect((await owner("GET", "/api/anneal/users")).at("users")).toHaveLength(1);
  });

  test("uses an account created by an admin only for a verified email address", async () => {
    await user("boss@x.test", "admin");
    Object.assign(claims, { preferred_username: "boss@x.test", email: "boss@x.test", email_verified: false });
    const pretender = await signIn("pretender");
    expect((await me(pretender.cookies)).body).toMatchObject({ name: "pretender", role: "viewer" });
    Object.assign(claims, { email_verified: true });
    const boss = await signIn("boss-at-provider");
    expect((await me(boss.cookies)).body).toMatchObject({ name: "boss@x.test", role: "admin" });
  });

  test("is refused for another browser's attempt, a forged response and a disabled user", async () => {
    for (const url of ["/auth/callback?code=x&state=y", "/auth/callback"]) {
      expect((await app.inject({ url, headers: { host: "tracker.test" } })).statusCode).toBe(401);
    }
    Object.assign(claims, { preferred_username: "eve", email: "eve@x.test", email_verified: true });
    await signIn("eve");
    await owner("PATCH", "/api/anneal/users/eve@x.test", { disabled: true });
    expect((await signIn("eve")).status).toBe(403);
  });

  test("signing out also ends the session of a copied cookie", async () => {
    const { cookies } = await signIn("ada");
    const cookie = Object.entries(cookies)
      .map(([name, value]) => `${name}=${value}`)
      .join("; ");
    await app.inject({ url: "/auth/logout", headers: { host: "tracker.test", cookie } });
    await app.close();
    await serve();
    expect((await me(cookies)).status).toBe(401);
  });

  test("the sign-in page offers it and does not redirect to other sites", async () => {
    const page = await app.inject({ url: "/tracker/runs", headers: { accept: "text/html", host: "tracker.test" } });
    expect(page.body).toContain("Sign in with 127.0.0.1");
    for (const back of ["https://evil.test", "//evil.test", "/\\evil.test", "javascript:alert(1)"]) {
      const start = await app.inject({ url: "/auth/login", query: { back }, headers: { host: "tracker.test" } });
      const state =
        [start.headers["set-cookie"] ?? []]
          .flat()
          .join()
          .match(/anneal_oidc=([^;]+)/)?.[1] ?? "";
      expect(JSON.parse(Buffer.from(state, "base64url").toString())).toMatchObject({ back: "/tracker/" });
    }
  });
});
