// Changes to a notebook's file by opening, viewing and saving it in a real browser.
import { copyFileSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { Lab, type LabNotebook } from "./lab.ts";
import { root } from "./reference.ts";
import { cleanUp, scratch, until } from "./support.ts";

let lab: Lab;

beforeAll(async () => {
  lab = await Lab.start(join(scratch("saving"), "work"), scratch("saving-data"));
});

afterAll(async () => {
  await lab.close();
  await cleanUp();
});

const file = (name: string) => join(lab.folder, `${name}.ipynb`);
const read = (name: string) => readFileSync(file(name), "utf8");
const isDirty = async ({ page }: LabNotebook) =>
  (await page.locator(".lm-TabBar-tab.jp-mod-dirty, .jp-mod-dirty").count()) > 0;

/** Saves and waits for the server's response. */
async function save({ page }: LabNotebook): Promise<void> {
  const saved = page.waitForResponse(
    (response) => response.request().method() === "PUT" && response.url().includes("/api/contents/"),
  );
  // The button is used, because keys go to the focused element.
  await page.locator(".jp-NotebookPanel:visible .jp-Toolbar-item[data-jp-item-name='save'] jp-button").click();
  await (await saved).finished();
}

const shipped = readdirSync(join(root, "notebooks"))
  .filter((name) => name.endsWith(".ipynb"))
  .map((name) => basename(name, ".ipynb"));

test.each(shipped)("opening and saving the shipped notebook %s does not change it", async (name) => {
  copyFileSync(join(root, "notebooks", `${name}.ipynb`), file(name));
  const before = read(name);
  const notebook = await lab.visit(name);
  await notebook.page.locator(".jp-NotebookPanel .jp-Cell").nth(2).click();
  expect(await isDirty(notebook)).toBe(false);
  await save(notebook);
  expect(read(name)).toBe(before);
  await notebook.page.close();
});

test.each([
  ["without metadata", {}],
  [
    "of an older release",
    { kernelspec: { name: "anneal", display_name: "Old" }, language_info: { name: "typescript" } },
  ],
])("a notebook %s is not changed by opening it; a changed cell changes its own lines", async (what, metadata) => {
  const name = what.replaceAll(" ", "-");
  const cell = { cell_type: "code", execution_count: null, metadata: {}, outputs: [] };
  const cells = [
    { ...cell, id: "a", source: ["// é\n", "1"] },
    { ...cell, id: "b", source: ["2"] },
  ];
  writeFileSync(file(name), JSON.stringify({ cells, metadata, nbformat: 4, nbformat_minor: 5 }));
  const before = read(name);
  const notebook = await lab.visit(name);
  expect(await isDirty(notebook)).toBe(false);
  await save(notebook);
  expect(read(name)).toBe(before);
  await notebook.cell(1).locator(".cm-content").fill("let x = 3;\nx");
  await until("it is changed", 5, () => isDirty(notebook));
  await save(notebook);
  const saved = read(name);
  expect(saved).toContain('   "source": [\n    "let x = 3;\\n",\n    "x"\n   ]\n');
  expect(saved).toContain('   "source": [\n    "// é\\n",\n    "1"\n   ]\n');
  expect(JSON.parse(saved).metadata).toMatchObject(metadata);
  await notebook.page.close();
});
