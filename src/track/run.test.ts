import { execFileSync } from "node:child_process";
import { appendFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { captureDiff } from "./environment.ts";
import type { JournalRecord } from "./records.ts";
import { addToRun, startRun } from "./run.ts";
import { segmentsOf } from "./segment.ts";

let data: string;
const folder = process.cwd();
beforeEach(() => {
  data = mkdtempSync(join(tmpdir(), "anneal-run-"));
  process.env.ANNEAL_DATA = data;
});
afterEach(() => {
  delete process.env.ANNEAL_DATA;
  process.chdir(folder);
  rmSync(data, { recursive: true, force: true });
});

const journalOf = (id: string): JournalRecord[] =>
  segmentsOf(id).flatMap((segment) => [...segment.all()].map(({ record }) => record));

describe("a run", () => {
  test("stores what was printed while it was active, and nothing else", async () => {
    process.stdout.write("before\n");
    const run = startRun();
    process.stdout.write("\u001b[31mred\u001b[0m and plain\n");
    process.stderr.write(Buffer.from("to the other stream\n"));
    await run.end();
    process.stdout.write("after\n");
    const record = journalOf(run.id).find((one) => one.kind === "artifact" && one.path === "output.log");
    const text = record?.kind === "artifact" ? readFileSync(record.file, "utf8") : "";
    expect(text).toContain("red and plain\nto the other stream\n");
    expect(text).not.toContain("before");
    expect(text).not.toContain("after");
  });

  test("stores measurements after its end at its last step", async () => {
    const run = startRun();
    run.logMetrics({ "train/loss": 1 }, 40);
    await run.end();
    await addToRun(run.id, (more) => more.logMetrics({ "test/loss": 2 }));
    const points = journalOf(run.id).flatMap((record) => (record.kind === "metrics" ? record.points : []));
    expect(points.find(({ key }) => key === "test/loss")).toMatchObject({ value: 2, step: 40 });
  });

  test("that is continued belongs to the notebook execution that continues it", async () => {
    const first = startRun({ name: "twice" });
    await first.end();
    process.env.ANNEAL_EXECUTION_ID = "second";
    try {
      await startRun({ name: "twice", id: first.id }).end();
    } finally {
      delete process.env.ANNEAL_EXECUTION_ID;
    }
    const tags = journalOf(first.id).flatMap((record) => (record.kind === "tags" ? [record.tags] : []));
    expect(tags).toContainEqual({ "anneal.execution_id": "second" });
  });

  test("immediately rejects what cannot be logged", async () => {
    const run = startRun();
    const untyped = { "train/loss": undefined } as unknown as Record<string, number>;
    expect(() => run.logMetrics(untyped, 1)).toThrow("The metric train/loss is undefined, not a number.");
    expect(() => run.logMetrics({ "train/loss": 1 }, 0.5)).toThrow("step must be an integer, not 0.5.");
    await run.end();
    expect(() => run.logMetrics({ "train/loss": 1 }, 1)).toThrow("has ended");
  });
});

test("differences from the commit are stored as a patch, with the names of new files", async () => {
  const git = (...args: string[]) =>
    execFileSync("git", ["-c", "user.name=n", "-c", "user.email=e", ...args], { cwd: data });
  process.chdir(data);
  expect(await captureDiff()).toBeUndefined();
  git("init", "-q");
  writeFileSync(join(data, "a.txt"), "one\n");
  git("add", "a.txt");
  git("commit", "-qm", "first");
  expect(await captureDiff()).toBeUndefined();
  appendFileSync(join(data, "a.txt"), "two\n");
  writeFileSync(join(data, "b.txt"), "");
  expect(await captureDiff()).toMatch(/^# new file: b\.txt\ndiff --git a\/a\.txt[\s\S]*\+two\n$/);
});
