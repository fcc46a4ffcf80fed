import { createHash, randomBytes } from "node:crypto";
import { readdirSync } from "node:fs";
import { request } from "node:http";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { answer, TestTracker } from "../testing.ts";

let t: TestTracker;
let base: string;
let run: string;
let folder: string;

beforeAll(async () => {
  t = await TestTracker.open({ allowedLocations: ["s3://bucket"] });
  base = await t.app.listen({ host: "127.0.0.1", port: 0 });
  run = await t.run();
  folder = `${base}/api/2.0/mlflow-artifacts/artifacts/0/${run}/artifacts`;
});
afterAll(() => t.close());

const put = (path: string, body: string | Uint8Array<ArrayBuffer>) =>
  fetch(`${folder}/${path}`, { method: "PUT", body });

/** A request whose path is sent as it is; fetch and inject would tidy it up. */
function raw(method: string, path: string): Promise<{ status: number; body: string }> {
  const { hostname, port } = new URL(base);
  return new Promise((resolve, reject) => {
    const sent = request({ hostname, port, method, path }, (response) => {
      let body = "";
      response.setEncoding("utf8").on("data", (chunk: string) => {
        body += chunk;
      });
      response.on("end", () => resolve({ status: response.statusCode ?? 0, body }));
    });
    sent.on("error", reject);
    sent.end(method === "PUT" ? "evil" : undefined);
  });
}

