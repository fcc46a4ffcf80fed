// The package's entries: all exports are documented, tested, and listed in docs/api.md.
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { entriesOf, faces } from "./api-docs.ts";
import { apiPage } from "./api-page.ts";
import { root } from "./reference.ts";

const load = (file: string): Promise<Record<string, unknown>> => import(join(root, `dist/src/${file}.js`));

/** Sources of all other tests. */
const tests = ["src", "kernel", "tests"]
  .flatMap((folder) =>
    readdirSync(join(root, folder), { recursive: true, encoding: "utf8" })
      .filter((path) => path.endsWith(".test.ts") && !path.endsWith("faces.test.ts"))
      .map((path) => readFileSync(join(root, folder, path), "utf8")),
  )
  .join("\n");
const words = new Set(tests.match(/[A-Za-z_$][\w$]*/g));

describe.each(faces)("$specifier", ({ specifier, file }) => {
  test("is an entry of package.json", () => {
    const { exports } = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
    const entry = `./dist/src/${file}`;
    expect(exports[specifier.replace(/^anneal/, ".")]).toEqual({ types: `${entry}.d.ts`, default: `${entry}.js` });
  });

  test("exports the values that its types declare", async () => {
    const promised = entriesOf(file).filter(({ isValue }) => isValue);
    expect(Object.keys(await load(file)).sort()).toEqual(promised.map(({ name }) => name).sort());
  });

  test("has a doc comment for every name", () => {
    const missing = entriesOf(file).filter(({ comment }) => !comment);
    expect(missing.map(({ name, source }) => `${name} of src/${source}`)).toEqual([]);
  });

  test("exports only values that a test mentions", async () => {
    expect(Object.keys(await load(file)).filter((name) => !words.has(name))).toEqual([]);
  });
});

test("docs/api.md is up to date", () => {
  const isSame = readFileSync(join(root, "docs/api.md"), "utf8") === apiPage();
  expect(isSame, "the doc comments have changed since it was written: run npm run docs:api").toBe(true);
});
