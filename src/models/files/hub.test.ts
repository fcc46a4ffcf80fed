import { lstat, mkdir, mkdtemp, readdir, readFile, readlink, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeEach, describe, expect, test, vi } from "vitest";
import { type HubServerModel, hubEtag, startHubServer } from "../../../tests/hub-server.ts";
import { type HubProgress, resolveModel } from "./index.ts";

const scratch = await mkdtemp(join(tmpdir(), "anneal-hub-"));
const server = await startHubServer();
afterAll(async () => {
  vi.unstubAllEnvs();
  await server.close();
  await rm(scratch, { recursive: true });
});

const weights = Uint8Array.from({ length: 300_000 }, (_, i) => i % 251);
const files = {
  "config.json": '{"model_type":"phi3"}',
  "tokenizer.json": "{}",
  "tokenizer_config.json": "{ }",
  "chat_template.jinja": "{{ messages }}",
  "generation_config.json": "{}",
  "model.safetensors": weights,
  "pytorch_model.bin": "no",
  "model.gguf": "no",
  "onnx/model.onnx": "no",
  "README.md": "no",
};
const needed = Object.keys(files).filter((name) => !/\.(bin|gguf|onnx|md)$/.test(name));
let cacheDir = "";
const put = (model: Partial<HubServerModel> = {}) => server.models.set("owner/name", { files, ...model });
const store = () => join(cacheDir, "models--owner--name");
const blobs = async () => (await readdir(join(store(), "blobs")).catch(() => [])).sort();
const resolve = (options = {}) => resolveModel("owner/name", { cacheDir, retryDelay: 1, ...options });

beforeEach(async () => {
  cacheDir = await mkdtemp(join(scratch, "cache-"));
  vi.unstubAllEnvs();
  for (const name of ["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_HUB_CACHE", "HF_HUB_OFFLINE"]) vi.stubEnv(name, "");
  vi.stubEnv("HF_HOME", cacheDir);
  vi.stubEnv("HF_ENDPOINT", `${server.url}/`);
  server.requests.length = 0;
  put();
});

describe("fetching a model", () => {
  test("creates a snapshot of the needed files in huggingface_hub's layout", async () => {
    const progress: HubProgress[] = [];
    const folder = await resolve({ onProgress: (one: HubProgress) => progress.push(one) });
    expect(folder).toBe(join(store(), "snapshots", server.commit));
    expect((await readdir(folder)).sort()).toEqual([...needed].sort());
    for (const name of needed) {
      const etag = hubEtag(files[name as keyof typeof files], name.endsWith(".safetensors"));
      expect(await readlink(join(folder, name))).toBe(`../../blobs/${etag}`);
      expect(await readFile(join(folder, name))).toEqual(Buffer.from(files[name as keyof typeof files] as Uint8Array));
    }
    expect(await readFile(join(store(), "refs", "main"), "utf8")).toBe(server.commit);
    expect(await blobs()).toHaveLength(5); // Two files have the same content.
    const total = needed.reduce((sum, name) => sum + files[name as keyof typeof files].length, 0);
    expect(progress.at(-1)).toMatchObject({ received: total, total });
  });

  test("requests nothing twice, and nothing at all offline or for a known commit", async () => {
    const folder = await resolve();
    server.requests.length = 0;
    expect(await resolve()).toBe(folder);
    expect(server.requests).toEqual(["GET /api/models/owner/name/revision/main"]);
    expect(await resolve({ revision: server.commit })).toBe(folder);
    expect(await resolve({ localFilesOnly: true })).toBe(folder);
    vi.stubEnv("HF_HUB_OFFLINE", "1");
    expect(await resolve()).toBe(folder);
    expect(server.requests).toHaveLength(1);
    await expect(resolveModel("owner/other", { cacheDir })).rejects.toThrow("only local files may be used");
  });

  test("finds the refs and blobs that Python downloaded", async () => {
    const etag = hubEtag(weights, true);
    const snapshot = join(store(), "snapshots", server.commit);
    await mkdir(join(store(), "blobs"), { recursive: true });
    await mkdir(join(store(), "refs"), { recursive: true });
    await mkdir(snapshot, { recursive: true });
    await writeFile(join(store(), "refs", "main"), server.commit);
    await writeFile(join(store(), "blobs", etag), weights);
    await symlink(`../../blobs/${etag}`, join(snapshot, "model.safetensors"));
    await writeFile(join(snapshot, "config.json"), "{}");
    expect(await resolve({ localFilesOnly: true })).toBe(snapshot);
    await rm(join(snapshot, "model.safetensors"));
    await expect(resolve({ localFilesOnly: true })).rejects.toThrow("is incomplete or missing in");
    await resolve();
    expect((await lstat(join(snapshot, "model.safetensors"))).isSymbolicLink()).toBe(true);
    expect(server.requests.filter((line) => line.startsWith("GET") && line.includes("safetensors"))).toEqual([]);
  });

  test("follows a renamed model and stores it under the requested name", async () => {
    server.models.set("old/title", { files: {}, movedTo: "owner/name" });
    const folder = await resolveModel("old/title", { cacheDir });
    expect(folder).toContain("models--old--title");
    expect((await readdir(folder)).sort()).toEqual([...needed].sort());
  });

  test("resumes after a broken connection or a stopped process", async () => {
    put({ breakAt: { "model.safetensors": 100_000 } });
    const folder = await resolve();
    expect(await readFile(join(folder, "model.safetensors"))).toEqual(Buffer.from(weights));
    expect(server.requests.join("\n")).toContain("/cdn/owner/name/resolve/");
    expect(server.requests.some((line) => line.endsWith(" bytes=100000-"))).toBe(true);

    cacheDir = await mkdtemp(join(scratch, "cache-"));
    const incomplete = join(store(), "blobs", `${hubEtag(weights, true)}.incomplete`);
    await mkdir(join(store(), "blobs"), { recursive: true });
    await writeFile(incomplete, weights.subarray(0, 299_000));
    const second = await resolve();
    expect(await readFile(join(second, "model.safetensors"))).toEqual(Buffer.from(weights));
    expect(server.requests.some((line) => line.endsWith(" bytes=299000-"))).toBe(true);
    expect((await blobs()).filter((name) => name.endsWith(".incomplete"))).toEqual([]);
  });

  test("deletes and downloads again only damaged files, and reports it", async () => {
    const wrong = Uint8Array.from(weights).fill(0, 5, 6).fill(9, 7, 8);
    put({ damaged: { "model.safetensors": wrong } });
    await expect(resolve()).rejects.toThrow(
      /model\.safetensors of owner\/name is damaged after the download: its digest is .* deleted/,
    );
    expect(await blobs()).not.toContain(`${hubEtag(weights, true)}.incomplete`);
    expect(await blobs()).toContain(hubEtag(files["config.json"], false));
    put({ damaged: { "config.json": '{"model_type":"phi4"}' } });
    await rm(store(), { recursive: true });
    await expect(resolve()).rejects.toThrow("config.json of owner/name is damaged");
    put();
    await resolve();
  });
});

