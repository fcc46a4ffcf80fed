// The kernel in JupyterLab in a real browser.
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Lab, type LabNotebook } from "./lab.ts";
import { picture } from "./pages.ts";
import { cleanUp, scratch, until } from "./support.ts";

const folder = join(scratch("lab"), "work");
const files: Record<string, string> = {
  "package.json": '{ "name": "notebook", "private": true, "workspaces": ["made-here"] }',
  "made-here/package.json":
    '{ "name": "made-here", "version": "1.0.0", "type": "module", "exports": "./i.js", "types": "./i.d.ts" }',
  "made-here/i.js": "export const made = 42;",
  "made-here/i.d.ts": "export const made: number;",
};

let lab: Lab;

beforeAll(async () => {
  for (const [path, text] of Object.entries(files)) {
    mkdirSync(dirname(join(folder, path)), { recursive: true });
    writeFileSync(join(folder, path), text);
  }
  lab = await Lab.start(folder, scratch("lab-data"));
});

afterAll(async () => {
  await lab.close();
  await cleanUp();
});

describe("results", () => {
  let notebook: LabNotebook;
  beforeAll(async () => {
    notebook = await lab.open("results", [
      '[{ layer: "attention", parameters: 4096, rank: 16 }, { layer: "mlp", parameters: 11008, rank: 8 }, { layer: "head", parameters: 512, rank: 32 }]',
      'const config = { model: { name: "phi", layers: [4, 8, 16], options: { bias: false, norm: "rms" } }, optimizer: { name: "adamw", betas: [0.9, 0.95], schedule: new Map([["warmup", 100], ["decay", 900]]) } };\nconfig',
      'import { made } from "made-here";\nmade + 0',
    ]);
  });

  test("a table of records sorts with a click, and two more restore the order", async () => {
    await notebook.run(0);
    const table = notebook.output(0).locator("table");
    const order = async () => {
      const rows = await table.locator("tbody tr").evaluateAll((all) =>
        (all as unknown as { textContent: string; getBoundingClientRect(): { top: number } }[])
          .map((row) => ({ text: row.textContent, top: row.getBoundingClientRect().top }))
          .sort((a, b) => a.top - b.top)
          .map(({ text }) => text),
      );
      return rows.map((text) => /[a-z]+/.exec(text)?.[0]);
    };
    expect(await order()).toEqual(["attention", "mlp", "head"]);
    const head = table.locator("th", { hasText: "parameters" }).locator("label:visible");
    await head.click();
    expect(await order()).toEqual(["head", "attention", "mlp"]);
    expect(await head.textContent()).toContain("▲");
    await head.click();
    expect(await order()).toEqual(["mlp", "attention", "head"]);
    await head.click();
    expect(await order()).toEqual(["attention", "mlp", "head"]);
    await table.locator("th", { hasText: "layer" }).locator("label:visible").click();
    expect(await order()).toEqual(["attention", "head", "mlp"]);
  });

  test("a tree of a nested value expands with a click", async () => {
    await notebook.run(1);
    const tree = notebook.output(1).locator(".anneal-tree");
    await tree.locator("summary", { hasText: "model" }).last().click();
    const leaf = tree.locator("b", { hasText: "warmup" });
    expect(await leaf.isVisible()).toBe(false);
    await tree.locator("summary", { hasText: "optimizer" }).last().click();
    await tree.locator("summary", { hasText: "schedule" }).last().click();
    await leaf.waitFor();
    await picture(notebook.page, "kernel-results", 560);
  });

  test("a click installs a missing package and runs the cell again", async () => {
    await notebook.run(2);
    expect(await notebook.text(2)).toContain("The package made-here is not installed");
    await picture(notebook.page, "kernel-install");
    await notebook.output(2).locator("button", { hasText: "Install made-here" }).click();
    // The cell with the magic is above now.
    await until("the cell has run", 30, async () => ((await notebook.text(3)) ?? "").endsWith("42"));
    expect(await notebook.cell(2).textContent()).toContain("%npm install made-here");
    expect(await notebook.text(2)).toContain("added 1 package");
  });
});

test("outputs of this machine are trusted when the notebook is opened again; those from elsewhere are not", async () => {
  const notebook = await lab.open("again", ["[{ a: 2 }, { a: 1 }]"]);
  const { page } = notebook;
  await notebook.run(0);
  await page.keyboard.press("Control+s");
  const path = join(folder, "again.ipynb");
  await until("it is saved", 10, () => readFileSync(path, "utf8").includes("anneal-table"));
  const saved = readFileSync(path, "utf8");
  expect(saved).not.toContain('"trusted"');
  const sorts = async () => {
    await page.reload();
    await page.locator(".jp-OutputArea-output table").waitFor();
    const display = () =>
      page
        .locator(".jp-OutputArea-output tbody")
        .evaluate(
          (body) =>
            (globalThis as unknown as { getComputedStyle(of: unknown): { display: string } }).getComputedStyle(body)
              .display,
        );
    return (await display()) === "contents";
  };
  expect(await sorts()).toBe(true);
  writeFileSync(path, saved.replace("[{ a: 2 }, { a: 1 }]", "[{ a: 3 }, { a: 1 }]"));
  expect(await sorts()).toBe(false);
  // A plain table, without controls that would not work.
  expect(
    await page.locator(".jp-OutputArea-output input:visible, .jp-OutputArea-output label.down:visible").count(),
  ).toBe(0);
  await page.close();
}, 60_000);

