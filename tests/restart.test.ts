// Restarts and crashes of kernels in JupyterLab in a real browser.
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Lab, type LabNotebook } from "./lab.ts";
import { cleanUp, scratch, until } from "./support.ts";

let lab: Lab;

beforeAll(async () => {
  lab = await Lab.start(join(scratch("restart"), "work"), scratch("restart-data"));
});

afterAll(async () => {
  await lab.close();
  await cleanUp();
});

const dialogs = ({ page }: LabNotebook) => page.locator(".jp-Dialog");

async function choose({ page }: LabNotebook, item: RegExp): Promise<void> {
  await page.locator(".lm-MenuBar-item", { hasText: "Kernel" }).click();
  await page.locator(".lm-Menu-item", { hasText: item }).click();
}

/** Restarts with the menu and confirms. */
async function restart(notebook: LabNotebook, item: RegExp): Promise<void> {
  await choose(notebook, item);
  await dialogs(notebook).locator("button", { hasText: "Restart" }).click();
  await dialogs(notebook).waitFor({ state: "detached" });
}

const prompts = ({ page }: LabNotebook) =>
  page.locator(".jp-NotebookPanel:visible .jp-CodeCell .jp-InputPrompt").allTextContents();

describe("a user who restarts", () => {
  let notebook: LabNotebook;
  beforeAll(async () => {
    notebook = await lab.open("restarts", [
      "const started = process.pid;\nconsole.log(started)",
      "console.log('after', started)",
      "for (;;);",
    ]);
  });

  // `npm run test:all` restarts more often.
  const times = process.env.ANNEAL_TEST_ALL === "1" ? 10 : 4;
  test(`sees no crash message, and 'Restart and run all' runs all cells, ${times} times of ${times}`, async () => {
    await notebook.cell(2).locator(".jp-InputArea-prompt").first().click();
    await notebook.page.keyboard.press("d");
    await notebook.page.keyboard.press("d");
    const pids: string[] = [];
    for (let time = 1; time <= times; time++) {
      await restart(notebook, /^Restart Kernel and Run All Cells/);
      const isNew = async () => {
        const [, pid] = /^after (\d+)\n$/.exec(await notebook.text(1)) ?? [];
        return pid !== undefined && !pids.includes(pid) && pid;
      };
      pids.push(await until(`all has run, time ${time}`, 20, isNew));
      await notebook.done(1);
      expect(await prompts(notebook)).toEqual(["[1]:", "[2]:"]);
      expect(await dialogs(notebook).count()).toBe(0);
    }
  });

  test("sees a widget again that has the same id as before", async () => {
    const widgets = await lab.open("widgets", [
      'import { IntSlider } from "anneal/widgets";\nconst slider = new IntSlider({ value: 3 });\nslider',
      "slider.value = 55; undefined",
    ]);
    for (const item of [undefined, /^Restart Kernel…/]) {
      if (item) await restart(widgets, item);
      await widgets.idle();
      await widgets.run(0);
      await widgets.output(0).locator(".widget-readout", { hasText: /^3$/ }).waitFor();
      await widgets.run(1);
      await widgets.output(0).locator(".widget-readout", { hasText: /^55$/ }).waitFor();
    }
    await widgets.page.close();
  });

  test("ends an endless cell, also on another page with the same notebook", async () => {
    const { page } = notebook;
    await page.keyboard.press("Control+End");
    const other = await lab.visit("restarts", "restarts-other");
    await other.cell(1).locator(".cm-content").fill("for (;;);");
    await other.start(1);
    await until("it runs", 10, async () => (await prompts(other))[1] === "[*]:");
    await restart(notebook, /^Restart Kernel…/);
    await notebook.idle();
    await until("the other page waits no longer", 10, async () => (await prompts(other))[1] !== "[*]:");
    await other.cell(1).locator(".cm-content").fill("6 * 7");
    await other.run(1);
    expect(await other.text(1)).toMatch(/42$/);
    await notebook.run(0);
    expect(await dialogs(notebook).count()).toBe(0);
    expect(await dialogs(other).count()).toBe(0);
    await other.page.close();
    await page.close();
  });
});

describe("a kernel whose process is killed", () => {
  test("is restarted automatically: the page and the cell show it, cells run again, and Restart works", async () => {
    const notebook = await lab.open("killed", [
      "process.kill(process.ppid, 'SIGKILL'); for (;;);",
      "console.log('waits')",
      "6 * 7",
    ]);
    await notebook.start(0);
    await dialogs(notebook).locator(".jp-Dialog-body", { hasText: "It will restart automatically" }).waitFor();
    await dialogs(notebook).locator("button").click();
    await until("the cell says why", 10, async () =>
      /KernelDied: the kernel's process ended \(signal SIGKILL\)/.test(await notebook.text(0)),
    );
    await notebook.idle();
    expect((await prompts(notebook)).join()).not.toContain("*");
    await notebook.run(2);
    expect(await notebook.text(2)).toMatch(/42$/);
    await restart(notebook, /^Restart Kernel…/);
    await notebook.idle();
    await notebook.run(2);
    expect(await prompts(notebook)).toContain("[1]:");
    await notebook.page.close();
  });

  test("repeatedly is dead; Restart and a reload start it again", async () => {
    const notebook = await lab.open("hopeless", ["process.kill(process.ppid, 'SIGKILL'); for (;;);", "6 * 7"]);
    const { page } = notebook;
    /** Kills it until it is no longer restarted. */
    const wearOut = async () => {
      for (let time = 1; time <= 6; time++) {
        await notebook.start(0);
        if (time < 6) {
          await dialogs(notebook).locator("button").click();
          await notebook.idle();
        }
      }
      await until("it is given up", 10, async () => (await notebook.text(0)).includes("It ended 6 times in a row"));
    };
    await wearOut();
    // There is no state to lose, so there is no confirmation.
    await choose(notebook, /^Restart Kernel…/);
    await notebook.idle();
    await notebook.run(1);
    expect(await notebook.text(1)).toMatch(/42$/);
    await wearOut();
    await page.reload();
    await notebook.idle();
    await notebook.run(1);
    expect(await notebook.text(1)).toMatch(/42$/);
    await page.close();
  }, 120_000);
});