describe("download errors say what to do", () => {
  test("for unknown, private and gated models, revisions and files", async () => {
    await expect(resolveModel("owner/typo", { cacheDir })).rejects.toThrow(
      /owner\/typo does not exist .*spelling; .*HF_TOKEN.*\(401\)/,
    );
    await expect(resolveModel("owner/typo", { cacheDir, token: "t" })).rejects.toThrow(/the token is valid.*\(404\)/);
    await expect(resolve({ revision: "v9" })).rejects.toThrow("owner/name has no revision v9. (404)");
    await expect(resolve({ files: ["absent.json"] })).rejects.toThrow("has no file absent.json");
    put({ gated: true });
    await expect(resolve()).rejects.toThrow(`accept its licence at ${server.url}/owner/name and pass a token`);
    put({ files: { "config.json": "{}", "pytorch_model.bin": "x" } });
    await expect(resolve()).rejects.toThrow("has no .safetensors files");
    put({ files: { ...files, "../../x.safetensors": "x" } });
    await expect(resolve({ files: () => true })).rejects.toThrow('has a file named "../../x.safetensors"');
  });

  test("a token comes from the option, the environment or the file", async () => {
    put({ token: "secret" });
    await expect(resolve()).rejects.toThrow("pass a token");
    await resolve({ token: "secret", files: ["config.json"] });
    vi.stubEnv("HF_TOKEN", "secret");
    await resolve({ files: ["tokenizer.json"] });
    vi.stubEnv("HF_TOKEN", "");
    await writeFile(join(cacheDir, "token"), "secret\n");
    await resolve();
  });

  test("a folder is used as it is; what is neither a folder nor a name is rejected", async () => {
    expect(await resolveModel(scratch)).toBe(scratch);
    for (const wrong of ["./nothing", "/nothing", "a/b/c", "../x", "owner/..", "-x/y", ""]) {
      await expect(resolveModel(wrong, { cacheDir })).rejects.toThrow("There is no folder");
    }
    await expect(resolve({ revision: "../../x" })).rejects.toThrow("revision must be");
    expect(server.requests).toEqual([]);
  });

  test("without network, uses a complete cache, otherwise says that a retry resumes", async () => {
    vi.stubEnv("HF_ENDPOINT", "http://127.0.0.1:65000");
    await expect(resolve()).rejects.toThrow(
      /Downloading owner\/name from 127\.0\.0\.1:65000 failed 5 times .*Run it again to resume/,
    );
    vi.stubEnv("HF_ENDPOINT", server.url);
    const folder = await resolve();
    vi.stubEnv("HF_ENDPOINT", "http://127.0.0.1:65000");
    expect(await resolve()).toBe(folder);
  });
});
