import { randomBytes } from "node:crypto";
import { readdirSync, statSync } from "node:fs";
import { request } from "node:http";
import { join } from "node:path";
import Fastify from "fastify";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Principal } from "../access/principal.ts";
import { trackerPlugin } from "../api/plugin.ts";
import { contentDigest, type Served, serveArtifacts, sha256 } from "./testing.ts";

interface Credential {
  url: string;
  part_number: number;
  headers: Record<string, string>;
}

const MiB = 1024 * 1024;

describe.each(["disk", "S3"] as const)("uploads by parts on %s", (kind) => {
  let t: Served;
  beforeAll(async () => {
    t = await serveArtifacts(kind);
  });
  afterAll(() => t.close());

  const post = async <T = Record<string, unknown>>(path: string, body: object): Promise<T & { status: number }> => {
    const answer = await fetch(t.origin + path, { method: "POST", body: JSON.stringify(body) });
    return { ...((await answer.json()) as T), status: answer.status };
  };
  const mpu = <T>(action: string, folder: string, body: object) =>
    post<T>(`/api/2.0/mlflow-artifacts/mpu/${action}/${folder}`, body);
  const create = (folder: string, path: string, num_parts: number) =>
    mpu<{ upload_id: string; credentials: Credential[] }>("create", folder, { path, num_parts });
  /** As MLflow's client sends a part: with what it was given, and no token. */
  const send = async ({ url, part_number, headers }: Credential, body: Uint8Array<ArrayBuffer>) => {
    const answer = await fetch(url, { method: "PUT", body, headers });
    expect([part_number, answer.status]).toEqual([part_number, 200]);
    return { part_number, etag: answer.headers.get("etag") ?? "", url };
  };
  const digestAt = async (path: string): Promise<string> => {
    const answer = await fetch(`${t.url}/${path}`);
    return answer.status === 200 ? sha256(new Uint8Array(await answer.arrayBuffer())) : String(answer.status);
  };
  /** What S3 or the disk holds of unfinished uploads. */
  const unfinished = (): number =>
    t.s3 ? t.s3.uploads() : readdirSync(join(t.dataDir, "artifacts", ".uploads")).length;
  const outside = kind === "S3" && process.env.ANNEAL_TEST_S3;

  test("MLflow's client uploads parts in any order", async () => {
    const bytes = new Uint8Array(randomBytes(13 * MiB));
    const local = "/home/me/checkpoints/model.safetensors";
    const { upload_id, credentials } = await create("0/run/artifacts/model", local, 3);
    expect(credentials.map((it) => it.part_number)).toEqual([1, 2, 3]);
    const parts = [];
    for (const part of [2, 0, 1]) {
      parts[part] = await send(credentials[part], bytes.subarray(part * 5 * MiB, (part + 1) * 5 * MiB));
    }
    expect(await digestAt("0/run/artifacts/model/model.safetensors")).toBe("404");
    const body = { path: local, upload_id, parts };
    expect((await mpu("complete", "0/other", body)).status).toBe(404);
    expect((await mpu("complete", "0/run/artifacts/model", body)).status).toBe(200);
    expect(await digestAt("0/run/artifacts/model/model.safetensors")).toBe(sha256(bytes));
    await expect
      .poll(async () => (await fetch(`${t.url}/0/run/artifacts/model/model.safetensors`)).headers.get("etag"))
      .toBe(`"${sha256(bytes)}"`);
    // All that was of the upload is gone.
    expect((await mpu("complete", "0/run/artifacts/model", body)).status).toBe(404);
    if (!outside) expect(unfinished()).toBe(0);
  });

  test("an aborted upload leaves no files", async () => {
    const { upload_id, credentials } = await create("0/a", "C:\\models\\weights.bin", 1);
    await send(credentials[0], new Uint8Array(100));
    expect((await mpu("abort", "0/a", { path: "C:\\models\\weights.bin", upload_id })).status).toBe(200);
    expect(await digestAt("0/a/weights.bin")).toBe("404");
    const late = await fetch(credentials[0].url, { method: "PUT", body: "late" });
    expect(late.status).toBe(404);
    if (!outside) expect(unfinished()).toBe(0);
  });

  test("rejects missing, wrong or unordered parts; correct parts complete the file", async () => {
    const bytes = new Uint8Array(randomBytes(6 * MiB));
    const { upload_id, credentials } = await create("0/b", "f", 2);
    const one = await send(credentials[0], bytes.subarray(0, 5 * MiB));
    const complete = (parts: object[]) => mpu("complete", "0/b", { path: "f", upload_id, parts });
    const lost = { part_number: 2, etag: one.etag };
    for (const parts of [[one, lost], [lost], [], [{ ...one, etag: '"00"' }], [{ part_number: 0, etag: "" }]]) {
      expect((await complete(parts)).status).toBe(400);
    }
    const two = await send(credentials[1], bytes.subarray(5 * MiB));
    expect((await complete([two, one])).status).toBe(400);
    expect(await digestAt("0/b/f")).toBe("404");
    expect((await complete([one, two])).status).toBe(200);
    expect(await digestAt("0/b/f")).toBe(sha256(bytes));
  });

  test("a part can be replaced; the last one is used", async () => {
    const { upload_id, credentials } = await create("0/c", "f", 1);
    await send(credentials[0], new Uint8Array(randomBytes(100)));
    const bytes = new Uint8Array(randomBytes(200));
    const part = await send(credentials[0], bytes);
    expect((await mpu("complete", "0/c", { path: "f", upload_id, parts: [part] })).status).toBe(200);
    expect(await digestAt("0/c/f")).toBe(sha256(bytes));
  });

  test("an interrupted upload resumes, also after a restart", async () => {
    interface Upload {
      stored: boolean;
      upload_id: string;
      part_size: number;
      parts: { part_number: number; etag?: string; url?: string }[];
    }
    const bytes = new Uint8Array(randomBytes(40 * MiB));
    const file = { path: "0/resumed/file", size: bytes.length, sha256: sha256(bytes) };
    const begin = () => post<Upload>("/api/anneal/artifacts/uploads", file);
    const first = await begin();
    const { part_size, upload_id } = first;
    expect(first.parts).toHaveLength(Math.ceil(bytes.length / part_size));
    const sendPart = (upload: Upload, number: number, headers: Record<string, string> = {}) =>
      fetch(t.origin + (upload.parts[number - 1].url ?? ""), {
        method: "PUT",
        body: bytes.subarray((number - 1) * part_size, number * part_size),
        headers,
      });
    expect((await sendPart(first, 2)).status).toBe(200);
    const changed = await sendPart(first, 1, { "content-digest": contentDigest("something else") });
    expect([changed.status, ((await changed.json()) as { error_code: string }).error_code]).toEqual([
      400,
      "DIGEST_MISMATCH",
    ]);
    await t.restart();
    // Connections to the previous server are closed.
    const health = () =>
      fetch(`${t.origin}/health`).then(
        (it) => it.status,
        () => 0,
      );
    await expect.poll(health).toBe(200);
    const again = await begin();
    expect([again.upload_id, again.parts.map(({ url }) => url !== undefined)]).toEqual([
      upload_id,
      [true, false, true],
    ]);
    // An address that was given out before the restart is good after it.
    const sent = [(await sendPart(first, 1)).headers.get("etag"), (await sendPart(again, 3)).headers.get("etag")];
    const etags = [sent[0], `"${again.parts[1].etag}"`, sent[1]].map((it) => (it ?? "").replaceAll('"', ""));
    const parts = etags.map((etag, index) => ({ part_number: index + 1, etag }));
    const complete = (body: object) => post(`/api/anneal/artifacts/uploads/${upload_id}/complete`, body);
    expect((await complete({ ...file, size: 1, parts })).status).toBe(400);
    // On disk the parts have been read by now, and are not the file that was announced: it begins anew.
    if (kind === "S3") {
      expect((await complete({ ...file, parts })).status).toBe(200);
      expect(await digestAt(file.path)).toBe(file.sha256);
      await expect.poll(async () => (await begin()).stored).toBe(true);
    } else {
      expect((await begin()).parts.every(({ etag }) => etag === undefined)).toBe(true);
    }
  });

  test("removes abandoned uploads but not active ones", async () => {
    const old = await create("0/old", "f", 1);
    await send(old.credentials[0], new Uint8Array(10));
    const { uploads } = t.tracker.artifacts;
    await uploads.sweep(Date.now() - 3_600_000);
    expect(await uploads.pathOf(old.upload_id)).toBe("0/old/f");
    await uploads.sweep(Date.now() + 3_600_000);
    await expect(uploads.pathOf(old.upload_id)).rejects.toThrow("There is no upload");
    if (!outside) expect(unfinished()).toBe(0);
  });

  test("rejects part URLs that are forged, for another part, or expired", async () => {
    const { upload_id, credentials } = await create("0/d", "f", 1);
    const { url } = credentials[0];
    const parsed = new URL(url);
    const forged = [
      url.replace(/signature=./, (it) => `signature=${it.endsWith("0") ? "1" : "0"}`),
      url.replace(/&signature=.*/, ""),
      url.replace(`${upload_id}/1`, `${upload_id}/2`),
      url.replace(/expires=\d+/, "expires=99999999999"),
      url.replace(/expires=\d+/, "expires=NaN"),
      `${parsed.origin}${parsed.pathname}`,
      url.replace(`${upload_id}/1`, "..%2f..%2ftracker.db/1"),
    ];
    for (const address of forged) {
      expect([address, (await fetch(address, { method: "PUT", body: "x" })).status]).toEqual([address, 403]);
    }
    expect(await t.tracker.artifacts.uploads.parts(upload_id)).toEqual([]);
  });

  test.each([0, -1, 10_001, 1e18, "9".repeat(40), "many", 1.5])("%s parts are refused", async (num_parts) => {
    expect((await mpu("create", "0/e", { path: "f", num_parts })).status).toBe(400);
  });

  test.each(["", "..", "../x/..", "a\u0000b", "n".repeat(300)])("the file name %j is refused", async (path) => {
    expect((await mpu("create", "0/e", { path, num_parts: 1 })).status).toBe(400);
    const uploads = await post("/api/anneal/artifacts/uploads", { path, size: 1, sha256: sha256("x") });
    expect(uploads.status).toBe(400);
  });

  test("rejects invalid ids, missing sizes and invalid digests", async () => {
    for (const upload_id of ["../../tracker.db", "", "x".repeat(5000), "0".repeat(31)]) {
      expect((await mpu("abort", "0/e", { path: "f", upload_id })).status).toBe(400);
    }
    expect((await mpu("abort", "0/e", { path: "f", upload_id: "0".repeat(32) })).status).toBe(404);
    const file = { path: "0/e/f", size: 10, sha256: sha256("x") };
    for (const wrong of [{ size: 0 }, { size: -1 }, { size: 1e17 }, { sha256: "abc" }, { path: "../../x" }]) {
      expect((await post("/api/anneal/artifacts/uploads", { ...file, ...wrong })).status).toBe(400);
    }
  });

  test("discards a part that is interrupted or has the wrong length", async () => {
    const { upload_id, credentials } = await create("0/g", "f", 1);
    const { uploads } = t.tracker.artifacts;
    const sent = request(credentials[0].url, { method: "PUT", headers: { "content-length": "2000000" } });
    const broken = new Promise((resolve) => sent.on("close", resolve).on("error", resolve));
    await new Promise((resolve) => sent.write(Buffer.alloc(1_000_000), resolve));
    sent.destroy();
    await broken;
    const chunked = await new Promise<number | undefined>((resolve, reject) => {
      const it = request(credentials[0].url, { method: "PUT", headers: { "transfer-encoding": "chunked" } });
      it.on("response", (answer) => resolve(answer.resume().statusCode)).on("error", reject);
      it.end("unknown length");
    });
    expect(chunked).toBe(400);
    expect(await uploads.parts(upload_id)).toEqual([]);
    await uploads.abort(upload_id);
  });
});

