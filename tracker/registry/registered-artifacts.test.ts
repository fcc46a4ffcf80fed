import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { PassThrough, Readable } from "node:stream";
import { buffer } from "node:stream/consumers";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { type S3Server, startS3 } from "../../tests/s3/server.ts";
import type { Artifacts } from "../artifacts/artifacts.ts";
import { openArtifacts } from "../artifacts/open.ts";
import { setS3Environment, sha256 } from "../artifacts/testing.ts";
import { newStore } from "../testing.ts";
import { openTracker, type Tracker } from "../tracker.ts";

describe.each(["disk", "S3"] as const)("files of registered versions on %s", (kind) => {
  const root = "0/run/artifacts/model";
  const content = "the registered content ".repeat(10_000);
  let dataDir: string;
  let s3: S3Server | undefined;
  let tracker: Tracker;
  let artifacts: Artifacts;
  /** The same place, without the tracker's protection. */
  let plain: Artifacts;

  beforeEach(async () => {
    dataDir = mkdtempSync(join(tmpdir(), "anneal-registered-"));
    s3 = kind === "S3" ? await startS3() : undefined;
    if (s3) setS3Environment(s3);
    const location = kind === "S3" ? "s3://artifacts/x" : join(dataDir, "artifacts");
    tracker = await openTracker({ dataDir, artifacts: location, ...(await newStore()) });
    ({ artifacts } = tracker);
    plain = await openArtifacts(location, tracker.store.artifacts);
    await artifacts.put(`${root}/weights`, Readable.from([content]));
    await tracker.store.registry.createModel({ name: "m", description: null, tags: [] });
  });
  afterEach(async () => {
    await plain.close();
    await tracker.close();
    await s3?.close();
    rmSync(dataDir, { recursive: true, force: true });
  });

  const register = () =>
    tracker.store.registry.createVersion({
      name: "m",
      source: `mlflow-artifacts:/${root}`,
      runId: null,
      runLink: null,
      modelId: null,
      description: null,
      userId: "tester",
      tags: [],
      root,
      originRun: null,
      location: null,
      files: [{ path: "weights", size: content.length, sha256: sha256(content) }],
    });
  const read = async (range?: { start: number; end: number }) =>
    (await buffer(await (await artifacts.get(`${root}/weights`)).open(range))).toString();
  const evil = `evil${content.slice(4)}`;

  test("are read whole and in parts, unless they have changed", async () => {
    await register();
    const part = { start: 1_000, end: 1_009 };
    expect(await read()).toBe(content);
    expect(await read(part)).toBe(content.slice(1_000, 1_010));
    await plain.put(`${root}/weights`, Readable.from([evil]));
    await expect(read()).rejects.toThrow("not the one that was registered");
    await expect(read(part)).rejects.toThrow("not the one that was registered");
    await plain.put(`${root}/weights`, Readable.from(["shorter"]));
    await expect(artifacts.get(`${root}/weights`)).rejects.toThrow("not the one that was registered");
    await plain.put(`${root}/weights`, Readable.from([content]));
    expect(await read(part)).toBe(content.slice(1_000, 1_010));
  });

  test("are not replaced by an upload that was under way when they were registered", async () => {
    const slow = new PassThrough();
    const put = artifacts.put(`${root}/weights`, slow);
    const refused = expect(put).rejects.toThrow("version 1 of the registered model m");
    slow.write("evil");
    const id = await artifacts.uploads.begin(`${root}/weights`);
    const part = await artifacts.uploads.putPart(id, 1, Readable.from(["evil"]), { size: 4 });
    await register();
    slow.end();
    await refused;
    await expect(artifacts.uploads.complete(id, [part])).rejects.toThrow("version 1 of the registered model m");
    expect(await read()).toBe(content);
  });

  test("are not removed, copied over or added to", async () => {
    await register();
    const other = await artifacts.put("0/other", Readable.from(["evil"]));
    const from = { path: "0/other", createdAt: Date.now(), ...other };
    for (const path of [`${root}/weights`, `${root}/weights/below`, `${root}/new`, root, "0/run"]) {
      await expect(artifacts.put(path, Readable.from(["evil"]))).rejects.toThrow("registered model m");
      await expect(artifacts.copy(from, path)).rejects.toThrow("registered model m");
      await expect(artifacts.remove(path)).rejects.toThrow("registered model m");
      await expect(artifacts.uploads.begin(path)).rejects.toThrow("registered model m");
    }
    for (const path of [`${root}-2/weights`, "0/run/artifacts/other", "0/run-2"]) {
      await artifacts.put(path, Readable.from(["free"]));
      await artifacts.remove(path);
    }
    expect(await read()).toBe(content);
  });
});
