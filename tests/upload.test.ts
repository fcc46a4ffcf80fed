import { randomBytes } from "node:crypto";
import { mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { createServer, request, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { TrackerClient } from "../src/track/client.ts";
import { uploadFile } from "../src/track/upload.ts";
import { type Served, serveArtifacts, sha256 } from "../tracker/artifacts/testing.ts";

/** A connection to a tracker that can be cut and that records requests. */
interface Line {
  url: string;
  /** Requests such as `PUT /api/...`, without queries. */
  requests: string[];
  /** Whether to cut a request after its first bytes. */
  cut: (what: string) => boolean;
  server: Server;
}

async function lineTo(origin: string): Promise<Line> {
  const { hostname, port } = new URL(origin);
  const server = createServer((incoming, answer) => {
    const what = `${incoming.method} ${(incoming.url ?? "").split("?")[0]}`;
    line.requests.push(what);
    const sent = request(
      { hostname, port, path: incoming.url, method: incoming.method, headers: incoming.headers },
      (received) => {
        answer.writeHead(received.statusCode ?? 500, received.headers);
        received.pipe(answer);
      },
    );
    sent.on("error", () => answer.destroy());
    if (line.cut(what)) {
      incoming.once("data", (bytes: Buffer) => {
        sent.write(bytes);
        incoming.destroy();
        sent.destroy();
      });
    } else incoming.pipe(sent);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const line: Line = { url, requests: [], cut: () => false, server };
  return line;
}

const stop = (server: Server): Promise<void> =>
  new Promise((resolve) => {
    server.close(() => resolve());
    server.closeAllConnections();
  });

const folder = mkdtempSync(join(tmpdir(), "anneal-upload-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function makeFile(size: number): { file: string; digest: string } {
  const bytes = randomBytes(size);
  const file = join(folder, randomBytes(4).toString("hex"));
  writeFileSync(file, bytes);
  return { file, digest: sha256(bytes) };
}

describe.each(["disk", "S3"] as const)("our client, to a tracker with artifacts on %s", (kind) => {
  let t: Served;
  let line: Line;
  let client: TrackerClient;
  beforeAll(async () => {
    t = await serveArtifacts(kind);
    line = await lineTo(t.origin);
    client = new TrackerClient({ uri: line.url });
  });
  afterAll(async () => {
    await stop(line.server);
    await t.close();
  });

  const digestAt = async (path: string): Promise<string> => {
    const answer = await fetch(`${t.url}/${path}`);
    return answer.status === 200 ? sha256(new Uint8Array(await answer.arrayBuffer())) : String(answer.status);
  };
  const count = (what: RegExp): number => line.requests.filter((it) => what.test(it)).length;
  const begin = () => {
    line.requests.length = 0;
    line.cut = () => false;
  };

  test.each([0, 100, 2_000_000])("sends a file of %d bytes in one piece", async (size) => {
    begin();
    const { file, digest } = makeFile(size);
    await uploadFile(client, `0/run/artifacts/Größe ${size}%.bin`, file);
    expect(await digestAt(`0/run/artifacts/${encodeURIComponent(`Größe ${size}%.bin`)}`)).toBe(digest);
    expect(count(/^PUT .*mlflow-artifacts/)).toBe(1);
  });

  test("sends a large file in parts and retries a part that was cut", async () => {
    begin();
    const { file, digest } = makeFile(70_000_000);
    let cuts = 0;
    line.cut = (what) => what.includes("/parts/") && ++cuts % 3 === 1 && cuts < 8;
    await uploadFile(client, "0/run/artifacts/large.bin", file);
    expect(await digestAt("0/run/artifacts/large.bin")).toBe(digest);
    expect(cuts).toBeGreaterThan(5);
    expect(count(/^PUT .*mlflow-artifacts/)).toBe(0);
  });

  test("resumes an interrupted upload after the tracker was restarted", async () => {
    begin();
    const { file, digest } = makeFile(80_000_000);
    line.cut = (what) => /\/parts\/\w+\/[34]/.test(what);
    await expect(uploadFile(client, "0/run/artifacts/resumed.bin", file)).rejects.toMatchObject({ temporary: true });
    const sent = new Set(line.requests.filter((it) => /\/parts\/\w+\/[125]/.test(it)));
    expect(sent.size).toBeGreaterThan(0);
    await t.restart();
    begin();
    await uploadFile(client, "0/run/artifacts/resumed.bin", file);
    expect(await digestAt("0/run/artifacts/resumed.bin")).toBe(digest);
    for (const part of sent) expect(line.requests).not.toContain(part);
  }, 120_000);

  test("does not send files that the tracker has", async () => {
    begin();
    const { file, digest } = makeFile(40_000_000);
    await uploadFile(client, "0/run/artifacts/once.bin", file);
    await expect
      .poll(async () => (await t.tracker.store.artifacts.find("0/run/artifacts/once.bin"))?.sha256)
      .toBe(digest);
    begin();
    await uploadFile(client, "0/other/artifacts/twice.bin", file);
    expect(count(/^PUT/)).toBe(0);
    expect(await digestAt("0/other/artifacts/twice.bin")).toBe(digest);
    if (kind === "disk") {
      const at = (path: string) => statSync(join(t.dataDir, "artifacts", path)).ino;
      expect(at("0/other/artifacts/twice.bin")).toBe(at("0/run/artifacts/once.bin"));
    }
  });
});

test("a server without support for parts gets the file in one piece", async () => {
  const received: string[] = [];
  const server = createServer(async (incoming, answer) => {
    const parts: Buffer[] = [];
    for await (const part of incoming) parts.push(part);
    received.push(`${incoming.method} ${incoming.url} ${sha256(Buffer.concat(parts))}`);
    const isSupported = incoming.method === "PUT" && incoming.url?.startsWith("/api/2.0/mlflow-artifacts/artifacts/");
    answer.writeHead(isSupported ? 200 : 404, { "content-type": isSupported ? "application/json" : "text/html" });
    answer.end(isSupported ? "{}" : "<h1>Not Found</h1>");
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { file, digest } = makeFile(40_000_000);
  const client = new TrackerClient({ uri: `http://127.0.0.1:${(server.address() as AddressInfo).port}` });
  await uploadFile(client, "1/run/artifacts/model.bin", file);
  expect(received.at(-1)).toBe(`PUT /api/2.0/mlflow-artifacts/artifacts/1/run/artifacts/model.bin ${digest}`);
  await stop(server);
});
