// Cells with endless output, in JupyterLab in a real browser.
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { Lab, type LabNotebook } from "./lab.ts";
import { cleanUp, scratch, until } from "./support.ts";

let lab: Lab;
let notebook: LabNotebook;

const cells: [string, string, RegExp][] = [
  ["console.log in a loop", "let i = 0; while (true) console.log(i++)", /^0\n1\n2\n/],
  ["with await in between", "let j = 0; while (true) { console.log(j++); await Promise.resolve() }", /^0\n1\n2\n/],
  [
    "with a turn in between",
    "let k = 0; while (true) { console.log(k++); await new Promise(setImmediate) }",
    /^0\n1\n2\n/,
  ],
  ["stderr", "let l = 0; while (true) console.error(l++)", /^0\n1\n2\n/],
  ["stdout and stderr in turns", "while (true) { console.log('out'); console.error('err') }", /^out\nerr\n/],
  ["megabytes at once", "while (true) process.stdout.write('x'.repeat(5_000_000))", /^xxxx/],
  ["displays", "let m = 0; while (true) { display(m++); await new Promise(setImmediate) }", /^0\s*1\s*2/],
];

beforeAll(async () => {
  lab = await Lab.start(join(scratch("endless"), "work"), scratch("endless-data"));
  notebook = await lab.open("endless", [...cells.map(([, code]) => code), "console.log('after')"]);
});

afterAll(async () => {
  await lab.close();
  await cleanUp();
});

test.each(cells.map(([name, , begin], index) => ({ name, begin, index })))(
  "$name: the page stays awake, Stop stops, and what was left out is said",
  async ({ index, begin }) => {
    const { page } = notebook;
    await notebook.start(index);
    await until("it prints", 20, async () => (await notebook.text(index)) !== "");
    await page.waitForTimeout(1500); // The user watches for a while.
    const start = Date.now();
    await page.locator("[data-command='notebook:interrupt-kernel'], jp-button[title*='Interrupt']").first().click();
    await notebook.done(index);
    // JupyterLab shows the first 50 outputs.
    const more = notebook.cell(index).getByText("Show more outputs");
    if (await more.isVisible()) await more.click();
    await until("the end is shown", 5, async () => (await notebook.text(index)).includes("Interrupted"));
    expect(Date.now() - start).toBeLessThan(5000);
    const text = await notebook.text(index);
    expect(text).toMatch(begin);
    expect(text).toMatch(/\[[\d,]+ (characters|displays)( and [\d,]+ displays)? omitted\.\]/);
    expect(text.length).toBeLessThan(2_100_000);
    await notebook.run(cells.length);
    expect(await notebook.text(cells.length)).toBe("after\n");
  },
);
