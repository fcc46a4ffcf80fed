import { expect, test } from "vitest";
import { requireSupportedLanguage } from "./execute.ts";
import { titleOf } from "./run.ts";

test.each([
  ['import { train } from "anneal";\n\nconst model = make();', "const model = make();"],
  ['import {\n  sft,\n  train,\n} from "anneal";\nimport fs from "node:fs";\nawait train(', "await train("],
  ['\nimport {\n  sft,\n  train,\n} from "anneal";\nimport "./setup.ts"', 'import { sft, train, } from "anneal";'],
  ['import "./setup.ts"', 'import "./setup.ts"'],
  ["// What it costs\n", "// What it costs"],
  ["/**\n * Loads the rows.\n */\n", "Loads the rows."],
  ["/* Loads */ load()", "Loads load()"],
  ['const { x } = await import("./x.ts")', 'const { x } = await import("./x.ts")'],
  ["[\n  ...\n]", "[ ... ]"],
  ["%npm install d3", "%npm install d3"],
])("the title of the cell %j is %j", (source, title) => {
  expect(titleOf(source)).toBe(title);
});

const refused = (metadata: Record<string, unknown>): string => {
  try {
    requireSupportedLanguage({ cells: [], metadata, nbformat: 4, nbformat_minor: 5 }, "n.ipynb");
    return "";
  } catch (error) {
    return (error as Error).message.split(". ")[0];
  }
};

test.each([
  {},
  { kernelspec: { name: "anneal", display_name: "TypeScript (Anneal)", language: "typescript" } },
  { kernelspec: { name: "tslab", display_name: "TypeScript", language: "typescript" } },
  { kernelspec: { name: "jslab", display_name: "JavaScript", language: "javascript" } },
  { kernelspec: { name: "deno", display_name: "Deno", language: "TypeScript" }, language_info: { name: "typescript" } },
  { kernelspec: { name: "deno", display_name: "Deno" } },
  { language_info: { name: "javascript" } },
])("a notebook with the metadata %j is run", (metadata) => {
  expect(refused(metadata)).toBe("");
});

test("a notebook of another language is refused, by its kernel and its language", () => {
  const spec = { name: "ir", display_name: "R", language: "R" };
  expect(refused({ kernelspec: spec })).toBe("n.ipynb is written for the kernel R, whose language is R");
  expect(refused({ language_info: { name: "python" } })).toBe("n.ipynb is written in python");
  const unnamed = { name: "python3", display_name: "Python 3" };
  expect(refused({ kernelspec: unnamed })).toContain("for the kernel Python 3, whose language is python");
});
