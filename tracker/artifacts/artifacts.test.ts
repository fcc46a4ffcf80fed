import { randomBytes } from "node:crypto";
import { readdirSync } from "node:fs";
import { request } from "node:http";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { openArtifacts } from "./open.ts";
import { contentDigest, type Served, serveArtifacts, setS3Environment, sha256 } from "./testing.ts";

describe.each(["disk", "S3"] as const)("artifacts on %s", (kind) => {
  let t: Served;
  beforeAll(async () => {
    t = await serveArtifacts(kind);
  });
  afterAll(() => t.close());

  const put = (path: string, body: string | Uint8Array<ArrayBuffer>, headers: Record<string, string> = {}) =>
    fetch(`${t.url}/${path}`, { method: "PUT", body, headers });
  const get = (path: string, headers: Record<string, string> = {}) => fetch(`${t.url}/${path}`, { headers });
  const list = async (path: string): Promise<{ path: string; is_dir: boolean; file_size?: number }[]> => {
    const answer = await fetch(`${t.url}?path=${encodeURIComponent(path)}`);
    return ((await answer.json()) as { files?: [] }).files ?? [];
  };

  test.each([0, 1, 70_000, 20_000_001])("a file of %d bytes comes back as it went, and in parts", async (size) => {
    const bytes = new Uint8Array(randomBytes(size));
    const up = await put(`sizes/${size}`, bytes, { "content-digest": contentDigest(bytes) });
    expect([up.status, up.headers.get("etag")]).toEqual([200, `"${sha256(bytes)}"`]);
    const down = await get(`sizes/${size}`);
    expect([down.status, down.headers.get("etag")]).toEqual([200, `"${sha256(bytes)}"`]);
    expect(sha256(new Uint8Array(await down.arrayBuffer()))).toBe(sha256(bytes));
    if (size < 10) return;
    for (const [range, from, to] of [
      ["bytes=5-9", 5, 10],
      ["bytes=-7", size - 7, size],
      [`bytes=${size - 3}-${size + 100}`, size - 3, size],
    ] as const) {
      const part = await get(`sizes/${size}`, { range });
      expect([part.status, part.headers.get("content-range")]).toEqual([206, `bytes ${from}-${to - 1}/${size}`]);
      expect(Buffer.from(await part.arrayBuffer()).equals(bytes.subarray(from, to))).toBe(true);
    }
    expect((await get(`sizes/${size}`, { range: `bytes=${size}-` })).status).toBe(416);
  });

  test("a second upload replaces the file", async () => {
    await put("again", "first");
    await put("again", "second, and longer");
    expect(await (await get("again")).text()).toBe("second, and longer");
    expect((await get("again")).headers.get("etag")).toBe(`"${sha256("second, and longer")}"`);
  });

  test("supports special characters in names", async () => {
    const name = "Größe 50%+ (neu) 'a' & b;c=d?e#f – 数.txt";
    const at = `names/${encodeURIComponent(name)}`;
    expect((await put(at, "x")).status).toBe(200);
    expect(await (await get(at)).text()).toBe("x");
    expect((await list("names")).map((it) => it.path)).toEqual([name]);
  });

  // S3 lists a thousand files at a time.
  const count = kind === "S3" ? 1100 : 120;
  test(`lists and removes a folder of ${count} files, in natural order`, async () => {
    const paths = Array.from({ length: count }, (_, i) => `many/file-${i}`);
    const queue = [...paths, "many/z/inner", "many-more"];
    const worker = async () => {
      for (let path = queue.pop(); path !== undefined; path = queue.pop())
        expect((await put(path, path)).status).toBe(200);
    };
    await Promise.all(Array.from({ length: 8 }, worker));
    const files = await list("many");
    expect(files.map((it) => it.path)).toEqual([...paths.map((it) => it.slice(5)), "z"]);
    expect(files[10]).toEqual({ path: "file-10", is_dir: false, file_size: "many/file-10".length });
    expect(files.at(-1)).toEqual({ path: "z", is_dir: true });
    expect((await fetch(`${t.url}/many`, { method: "DELETE" })).status).toBe(200);
    expect(await list("many")).toEqual([]);
    expect((await get("many/z/inner")).status).toBe(404);
    expect((await get("many-more")).status).toBe(200);
    expect((await fetch(`${t.url}/many`, { method: "DELETE" })).status).toBe(404);
  }, 120_000);

  test("missing files are 404 on all endpoints", async () => {
    await put("there/file", "x");
    for (const path of ["nothing", "there", "there/file/below", "no/such/folder"]) {
      expect([path, (await get(path)).status]).toEqual([path, 404]);
    }
    expect(await list("no/such/folder")).toEqual([]);
    expect(await list("there/file")).toEqual([]);
  });

  test("rejects content that does not match its digest and keeps the old file", async () => {
    await put("digest", "old");
    const refused = await put("digest", "changed on the way", { "content-digest": contentDigest("what was meant") });
    expect([refused.status, await refused.text()]).toEqual([400, expect.stringContaining(sha256("what was meant"))]);
    expect(await (await get("digest")).text()).toBe("old");
    expect((await put("digest", "x", { "content-digest": "sha-256=nonsense" })).status).toBe(400);
    expect((await put("digest", "of another kind", { "content-digest": "sha-512=:AA==:" })).status).toBe(200);
  });

  test.each([1000, 30_000_000])(
    "an upload that breaks off after a part of %d bytes leaves nothing behind",
    async (size) => {
      await put("steady", "old");
      const sent = request(`${t.url}/steady`, { method: "PUT", headers: { "content-length": String(size) } });
      const broken = new Promise((resolve) => sent.on("close", resolve).on("error", resolve));
      await new Promise((resolve) => sent.write(Buffer.alloc(size / 2), resolve));
      sent.destroy();
      await broken;
      if (kind === "disk") {
        await expect.poll(() => readdirSync(join(t.dataDir, "artifacts", ".incoming"))).toEqual([]);
      } else if (t.s3) {
        await expect.poll(() => t.s3?.uploads(), { timeout: 10_000 }).toBe(0);
      }
      expect(await (await get("steady")).text()).toBe("old");
    },
  );
});

