import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { History } from "./history.ts";

let folder: string;
let log: string[];

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "anneal-history-"));
  log = [];
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const open = () => new History(folder, (line) => log.push(line));

test("the history persists across kernels", async () => {
  const first = open();
  first.add(1, "const a = 1");
  first.add(2, "a + 1");
  first.addOutput(2, "2");
  await first.close();
  const second = open();
  second.add(1, "b");
  expect(await second.tail(2)).toEqual([
    [1, 2, "a + 1", "2"],
    [2, 1, "b", null],
  ]);
  expect(await second.range(-1, 1, undefined)).toEqual([
    [1, 1, "const a = 1", null],
    [1, 2, "a + 1", "2"],
  ]);
  expect(await second.range(0, 0, 5)).toEqual([[2, 1, "b", null]]);
  expect(await second.range(1, 2, 3)).toEqual([[1, 2, "a + 1", "2"]]);
  await second.close();
});

test("search matches a pattern, limits to the last n, and can be unique", async () => {
  const history = open();
  for (const [index, source] of ["const a = 1", "b", "const a = 1", "const c = 2"].entries())
    history.add(index + 1, source);
  expect(await history.search("const*", undefined, false)).toHaveLength(3);
  expect((await history.search("const*", undefined, true)).map(([, line]) => line)).toEqual([3, 4]);
  expect((await history.search("const ? = ?", 1, false)).map(([, line]) => line)).toEqual([4]);
  await history.close();
});

test("two concurrent kernels have separate sessions", async () => {
  const [one, two] = [open(), open()];
  for (let line = 1; line <= 20; line++) {
    one.add(line, `one ${line}`);
    two.add(line, `two ${line}`);
  }
  const [ofOne, ofTwo] = [await one.range(0, 1, undefined), await two.range(0, 1, undefined)];
  expect(ofOne.map(([, , source]) => source)).toEqual(Array.from({ length: 20 }, (_, n) => `one ${n + 1}`));
  expect(ofTwo.map(([, , source]) => source)).toEqual(Array.from({ length: 20 }, (_, n) => `two ${n + 1}`));
  await Promise.all([one.close(), two.close()]);
});

test("if the database cannot be opened, one line is logged and the history is empty", async () => {
  mkdirSync(join(folder, "history.sqlite"));
  const history = open();
  history.add(1, "a");
  history.add(2, "b");
  expect(await history.tail(5)).toEqual([]);
  expect(log).toHaveLength(1);
  expect(log[0]).toContain("cannot open the history");
  await history.close();
});