describe("widgets", () => {
  test("code observes a dragged slider and updates a progress bar", async () => {
    const notebook = await lab.open("widgets", [
      `import { FloatProgress, IntSlider, VBox } from "anneal/widgets";
const slider = new IntSlider({ value: 10, max: 100, description: "layers" });
const bar = new FloatProgress({ max: 100, value: 10, description: "share", style: "info" });
const seen: number[] = [];
slider.observe((value) => { seen.push(value); bar.value = value });
new VBox([slider, bar])`,
      "slider.value",
      "slider.value = 55; undefined",
    ]);
    await notebook.run(0);
    const handle = notebook.output(0).locator(".noUi-handle");
    await handle.waitFor();
    const track = await notebook.output(0).locator(".noUi-target").boundingBox();
    const from = await handle.boundingBox();
    if (!track || !from) throw new Error("the slider has no size");
    await notebook.page.mouse.move(from.x + from.width / 2, from.y + from.height / 2);
    await notebook.page.mouse.down();
    for (let step = 1; step <= 10; step++) {
      await notebook.page.mouse.move(from.x + track.width * 0.06 * step, from.y + from.height / 2);
    }
    await notebook.page.mouse.up();
    const readout = async () => Number(await notebook.output(0).locator(".widget-readout").textContent());
    const dragged = await readout();
    expect(dragged).toBeGreaterThan(50);
    await notebook.run(1);
    expect((await notebook.output(1).textContent())?.trim()).toBe(String(dragged));
    // Code that observes the slider set the bar.
    const width = () =>
      notebook
        .output(0)
        .locator(".progress-bar")
        .evaluate((bar) => (bar as unknown as { style: { width: string } }).style.width);
    await until("the bar follows", 5, async () => Math.abs(Number.parseFloat(await width()) - dragged) < 1);
    await picture(notebook.page, "kernel-widgets", 420);
    await notebook.run(2);
    await until("the slider follows", 5, async () => (await readout()) === 55);
    await notebook.page.close();
  }, 60_000);
});

describe("the debugger", () => {
  test("pauses at a breakpoint set in the gutter, shows variables, steps and continues", async () => {
    const notebook = await lab.open("debugging", [
      `interface Sample { text: string; weight: number }

function total(samples: Sample[]): number {
  let sum = 0;
  for (const { weight } of samples) {
    sum += weight;
  }
  return sum;
}
const samples: Sample[] = [{ text: "a", weight: 2 }, { text: "b", weight: 5 }];
const result = total(samples);
result`,
    ]);
    const { page } = notebook;
    await page.locator(".jp-DebuggerBugButton").click();
    await page.locator(".jp-DebuggerBugButton[aria-pressed='true']").waitFor();
    // The gutter next to line 6.
    const line = notebook.cell(0).locator(".cm-lineNumbers .cm-gutterElement", { hasText: /^6$/ });
    await line.waitFor();
    const gutter = await notebook.cell(0).locator(".cm-gutter.cm-breakpoint-gutter").boundingBox();
    const row = await line.boundingBox();
    if (!gutter || !row) throw new Error("the editor has no gutter");
    await page.mouse.click(gutter.x + gutter.width / 2, row.y + row.height / 2);
    await page.locator(".jp-DebuggerBreakpoints-body .jp-DebuggerBreakpoint").first().waitFor();

    await notebook.start(0);
    const panel = page.locator(".jp-DebuggerSidebar");
    await panel.locator(".jp-DebuggerCallstack-body", { hasText: "total" }).waitFor();
    const variables = panel.locator(".jp-DebuggerVariables");
    await variables.getByText("sum", { exact: true }).waitFor();
    const value = async (name: string) =>
      (await variables.locator("jp-tree-item", { hasText: name }).first().textContent()) ?? "";
    await until("the sum is 0", 20, async () => /0$/.test(await value("sum")));
    expect(await value("weight")).toMatch(/2$/);
    await picture(page, "kernel-debugger", 620);
    // Step over the line, then continue to the breakpoint in the next iteration.
    await panel.locator("[data-command='debugger:next']").click();
    await until("the sum is 2", 20, async () => /2$/.test(await value("sum")));
    await panel.locator("[data-command='debugger:continue']").click();
    await until("the weight is 5", 20, async () => /5$/.test(await value("weight")));
    await panel.locator("[data-command='debugger:continue']").click();
    await notebook.done(0);
    expect(await notebook.text(0)).toMatch(/7$/);
    await page.close();
  }, 60_000);
});

test("the Runs panel stays open or closed after a reload, and shows runs", async () => {
  const { page } = await lab.open("panel", ["1"]);
  const panel = page.locator("#anneal-runs");
  const tab = page.locator("li[data-id='anneal-runs']");
  const stored = (collapsed: boolean) =>
    page.waitForResponse((response) => {
      if (response.request().method() !== "PUT" || !response.url().includes("/lab/api/workspaces/")) return false;
      const { left } = JSON.parse(response.request().postData() ?? "{}").data["layout-restorer:data"];
      return left.collapsed === collapsed && (collapsed || left.current === "anneal-runs");
    });
  const open = stored(false);
  await tab.click();
  await panel.getByText("Runs of panel.ipynb").waitFor();
  await open;
  await page.reload();
  await panel.getByText("Runs of panel.ipynb").waitFor();
  await panel.getByText("No runs yet").waitFor();
  expect(await tab.getAttribute("aria-selected")).toBe("true");
  const closed = stored(true);
  await tab.click();
  await panel.waitFor({ state: "hidden" });
  await closed;
  await page.reload();
  await page.locator(".jp-NotebookPanel").waitFor();
  expect(await panel.isVisible()).toBe(false);
  await page.close();
});

test("no page has thrown, logged an error or received a server error", () => {
  expect(lab.complaints).toEqual([]);
});