describe.skipIf(process.env.ANNEAL_TEST_S3)("a store in S3", () => {
  let t: Served;
  beforeAll(async () => {
    t = await serveArtifacts("S3");
  });
  afterAll(() => t.close());

  test("that is down causes 503, which clients retry, until it is back", async () => {
    const { s3 } = t;
    await fetch(`${t.url}/kept`, { method: "PUT", body: "kept" });
    await s3?.stop();
    for (const [method, body] of [["GET"], ["PUT", "x"], ["DELETE"]]) {
      const answer = await fetch(`${t.url}/kept`, { method, body });
      const { error_code } = (await answer.json()) as { error_code: string };
      expect([method, answer.status, error_code]).toEqual([method, 503, "TEMPORARILY_UNAVAILABLE"]);
    }
    expect((await fetch(`${t.url}?path=x`)).status).toBe(503);
    await s3?.start();
    expect(await (await fetch(`${t.url}/kept`)).text()).toBe("kept");
  });

  test("that aborts a large upload keeps no parts", async () => {
    const { s3 } = t;
    if (!s3) return;
    let parts = 0;
    s3.fail = (it) => (it.url ?? "").includes("partNumber") && ++parts > 1;
    const answer = await fetch(`${t.url}/large`, { method: "PUT", body: Buffer.alloc(30_000_000) });
    expect(answer.status).toBe(503);
    s3.fail = () => false;
    expect(parts).toBeGreaterThan(1);
    expect(s3.uploads()).toBe(0);
    expect((await fetch(`${t.url}/large`)).status).toBe(404);
  });

  test("reports configuration errors at startup", async () => {
    const { s3 } = t;
    if (!s3) return;
    const opening = (location: string) => openArtifacts(location, t.tracker.store.artifacts);
    await expect(opening("s3://nobody/here")).rejects.toThrow(/no bucket for s3:\/\/nobody\/here at http/);
    await expect(opening("s3://")).rejects.toThrow("write s3://bucket");
    process.env.AWS_SECRET_ACCESS_KEY = "wrong";
    await expect(opening("s3://artifacts")).rejects.toThrow(/credentials .* wrong/);
    process.env.AWS_ACCESS_KEY_ID = "nobody";
    await expect(opening("s3://artifacts")).rejects.toThrow(/credentials .* wrong/);
    setS3Environment(s3);
    process.env.AWS_ENDPOINT_URL_S3 = "http://127.0.0.1:9";
    await expect(opening("s3://artifacts")).rejects.toThrow(/127.0.0.1:9 does not answer/);
    setS3Environment(s3);
  });

  test("gets checksums with its requests where the environment asks for them", async () => {
    process.env.AWS_REQUEST_CHECKSUM_CALCULATION = "WHEN_SUPPORTED";
    const checked = await serveArtifacts("S3");
    delete process.env.AWS_REQUEST_CHECKSUM_CALCULATION;
    try {
      for (const size of [10, 20_000_000]) {
        const bytes = new Uint8Array(randomBytes(size));
        expect((await fetch(`${checked.url}/a`, { method: "PUT", body: bytes })).status).toBe(200);
        expect(sha256(new Uint8Array(await (await fetch(`${checked.url}/a`)).arrayBuffer()))).toBe(sha256(bytes));
      }
    } finally {
      await checked.close();
      if (t.s3) setS3Environment(t.s3);
    }
  });
});
