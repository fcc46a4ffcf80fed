// The studio's server: authentication and files.
import { mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { request } from "node:http";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { WebSocket } from "ws";
import { cleanUp, Server, scratch } from "./support.ts";

afterAll(cleanUp);

describe("a request", () => {
  let studio: Server;
  beforeAll(async () => {
    studio = await Server.start("start", scratch("auth"));
  });

  /** The status of a request with the given headers and no other token. */
  const status = (path: string, headers: Record<string, string> = {}, method = "GET") =>
    new Promise<{ status: number | undefined; body: string; headers: NodeJS.Dict<string | string[]> }>(
      (resolve, reject) => {
        const sent = request(studio.url + path, { method, headers }, (response) => {
          let body = "";
          response.setEncoding("utf8").on("data", (text: string) => {
            body += text;
          });
          response.on("end", () => resolve({ status: response.statusCode, body, headers: response.headers }));
        });
        sent.on("error", reject);
        sent.end();
      },
    );
  /** The status of the response to a websocket handshake; 101 if it succeeds. */
  const upgrade = (path: string, headers: Record<string, string>) =>
    new Promise<number | undefined>((resolve, reject) => {
      const socket = new WebSocket(studio.url.replace("http", "ws") + path, { headers });
      socket.on("open", () => {
        resolve(101);
        socket.terminate();
      });
      socket.on("unexpected-response", (_, response) => resolve(response.statusCode));
      socket.on("error", reject);
    });
  const page = { accept: "text/html" };
  const bearer = () => ({ authorization: `Bearer ${studio.token}` });

  test("without the token gets the login page, or 401 outside pages", async () => {
    for (const path of ["/lab", "/tracker/", "/tracker/runs/1", "/"]) {
      const answer = await status(path, page);
      expect(answer.status).toBe(401);
      expect(answer.body).toContain('<input name="token" type="password"');
    }
    for (const path of [
      "/api/contents",
      "/api/kernels",
      "/api/2.0/mlflow/experiments/search",
      "/static/lab/build.json",
    ]) {
      expect((await status(path)).status).toBe(401);
      expect((await status(path, { authorization: "Bearer wrong" })).status).toBe(401);
      expect((await status(`${path}?token=wrong`)).status).toBe(401);
    }
    expect((await status("/lab?token=wrong", page)).body).toContain("That token is invalid or has expired");
    expect((await status("/health")).status).toBe(200);
  });

  test("with the token in the URL gets a cookie and a redirect to the URL without it", async () => {
    const first = await status(`/lab?token=${studio.token}&reset`, page);
    expect(first).toMatchObject({ status: 302, headers: { location: "/lab?reset=" } });
    const cookies = [first.headers["set-cookie"]].flat();
    expect(cookies.join()).toMatch(/HttpOnly.*SameSite=Strict/);
    const cookie = String(cookies[0]).split(";")[0];
    expect((await status("/lab", { ...page, cookie })).body).toContain("jupyter-config-data");
    // Requests from pages of other sites lack the _xsrf cookie.
    expect((await status("/api/kernels", { cookie }, "POST")).status).toBe(403);
    const xsrf = { cookie: `${cookie}; _xsrf=abc`, "x-xsrftoken": "abc" };
    expect((await status("/api/sessions", xsrf, "POST")).status).toBe(400);
  });

  test("from another site is refused, even with the token", async () => {
    const origin = "https://elsewhere.example";
    expect((await status("/api/contents", { ...bearer(), origin })).status).toBe(403);
    expect((await status("/tracker/", { ...bearer(), ...page, origin })).status).toBe(403);
    expect((await status("/api/kernels", { ...bearer(), origin: "null" }, "POST")).status).toBe(403);
    expect((await status("/api/contents", { ...bearer(), origin: studio.url })).status).toBe(200);
  });

  test("for a websocket needs the token and the same origin", async () => {
    const path = "/api/events/subscribe";
    expect(await upgrade(path, {})).toBe(401);
    expect(await upgrade(path, { authorization: "Bearer wrong" })).toBe(401);
    expect(await upgrade(path, { ...bearer(), origin: "https://elsewhere.example" })).toBe(403);
    expect(await upgrade(path, { ...bearer(), origin: "null" })).toBe(403);
    expect(await upgrade(path, { ...bearer(), origin: studio.url })).toBe(101);
    expect(await upgrade(path, bearer())).toBe(101);
  });
});

describe("files", () => {
  const root = scratch("files");
  let studio: Server;
  beforeAll(async () => {
    mkdirSync(join(root, "shown/sub"), { recursive: true });
    writeFileSync(join(root, "shown/broken.ipynb"), '{"cells": [\n');
    writeFileSync(join(root, "shown/number.ipynb"), "42");
    writeFileSync(join(root, "shown/empty.ipynb"), "");
    writeFileSync(join(root, "shown/bytes.bin"), Buffer.from([0xff, 0xfe, 0, 1]));
    writeFileSync(join(root, "shown/.hidden"), "");
    writeFileSync(join(root, "outside.txt"), "secret");
    studio = await Server.start("start", scratch("files-data"), ["--root", join(root, "shown")]);
  });

  const contents = async (path: string, options: RequestInit = {}) => {
    const answer = await studio.fetch(`/api/contents/${path}`, options);
    const text = await answer.text();
    return { status: answer.status, body: text === "" ? {} : (JSON.parse(text) as Record<string, unknown>) };
  };
  const send = (method: string, path: string, body: object) =>
    contents(path, { method, body: JSON.stringify(body), headers: { "content-type": "application/json" } });

  test("are listed, except hidden ones", async () => {
    const { content } = await studio.ask<{ content: { name: string; type: string; path: string }[] }>(
      "GET",
      "/api/contents/",
    );
    expect(content.map(({ name, type }) => `${name} ${type}`).sort()).toEqual([
      "broken.ipynb notebook",
      "bytes.bin file",
      "empty.ipynb notebook",
      "number.ipynb notebook",
      "sub directory",
    ]);
  });

  test("outside the root are inaccessible with any form of path", async () => {
    for (const path of ["..%2Foutside.txt", "sub/..%2F..%2Foutside.txt", "%2e%2e%2foutside.txt", "..%5Coutside.txt"]) {
      expect((await contents(path)).status).toBe(404);
      expect((await send("PUT", path, { type: "file", format: "text", content: "changed" })).body).not.toHaveProperty(
        "last_modified",
      );
      expect((await contents(path, { method: "DELETE" })).status).toBe(404);
    }
    expect((await send("PATCH", "number.ipynb", { path: "../moved.ipynb" })).status).toBe(404);
    expect((await send("POST", "", { copy_from: "../outside.txt" })).status).toBe(404);
    expect(readdirSync(root).sort()).toEqual(["outside.txt", "shown"]);
  });

  test("that are not valid notebooks cause clear errors", async () => {
    expect(await contents("broken.ipynb")).toMatchObject({
      status: 400,
      body: { message: expect.stringMatching(/^broken\.ipynb is not a notebook: .+JSON/) },
    });
    expect(await contents("number.ipynb")).toMatchObject({
      status: 400,
      body: { message: "number.ipynb is not a notebook of format 4." },
    });
    expect((await contents("broken.ipynb?type=file")).body.content).toBe('{"cells": [\n');
    expect((await contents("empty.ipynb")).body.content).toMatchObject({ nbformat: 4, cells: [] });
    expect((await contents("bytes.bin?format=text")).status).toBe(400);
    expect((await contents("bytes.bin")).body).toMatchObject({ format: "base64", content: "//4AAQ==" });
  });

  test("that are missing or in the way cause clear errors", async () => {
    const missing = { status: 404, body: { message: expect.stringContaining("none.txt") } };
    expect(await contents("none.txt")).toMatchObject(missing);
    expect(await contents("none.txt", { method: "DELETE" })).toMatchObject(missing);
    expect(await send("PATCH", "none.txt", { path: "other.txt" })).toMatchObject(missing);
    expect(await send("POST", "sub", { copy_from: "none.txt" })).toMatchObject(missing);
    expect(await contents("none.txt/checkpoints", { method: "POST" })).toMatchObject(missing);
    const inTheWay = await send("PUT", "bytes.bin/below.txt", { type: "file", format: "text", content: "" });
    expect(inTheWay).toMatchObject({ status: 400, body: { message: expect.stringContaining("bytes.bin") } });
    expect((await send("PATCH", "number.ipynb", { path: "bytes.bin" })).status).toBe(409);
    expect((await studio.fetch("/api/contents/x", { method: "PUT", body: "{" })).status).toBe(400);
    expect(studio.command.stderr).toBe("");
  });

  test("in a folder named checkpoints are ordinary files", async () => {
    await send("PUT", "sub/checkpoints", { type: "directory" });
    await send("PUT", "sub/checkpoints/one.txt", { type: "file", format: "text", content: "1" });
    expect((await contents("sub/checkpoints")).body).toMatchObject({
      type: "directory",
      content: [{ name: "one.txt" }],
    });
    expect((await contents("sub/checkpoints/one.txt")).body.content).toBe("1");
    expect((await contents("sub/checkpoints", { method: "DELETE" })).status).toBe(204);
    expect((await contents("sub/checkpoints")).status).toBe(404);
  });

  test("are served unchanged, and HTML files among them cannot act for the user", async () => {
    const page = await studio.fetch("/files/bytes.bin?download=1");
    expect(Buffer.from(await page.arrayBuffer())).toEqual(Buffer.from([0xff, 0xfe, 0, 1]));
    expect(page.headers.get("content-disposition")).toContain("bytes.bin");
    expect(page.headers.get("content-security-policy")).toContain("sandbox");
    expect((await studio.fetch("/files/..%2Foutside.txt")).status).toBe(404);
    expect((await studio.fetch("/files/sub")).status).toBe(400);
  });

  test("can be created, saved, checkpointed, restored, moved and deleted", async () => {
    const created = await send("POST", "sub", { type: "notebook" });
    expect(created).toMatchObject({
      status: 201,
      body: { path: "sub/Untitled.ipynb", type: "notebook", content: null },
    });
    const book = { cells: [], metadata: { mark: 1 }, nbformat: 4, nbformat_minor: 5 };
    await send("PUT", "sub/Untitled.ipynb", { type: "notebook", format: "json", content: book });
    expect((await contents("sub/Untitled.ipynb/checkpoints", { method: "POST" })).status).toBe(201);
    await send("PUT", "sub/Untitled.ipynb", { type: "notebook", format: "json", content: { ...book, metadata: {} } });
    expect((await contents("sub/Untitled.ipynb/checkpoints/checkpoint", { method: "POST" })).status).toBe(204);
    expect((await contents("sub/Untitled.ipynb")).body.content).toEqual(book);
    expect((await send("PATCH", "sub/Untitled.ipynb", { path: "moved.ipynb" })).body.path).toBe("moved.ipynb");
    expect((await contents("moved.ipynb", { method: "DELETE" })).status).toBe(204);
    expect((await contents("moved.ipynb")).status).toBe(404);
  });
});