describe("artifacts", () => {
  test("a file goes up and comes down as it was, with its SHA-256 as ETag", async () => {
    const bytes = new Uint8Array(randomBytes(3_000_000));
    const up = await put("model/weights.bin", bytes);
    expect([up.status, await up.json()]).toEqual([200, {}]);
    const down = await fetch(`${folder}/model/weights.bin`);
    expect(Buffer.from(await down.arrayBuffer()).equals(bytes)).toBe(true);
    expect(down.headers.get("etag")).toBe(`"${createHash("sha256").update(bytes).digest("hex")}"`);
    expect(down.headers.get("content-length")).toBe("3000000");
  });

  test("a part of a file can be had, to go on with a download", async () => {
    await put("part.txt", "0123456789");
    const part = await fetch(`${folder}/part.txt`, { headers: { range: "bytes=4-6" } });
    expect([part.status, await part.text(), part.headers.get("content-range")]).toEqual([206, "456", "bytes 4-6/10"]);
    expect((await fetch(`${folder}/part.txt`, { headers: { range: "bytes=20-" } })).status).toBe(416);
  });

  test("names with percent signs, as images by step have, are kept as they are", async () => {
    const name = "loss%step%20%timestamp%1700000000000%0a1b2c3d.png";
    const encoded = encodeURIComponent(name);
    expect((await put(`images/${encoded}`, "pixels")).status).toBe(200);
    const listed = await t.get("artifacts/list", { run_id: run, path: "images" });
    expect(listed.at("files")).toEqual([{ path: `images/${name}`, is_dir: false, file_size: 6 }]);
    const proxy = await fetch(`${base}/api/2.0/mlflow-artifacts/artifacts?path=0/${run}/artifacts/images`);
    expect(await proxy.json()).toMatchObject({ files: [{ path: name }] });
    for (const url of [
      `${folder}/images/${encoded}`,
      `${base}/get-artifact?run_id=${run}&path=images/${encoded}`,
      `${base}/ajax-api/2.0/mlflow/get-artifact?run_uuid=${run}&path=images%2F${encoded}`,
    ]) {
      const got = await fetch(url);
      expect([url, got.status, await got.text()]).toEqual([url, 200, "pixels"]);
    }
  });

  test("a plain name is sent as the file's name, and others encoded", async () => {
    await put("plain-1.json", "{}");
    await put(encodeURIComponent('a "b" ä.json'), "{}");
    const disposition = async (path: string) =>
      (await fetch(`${base}/get-artifact?run_id=${run}&path=${encodeURIComponent(path)}`)).headers.get(
        "content-disposition",
      );
    expect(await disposition("plain-1.json")).toBe("attachment; filename=plain-1.json");
    expect(await disposition('a "b" ä.json')).toBe("attachment; filename*=UTF-8''a%20%22b%22%20%C3%A4.json");
  });

  test("files are listed by run, with paths from the run's folder on", async () => {
    await put("checkpoints/step-2/state.json", "{}");
    await put("checkpoints/step-10/state.json", "{}");
    const top = await t.get("artifacts/list", { run_id: run });
    expect(top.at("root_uri")).toBe(`mlflow-artifacts:/0/${run}/artifacts`);
    expect(top.at("files")).toContainEqual({ path: "checkpoints", is_dir: true });
    const inner = await t.get("artifacts/list", { run_uuid: run, path: "checkpoints" });
    expect(inner.at("files")).toEqual([
      { path: "checkpoints/step-2", is_dir: true },
      { path: "checkpoints/step-10", is_dir: true },
    ]);
    const leaf = await t.get("artifacts/list", { run_id: run, path: "checkpoints/step-2" });
    expect(leaf.at("files")).toEqual([{ path: "checkpoints/step-2/state.json", is_dir: false, file_size: 2 }]);
    const proxy = await fetch(`${base}/api/2.0/mlflow-artifacts/artifacts?path=0/${run}/artifacts/checkpoints`);
    expect(answer(200, await proxy.text()).at("files.0.path")).toBe("step-2");
  });

  test("/get-artifact sends it as a download that no browser runs", async () => {
    await put("page.html", "<script>alert(1)</script>");
    for (const prefix of ["", "/ajax-api/2.0/mlflow"]) {
      const down = await fetch(`${base}${prefix}/get-artifact?run_id=${run}&path=page.html`);
      expect(await down.text()).toBe("<script>alert(1)</script>");
      expect(down.headers.get("content-disposition")).toContain("attachment");
      expect(down.headers.get("content-security-policy")).toContain("sandbox");
      expect(down.headers.get("x-content-type-options")).toBe("nosniff");
    }
  });

  test("what is missing is 404, never 500", async () => {
    await put("file", "x");
    for (const path of ["nothing", "file/below", "checkpoints", "no/such/folder/x"]) {
      const down = await fetch(`${folder}/${path}`);
      expect([path, down.status, answer(404, await down.text()).at("error_code")]).toEqual([
        path,
        404,
        "RESOURCE_DOES_NOT_EXIST",
      ]);
    }
    expect((await fetch(`${base}/get-artifact?run_id=${run}&path=nothing`)).status).toBe(404);
    expect((await t.get("artifacts/list", { run_id: run, path: "nothing" })).at("files")).toBeUndefined();
    expect((await fetch(`${folder}/nothing`, { method: "DELETE" })).status).toBe(404);
  });

  test("a folder's name cannot become a file, nor a file's a folder", async () => {
    await put("taken/inside", "x");
    expect((await put("taken", "y")).status).toBe(400);
    expect((await put("taken/inside/deeper", "y")).status).toBe(400);
  });

  test("a folder is deleted with what is in it", async () => {
    await put("old/a", "x");
    await put("old/b/c", "x");
    expect((await fetch(`${folder}/old`, { method: "DELETE" })).status).toBe(200);
    expect((await fetch(`${folder}/old/b/c`)).status).toBe(404);
  });

  test("an upload that breaks off leaves the old file and nothing half", async () => {
    await put("steady", "old");
    const { hostname, port } = new URL(base);
    const sent = request({
      hostname,
      port,
      method: "PUT",
      path: `${new URL(folder).pathname}/steady`,
      headers: { "content-length": "1000" },
    });
    const broken = new Promise((resolve) => sent.on("close", resolve).on("error", resolve));
    sent.write("only a part");
    await new Promise((resolve) => setTimeout(resolve, 50)); // lets the part arrive; the assertion holds either way
    sent.destroy();
    await broken;
    const incoming = join(t.dataDir, "artifacts", ".incoming");
    await expect.poll(() => readdirSync(incoming).length).toBe(0);
    expect(await (await fetch(`${folder}/steady`)).text()).toBe("old");
  });

  test("an empty file is a file", async () => {
    await put("empty", "");
    const down = await fetch(`${folder}/empty`);
    expect([down.status, await down.text()]).toEqual([200, ""]);
  });

  test.each([
    "../../../../tracker.db",
    "..%2f..%2f..%2f..%2ftracker.db",
    "%2e%2e/%2e%2e/tracker.db",
    "%252e%252e%252ftracker.db",
    "..%5c..%5ctracker.db",
    "a/../../x",
    "./x",
    "a//b",
    "/etc/passwd",
    "%2fetc%2fpasswd",
    "C:%5cx",
    "a%00b",
    "a%0ab",
  ])("the path %s leads nowhere", async (path) => {
    const at = `/api/2.0/mlflow-artifacts/artifacts/0/${run}/artifacts/${path}`;
    for (const method of ["GET", "PUT", "DELETE"]) {
      const { status, body } = await raw(method, at);
      expect([method, status, answer(status, body).at("error_code")]).toEqual([method, 400, "INVALID_PARAMETER_VALUE"]);
    }
    for (const url of [
      `/get-artifact?run_id=${run}&path=${path}`,
      `/api/2.0/mlflow/artifacts/list?run_id=${run}&path=${path}`,
    ]) {
      expect([url, (await raw("GET", url)).status]).toEqual([url, 400]);
    }
    expect((await raw("GET", `/api/2.0/mlflow-artifacts/artifacts?path=${path}`)).status).toBe(400);
  });

  test("a percent sign that encodes nothing is a 400 and a file of the tracker's own is out of reach", async () => {
    expect((await raw("GET", `/api/2.0/mlflow-artifacts/artifacts/%zz`)).status).toBe(400);
    expect((await raw("PUT", "/api/2.0/mlflow-artifacts/artifacts/.incoming/x")).status).toBe(400);
  });

  test("runs whose artifacts lie elsewhere say so", async () => {
    const made = await t.post("experiments/create", { name: "far away", artifact_location: "s3://bucket/there" });
    const far = await t.run({ experiment_id: made.text("experiment_id") });
    const listed = await t.get("artifacts/list", { run_id: far });
    expect(listed.status).toBe(400);
    expect(listed.text("message")).toContain(`s3://bucket/there/${far}/artifacts`);
  });
});
