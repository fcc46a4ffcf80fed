import { existsSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { TestTracker } from "../testing.ts";

/*
 * What somebody with access might send who means harm: all of it is refused in words, nothing of it is kept, and the
 * server goes on.
 */

let t: TestTracker;
let port: number;
let artifacts: string;
const at = "/api/2.0/mlflow-artifacts/artifacts";

beforeAll(async () => {
  t = await TestTracker.open();
  port = Number(new URL(await t.app.listen({ host: "127.0.0.1", port: 0 })).port);
  artifacts = join(t.dataDir, "artifacts");
});
afterAll(() => t.close());
afterEach(async () => {
  expect((await fetch(`http://127.0.0.1:${port}/health`)).status).toBe(200);
  await expect.poll(() => readdirSync(join(artifacts, ".incoming"))).toEqual([]);
});

/** Sends bytes as they are and gives what came back until the line was closed, or the first answer. */
function wire(bytes: string | Buffer, { end = false } = {}): Promise<string> {
  return new Promise((resolve, reject) => {
    let answer = "";
    const socket = connect(port, "127.0.0.1", () => (end ? socket.end(bytes) : socket.write(bytes)));
    socket.setEncoding("latin1").on("data", (text: string) => {
      answer += text;
      if (/\r\n\r\n/.test(answer) && !end) socket.destroy();
    });
    socket.on("close", () => resolve(answer)).on("error", reject);
  });
}
const statusOf = (answer: string): number => Number(/^HTTP\/1.1 (\d+)/.exec(answer)?.[1] ?? 0);
const send = async (method: string, target: string, headers = "", body = ""): Promise<number> =>
  statusOf(
    await wire(
      `${method} ${target} HTTP/1.1\r\nHost: t\r\nContent-Length: ${Buffer.byteLength(body)}\r\n${headers}\r\n${body}`,
    ),
  );

describe("paths", () => {
  const deep = Array(2000).fill("a").join("/");
  test.each([
    ["a name of 300 bytes", "n".repeat(300)],
    ["a name of 300 bytes in UTF-8", encodeURIComponent("ü".repeat(150))],
    ["2000 levels", deep],
    ["a path of 60 000 characters", "x/".repeat(30_000)],
    ["an overlong UTF-8 dot", "%c0%ae%c0%ae/%c0%ae%c0%ae/tracker.db"],
    ["UTF-8 that is none", "%ff%fe"],
    ["three layers of encoding", "%25252e%25252e%25252ftracker.db"],
    ["a NUL at the end of a name", "tracker.db%00.txt"],
    ["a Windows drive", "c:/windows/system.ini"],
    ["a Windows share", "%5c%5cserver%5cshare"],
    ["an absolute path", "//etc/passwd"],
    ["a file: address", "file:///etc/passwd"],
    ["dots and a semicolon", "..;/..;/tracker.db/../x"],
    ["the tracker's own folder", ".uploads/x"],
    ["the tracker's own folder, encoded", "%2euploads/x"],
    ["a line break", "a%0d%0aSet-Cookie:x=1"],
  ])("%s lead nowhere", async (_name, path) => {
    for (const method of ["GET", "PUT", "DELETE"]) {
      const status = await send(method, `${at}/${path}`, "", method === "PUT" ? "evil" : "");
      expect([method, status >= 400 && status < 500]).toEqual([method, true]);
    }
    for (const action of ["create", "complete", "abort"]) {
      const body = JSON.stringify({ path: "f", num_parts: 1, upload_id: "0".repeat(32), parts: [] });
      const status = await send("POST", `/api/2.0/mlflow-artifacts/mpu/${action}/${path}`, "", body);
      expect([action, status >= 400 && status < 500]).toEqual([action, true]);
    }
    const own = /^(artifacts|token|secrets\.key|tracker\.db(-shm|-wal)?)$/;
    expect(readdirSync(t.dataDir).filter((name) => !own.test(name))).toEqual([]);
    expect(readdirSync(artifacts).filter((it) => !it.startsWith("."))).toEqual([]);
  });

  test("a symbolic link in the folder does not lead out of it", async () => {
    const secret = join(t.dataDir, "secret.txt");
    writeFileSync(secret, "secret");
    mkdirSync(join(artifacts, "links"));
    symlinkSync(t.dataDir, join(artifacts, "links", "up"));
    symlinkSync(secret, join(artifacts, "links", "file"));
    symlinkSync("/nowhere", join(artifacts, "links", "dangling"));
    for (const path of ["links/up/secret.txt", "links/file"]) {
      for (const method of ["GET", "DELETE", "PUT"]) {
        expect([path, method, await send(method, `${at}/${path}`, "", "x")]).toEqual([path, method, 404]);
      }
    }
    expect(await send("PUT", `${at}/links/up/new/file`, "", "x")).toBe(404);
    const listed = await (await fetch(`http://127.0.0.1:${port}${at}?path=links`)).json();
    expect(listed).toEqual({});
    expect((await fetch(`http://127.0.0.1:${port}${at}?path=links/up`)).status).toBe(404);
    expect(readFileSync(secret, "utf8")).toBe("secret");
    expect(readdirSync(t.dataDir)).not.toContain("new");
    await t.tracker.artifacts.remove("links");
    expect(readFileSync(secret, "utf8")).toBe("secret");
  });
});

describe("bodies", () => {
  test("what follows a body of the announced length is no part of it, and a bad request", async () => {
    const answer = await wire(`PUT ${at}/exact HTTP/1.1\r\nHost: t\r\nContent-Length: 3\r\n\r\nabcdefgh\r\n\r\n`, {
      end: true,
    });
    expect([...answer.matchAll(/HTTP\/1.1 (\d+)/g)].at(-1)?.[1]).toBe("400");
    // The server hangs up, perhaps before it has read the body: then nothing is kept of it.
    await expect.poll(() => readdirSync(join(artifacts, ".incoming"))).toEqual([]);
    if (!existsSync(join(artifacts, "exact"))) return;
    expect(readFileSync(join(artifacts, "exact"), "utf8")).toBe("abc");
    await t.tracker.artifacts.remove("exact");
  });

  test.each([
    ["two lengths", "Content-Length: 3\r\nContent-Length: 5\r\n"],
    ["a length and chunks", "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n"],
    ["a length below nothing", "Content-Length: -1\r\n"],
    ["a length that is no number", "Content-Length: 1e3\r\n"],
  ])("%s are refused", async (_name, headers) => {
    const answer = await wire(`PUT ${at}/smuggled HTTP/1.1\r\nHost: t\r\n${headers}\r\nabc`, { end: true });
    expect(statusOf(answer)).toBe(400);
    expect(readdirSync(artifacts)).not.toContain("smuggled");
  });

  test.each(["Content-Length: 1000000\r\n", "Transfer-Encoding: chunked\r\n"])(
    "one that ends too soon is not kept: %j",
    async (headers) => {
      const begun = headers.startsWith("T") ? "5\r\nabcde\r\n" : "abcde";
      await wire(`PUT ${at}/short HTTP/1.1\r\nHost: t\r\n${headers}\r\n${begun}`, { end: true });
      await expect.poll(() => readdirSync(join(artifacts, ".incoming"))).toEqual([]);
      expect(readdirSync(artifacts)).not.toContain("short");
    },
  );

  test("a compressed one is neither unpacked nor taken for the file", async () => {
    const bomb = gzipSync(Buffer.alloc(10_000_000));
    for (const encoding of ["gzip", "br", "deflate, gzip"]) {
      const answer = await fetch(`http://127.0.0.1:${port}${at}/bomb`, {
        method: "PUT",
        body: bomb,
        headers: { "content-encoding": encoding },
      });
      expect([answer.status, await answer.text()]).toEqual([400, expect.stringContaining("is not supported")]);
    }
    const json = await fetch(`http://127.0.0.1:${port}/api/2.0/mlflow/runs/create`, {
      method: "POST",
      body: bomb,
      headers: { "content-encoding": "gzip" },
    });
    expect(json.status).toBe(400);
    expect(readdirSync(artifacts)).not.toContain("bomb");
  });
});

test("ranges of every kind give a part, the whole or 416", async () => {
  await fetch(`http://127.0.0.1:${port}${at}/ranges`, { method: "PUT", body: "0123456789" });
  const whole: [number, string] = [200, "0123456789"];
  const none: [number, string] = [416, ""];
  for (const [range, expected] of [
    ["bytes=0-0", [206, "0"]],
    ["bytes=-1", [206, "9"]],
    ["bytes=-999999999999999999999", [206, "0123456789"]],
    ["bytes=9-99999999999999999999", [206, "9"]],
    ["bytes=10-", none],
    ["bytes=5-4", none],
    ["bytes=-0", none],
    ["bytes=0-1,3-4", whole],
    [`bytes=${Array(5000).fill("0-").join(",")}`, whole],
    ["bytes=--5", whole],
    ["bytes=0x1-0x5", whole],
    ["lines=1-2", whole],
    ["bytes=", whole],
    ["bytes=-", whole],
  ] as const) {
    const answer = await fetch(`http://127.0.0.1:${port}${at}/ranges`, { headers: { range } });
    expect([range.slice(0, 40), answer.status, await answer.text()]).toEqual([range.slice(0, 40), ...expected]);
  }
});
