import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { request } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, describe, expect, test } from "vitest";
import { type ServedTracker, serveTracker } from "./serve.ts";
import { openTracker } from "./tracker.ts";

const dataDir = mkdtempSync(join(tmpdir(), "anneal-serve-"));
let served: ServedTracker | undefined;
afterEach(async () => {
  await served?.close();
  served = undefined;
});
afterAll(() => rmSync(dataDir, { recursive: true, force: true }));

async function serve(token?: string): Promise<string> {
  served = await serveTracker({
    dataDir,
    host: "127.0.0.1",
    port: 0,
    trustedProxies: ["127.0.0.1"],
    ...(token === undefined ? {} : { token }),
  });
  return served.url;
}

const EXPERIMENT = "/api/2.0/mlflow/experiments/get?experiment_id=0";

describe("a tracker with a token", () => {
  test("requires it for everything except /health", async () => {
    const url = await serve("secret");
    for (const path of [
      EXPERIMENT,
      "/api/anneal/events",
      "/tracker/",
      "/tracker/runs/x",
      "/get-artifact?run_id=x&path=y",
      "/version",
      "/nowhere",
    ]) {
      const answer = await fetch(url + path);
      expect([path, answer.status]).toEqual([path, 401]);
      expect(await answer.json()).toMatchObject({ error_code: "UNAUTHENTICATED" });
    }
    expect((await fetch(`${url}/health`)).status).toBe(200);
  });

  test("accepts the parts of an upload without it at signed addresses, also behind a TLS proxy", async () => {
    const url = await serve("secret");
    const headers = { authorization: "Bearer secret" };
    const mpu = (action: string, body: object, more = {}) =>
      fetch(`${url}/api/2.0/mlflow-artifacts/mpu/${action}/0/parts`, {
        method: "POST",
        headers: { ...headers, ...more },
        body: JSON.stringify({ path: "file", ...body }),
      });
    const begun = await mpu("create", { num_parts: 1 });
    const { upload_id, credentials } = (await begun.json()) as { upload_id: string; credentials: { url: string }[] };
    const sent = await fetch(credentials[0].url, { method: "PUT", body: "content" });
    expect(sent.status).toBe(200);
    const parts = [{ part_number: 1, etag: sent.headers.get("etag") }];
    expect((await mpu("complete", { upload_id, parts })).status).toBe(200);
    const file = await fetch(`${url}/api/2.0/mlflow-artifacts/artifacts/0/parts/file`, { headers });
    expect(await file.text()).toBe("content");
    const forged = credentials[0].url.replace(/signature=\w+/, "signature=0");
    expect((await fetch(forged, { method: "PUT", body: "x" })).status).toBe(403);
    expect((await fetch(credentials[0].url, { method: "GET" })).status).toBe(401);
    const proxied = await mpu(
      "create",
      { num_parts: 1 },
      { "x-forwarded-proto": "https", "x-forwarded-host": "t.example" },
    );
    expect(await proxied.text()).toContain('"url":"https://t.example/');
  });

  test("accepts it as Bearer, as a password and in the address", async () => {
    const url = await serve("secret");
    const ask = (authorization: string) => fetch(url + EXPERIMENT, { headers: { authorization } });
    expect((await ask("Bearer secret")).status).toBe(200);
    expect((await ask("Bearer wrong")).status).toBe(401);
    expect((await ask(`Basic ${Buffer.from("me:secret").toString("base64")}`)).status).toBe(200);
    expect((await ask(`Basic ${Buffer.from("me:wrong").toString("base64")}`)).status).toBe(401);

    const first = await fetch(`${url}/tracker/runs/x?token=secret&tab=a`, {
      redirect: "manual",
      headers: { accept: "text/html" },
    });
    expect([first.status, first.headers.get("location")]).toEqual([302, "/tracker/runs/x?tab=a"]);
    const cookie = first.headers.get("set-cookie") ?? "";
    expect(cookie).toMatch(/HttpOnly/i);
    expect(cookie).toMatch(/SameSite=Strict/i);
    const second = await fetch(url + EXPERIMENT, { headers: { cookie: cookie.split(";")[0] ?? "" } });
    expect(second.status).toBe(200);
  });
});