describe.each(["disk", "S3"] as const)("a file that is stored already, on %s", (kind) => {
  let t: Served;
  const bytes = randomBytes(3 * MiB);
  const file = { size: bytes.length, sha256: sha256(bytes) };
  beforeAll(async () => {
    t = await serveArtifacts(kind);
    await fetch(`${t.url}/0/first/file`, { method: "PUT", body: new Uint8Array(bytes) });
  });
  afterAll(() => t.close());

  const copy = async (path: string, wanted = file) => {
    const body = JSON.stringify({ path, ...wanted });
    const answer = await fetch(`${t.origin}/api/anneal/artifacts/copies`, { method: "POST", body });
    return { status: answer.status, ...((await answer.json()) as { copied?: boolean }) };
  };
  const onDisk = (path: string) => statSync(join(t.dataDir, "artifacts", path));

  test("is copied to another path without a second upload", async () => {
    expect(await copy("0/second/file")).toEqual({ status: 200, copied: true });
    const down = await fetch(`${t.url}/0/second/file`);
    expect(sha256(new Uint8Array(await down.arrayBuffer()))).toBe(file.sha256);
    expect(down.headers.get("etag")).toBe(`"${file.sha256}"`);
    if (kind === "disk") expect(onDisk("0/second/file").ino).toBe(onDisk("0/first/file").ino);
    expect(await copy("0/second/file")).toEqual({ status: 200, copied: true });
    expect(await copy("0/x", { ...file, size: 5 })).toEqual({ status: 200, copied: false });
    expect(await copy("0/x", { ...file, sha256: sha256("x") })).toEqual({ status: 200, copied: false });
  });

  test("is not copied for users without read access", async () => {
    const experiment = await t.tracker.store.experiments.create({ name: "theirs", tags: [] });
    await fetch(`${t.url}/${experiment.id}/secret`, {
      method: "PUT",
      body: "a secret of 4096 bytes and more ".repeat(200),
    });
    const secret = (await t.tracker.store.artifacts.find(`${experiment.id}/secret`)) ?? file;
    const eve = (role: "none" | "viewer") =>
      new Principal({
        name: "eve",
        role: "editor",
        grants: [{ user: "eve", kind: "experiment", target: experiment.id, role }],
      });
    const asEve = async (role: "none" | "viewer") => {
      const app = Fastify();
      app.decorateRequest("principal", undefined);
      app.addHook("onRequest", async (request) => {
        request.principal = eve(role);
      });
      await app.register(trackerPlugin, { tracker: t.tracker });
      const payload = JSON.stringify({ path: "0/eve/file", size: secret.size, sha256: secret.sha256 });
      const answer = await app.inject({ method: "POST", url: "/api/anneal/artifacts/copies", payload });
      const theirs = await app.inject({
        method: "POST",
        url: "/api/anneal/artifacts/uploads",
        payload: JSON.stringify({ path: `${experiment.id}/eve`, size: 10, sha256: secret.sha256 }),
      });
      await app.close();
      return [answer.json(), theirs.statusCode];
    };
    expect(await asEve("none")).toEqual([{ copied: false }, 403]);
    expect((await fetch(`${t.url}/0/eve/file`)).status).toBe(404);
    expect(await asEve("viewer")).toEqual([{ copied: true }, 403]);
  });

  test("is not copied after it was deleted", async () => {
    await fetch(`${t.url}/0/first`, { method: "DELETE" });
    await fetch(`${t.url}/0/second/file`, { method: "PUT", body: "another file now" });
    expect(await copy("0/late/file")).toEqual({ status: 200, copied: false });
    expect((await fetch(`${t.url}/0/late/file`)).status).toBe(404);
  });

  test.runIf(kind === "disk")(
    "takes one place on the disk, however it came, and each path is its own file",
    async () => {
      const content = new Uint8Array(randomBytes(MiB));
      for (const path of ["0/a", "0/b", "0/a"]) await fetch(`${t.url}/${path}`, { method: "PUT", body: content });
      expect([onDisk("0/a").ino, onDisk("0/a").nlink]).toEqual([onDisk("0/b").ino, 2]);
      await fetch(`${t.url}/0/a`, { method: "PUT", body: "changed" });
      expect(sha256(new Uint8Array(await (await fetch(`${t.url}/0/b`)).arrayBuffer()))).toBe(sha256(content));
      await fetch(`${t.url}/0/a`, { method: "DELETE" });
      expect((await fetch(`${t.url}/0/b`)).status).toBe(200);
      expect(readdirSync(join(t.dataDir, "artifacts", ".incoming"))).toEqual([]);
    },
  );
});