describe("a tracker without a token", () => {
  test("refuses requests from other sites' pages and for other host names", async () => {
    const url = await serve();
    expect((await fetch(url + EXPERIMENT)).status).toBe(200);
    const foreign = await fetch(url + EXPERIMENT, { headers: { origin: "https://evil.example" } });
    expect(foreign.status).toBe(403);
    const { hostname, port } = new URL(url);
    const status = await new Promise((resolve, reject) => {
      request({ hostname, port, path: EXPERIMENT, headers: { host: `evil.example:${port}` } }, (answer) => {
        answer.resume();
        resolve(answer.statusCode);
      })
        .on("error", reject)
        .end();
    });
    expect(status).toBe(403);
  });

  test("reports a port that is in use", async () => {
    const url = await serve();
    const port = Number(new URL(url).port);
    const second = join(dataDir, "second");
    await expect(serveTracker({ dataDir: second, host: "127.0.0.1", port })).rejects.toThrow(`Port ${port} is in use`);
  });
});

test("subscribers receive events, many points as one event", async () => {
  const url = await serve();
  const post = async (path: string, body: object) => {
    const answer = await fetch(`${url}/api/2.0/mlflow/${path}`, { method: "POST", body: JSON.stringify(body) });
    return (await answer.json()) as { run: { info: { run_id: string } } };
  };
  const stream = await fetch(`${url}/api/anneal/events`);
  let text = "";
  const reading = (async () => {
    const decoder = new TextDecoder();
    for await (const chunk of stream.body ?? []) text += decoder.decode(chunk, { stream: true });
  })().catch(() => undefined);
  await expect.poll(() => text).toContain("event: open");
  const { run_id } = (await post("runs/create", { experiment_id: "0" })).run.info;
  for (let step = 0; step < 20; step++)
    await post("runs/log-metric", { run_id, key: "loss", value: 1, timestamp: 1, step });
  await post("registered-models/create", { name: "m" });
  await expect.poll(() => text, { timeout: 5000 }).toContain('"name":"m"');
  expect(text).toContain(
    `event: run\ndata: {"type":"run","change":"created","experiment_id":"0","run_id":"${run_id}"}`,
  );
  expect(text).toContain(
    `event: metrics\ndata: {"type":"metrics","keys":["loss"],"experiment_id":"0","run_id":"${run_id}"}`,
  );
  expect(text.split("event: metrics").length - 1).toBeLessThan(10);
  // An open event stream does not prevent the server from closing, and is closed with it.
  await served?.close();
  served = undefined;
  await reading;
});

test("acknowledged points survive killing the process", async () => {
  const home = mkdtempSync(join(tmpdir(), "anneal-killed-"));
  const program = `
    import { serveTracker } from ${JSON.stringify(new URL("./serve.js", import.meta.url).href)};
    const { url } = await serveTracker({ dataDir: ${JSON.stringify(home)}, host: "127.0.0.1", port: 0 });
    console.log(url);
  `;
  const child = spawn(process.execPath, ["--input-type=module", "-e", program], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const ended = once(child, "exit");
  const [line] = (await once(child.stdout, "data")) as [Buffer];
  const url = line.toString().trim();
  const post = async (path: string, body: object) =>
    (await (await fetch(`${url}/api/2.0/mlflow/${path}`, { method: "POST", body: JSON.stringify(body) })).json()) as {
      run: { info: { run_id: string } };
    };
  const { run_id } = (await post("runs/create", { experiment_id: "0" })).run.info;
  let acknowledged = 0;
  const logging = (async () => {
    for (let step = 0; ; step++) {
      await post("runs/log-metric", { run_id, key: "loss", value: step, timestamp: 1, step });
      acknowledged = step + 1;
    }
  })().catch(() => undefined);
  await expect.poll(() => acknowledged).toBeGreaterThan(50);
  child.kill("SIGKILL");
  await ended;
  await logging;
  const tracker = await openTracker({ dataDir: home });
  const { json } = await tracker.store.metrics.history(run_id, "loss", { limit: 25_000 });
  const steps = (JSON.parse(`[${json}]`) as { step: number }[]).map(({ step }) => step);
  await tracker.close();
  rmSync(home, { recursive: true, force: true });
  // One more point may be stored whose response did not arrive.
  expect([acknowledged, acknowledged + 1]).toContain(steps.length);
  expect(steps).toEqual(steps.map((_, index) => index));
});

test("any address under /tracker serves the pages to authorized users", async () => {
  const url = await serve();
  for (const path of ["/tracker", "/tracker/", "/tracker/runs/some-run", "/tracker/models/a%20b/versions/1"]) {
    const answer = await fetch(url + path);
    const text = await answer.text();
    // Without a build, the response says how to make one.
    if (answer.status === 503) expect(text).toContain("npm run build");
    else expect([path, answer.status, text.includes('<div id="root">')]).toEqual([path, 200, true]);
  }
  const outside = await fetch(`${url}/tracker/assets/..%2f..%2f..%2fpackage.json`);
  expect(await outside.text()).not.toContain("devDependencies");
});
