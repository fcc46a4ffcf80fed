// Runs, models and traces with hostile names and numbers: no page may stay blank for anybody.
import type { Browser, Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { openBrowser, watchPage } from "../pages.ts";
import { AttackedServer, type User } from "./server.ts";

/** Names that mean something to JavaScript, HTML, CSS, SQL or an address. */
const names = [
  "__proto__",
  "constructor",
  "prototype",
  "toString",
  "hasOwnProperty",
  "valueOf",
  "__defineGetter__",
  "then",
  "length",
  "0",
  "-1",
  "NaN",
  "null",
  "undefined",
  "a.b.c",
  "a/b",
  "a b",
  "a:b",
  "ключ",
  "鍵",
  "é",
];
const texts = [
  ...names,
  "<img src=x onerror=alert(1)>",
  '"quoted"',
  "it's",
  "`ticks`",
  "$" + "{1}",
  "{{1}}",
  "../../etc/passwd",
  "%00%2e%2e",
  "a?b#c&d=e",
  "\u202Etxt.exe",
  "\u200B",
  "\uD83D\uDE00",
  "\uD800",
  "line\nbreak\ttab",
  "x".repeat(500),
];
const numbers = [0, -0, 1e-320, -1e308, 1.7976931348623157e308, "NaN", "Infinity", "-Infinity", 2 ** 53];
const times = [0, -1, 1, 8.64e15, 8.64e15 + 1, 2 ** 53 - 1, -(2 ** 53 - 1)];

describe("hostile names and numbers", () => {
  let server: AttackedServer;
  let owner: User;
  let browser: Browser;
  let page: Page;
  const problems: string[] = [];
  const runs: string[] = [];
  const experiments: string[] = [];
  const models: string[] = [];

  beforeAll(async () => {
    server = await AttackedServer.start();
    owner = server.owner;
    const batch = {
      metrics: names.flatMap((key) => numbers.map((value, step) => ({ key, value, step, timestamp: 1 }))),
      params: names.map((key, n) => ({ key, value: texts[n % texts.length] })),
      tags: names.map((key, n) => ({ key, value: texts[(n + 7) % texts.length] })),
    };
    const create = async (fields: object): Promise<string | undefined> => {
      const { status, body } = await owner.post("runs/create", { experiment_id: "0", ...fields });
      expect(status).toBeLessThan(500);
      return status === 200 ? (body.run as { info: { run_id: string } }).info.run_id : undefined;
    };
    for (const [n, run_name] of texts.entries()) {
      const run_id = await create({ run_name, start_time: times[n % times.length] });
      if (run_id === undefined) continue;
      runs.push(run_id);
      const { status } = await owner.post("runs/log-batch", { run_id, ...batch });
      expect(status).toBeLessThan(500);
      const end_time = times[(n + 3) % times.length];
      expect((await owner.post("runs/update", { run_id, status: "FINISHED", end_time })).status).toBeLessThan(500);
    }
    for (const start_time of [1e300, -1e300, "9".repeat(30), 0.5, "now", null, true, [], {}]) {
      const { status } = await owner.post("runs/create", { experiment_id: "0", start_time });
      expect(status).toBeLessThan(500);
    }
    for (const name of texts) {
      const experiment = await owner.post("experiments/create", { name });
      expect(experiment.status).toBeLessThan(500);
      if (experiment.status === 200) experiments.push(experiment.text("experiment_id"));
      const model = await owner.post("registered-models/create", { name });
      expect(model.status).toBeLessThan(500);
      if (model.status !== 200) continue;
      models.push((model.body.registered_model as { name: string }).name.replace("\uD800", "\uFFFD"));
      const source = `mlflow-artifacts:/0/${runs[0]}/artifacts/model`;
      const version = await owner.post("model-versions/create", { name, source, run_id: runs[0], description: name });
      expect(version.status).toBeLessThan(500);
    }
    browser = await openBrowser();
    page = await (await browser.newContext({ viewport: { width: 1400, height: 900 } })).newPage();
    watchPage(page, problems);
    page.on("dialog", (dialog) => problems.push(`a dialog: ${dialog.message()}`));
    await page.goto(`${server.url}/tracker/?token=${owner.token}`);
  }, 120_000);
  afterAll(async () => {
    await browser?.close();
    await server?.close();
  });

  /** Opens a page and waits until it shows something. */
  async function open(path: string, shows: RegExp): Promise<void> {
    await page.goto(`${server.url}/tracker${path}`);
    await expect.poll(() => page.locator("#root").textContent(), { timeout: 15_000, message: path }).toMatch(shows);
    // The frame of all pages is there: an error of one would have taken its place.
    expect([path, await page.getByRole("link", { name: "Settings" }).count()]).toEqual([path, 1]);
    await page.waitForLoadState("networkidle");
    // Text that looks like HTML is cleaned before it is shown; the browser reports what it would not have run anyway.
    expect([path, problems.splice(0).filter((line) => !line.includes("inline event handler"))]).toEqual([path, []]);
    expect(await page.locator("[onerror]").count()).toBe(0);
  }

  test("leave the pages of all runs, an experiment and a comparison as they are", async () => {
    await open("/", /__proto__/);
    await open("/experiments/0", /__proto__/);
    for (const id of experiments.slice(0, 3)) await open(`/experiments/${id}`, /No runs/i);
    await open(`/compare?runs=${runs.slice(0, 5).join()}`, /__proto__/);
    for (const value of ['["a"]', "{}", "5", "null", "true", "__proto__", "%", "a,b"]) {
      await page.goto(`${server.url}/tracker/?filter=${encodeURIComponent(value)}&order=${encodeURIComponent(value)}`);
      await expect.poll(() => page.locator("#root").textContent()).toMatch(/Runs/i);
      await page.goto(
        `${server.url}/tracker/compare?runs=${encodeURIComponent(value)}&tab=${encodeURIComponent(value)}`,
      );
      await expect.poll(() => page.locator("#root").textContent()).not.toMatch(/^$|is not a function|undefined/);
    }
    await page.waitForLoadState("networkidle");
    // Refused filters are logged by the browser.
    expect(problems.splice(0).filter((line) => !/4\d\d|Failed to load/.test(line))).toEqual([]);
  }, 120_000);

  test("leave the table of an experiment with few columns as it is", async () => {
    const experiment = await owner.experiment("few columns");
    for (const [n, key] of names.entries()) {
      const run = await owner.run(experiment, { metrics: n % 2 === 0 ? { [key]: 1 } : {} });
      // The first runs lack what the later ones have.
      await owner.must("POST", "runs/log-parameter", { run_id: run, key, value: `value of ${key}` });
      if (n < 3 || n % 5 === 0) await open(`/experiments/${experiment}`, /value of/);
    }
  }, 120_000);

  test("leave the page of each run as it is", async () => {
    for (const id of runs.slice(0, times.length + 3)) await open(`/runs/${id}`, /Metrics/);
    for (const tab of ["charts", "parameters", "artifacts"]) await open(`/runs/${runs[0]}?tab=${tab}`, /./);
  }, 240_000);

  test("leave the pages of models as they are", async () => {
    await open("/models", /__proto__/);
    // Enough of them, since each page takes a second.
    for (const name of models.filter((_, n) => n % 3 === 0 || n > names.length)) {
      await open(`/models/${encodeURIComponent(name)}`, /Version/);
      await open(`/models/${encodeURIComponent(name)}/versions/1`, /Version|card/i);
    }
  }, 240_000);

  test("lead nowhere as addresses", async () => {
    for (const text of ["__proto__", "constructor", "%", "..%2f..", "a?b#c", "<script>"]) {
      for (const path of ["/runs/", "/experiments/", "/models/", "/traces/"]) {
        await page.goto(`${server.url}/tracker${path}${encodeURIComponent(text)}`);
        await expect.poll(() => page.locator("#root").textContent(), { message: path + text }).not.toBe("");
      }
    }
    // Refused requests are logged by the browser.
    expect(problems.splice(0).filter((line) => !/4\d\d|Failed to load/.test(line))).toEqual([]);
  }, 120_000);

  test("MLflow's addresses lead to the same thing here", async () => {
    const [run, model] = [runs[0], models[0]];
    for (const [from, to] of [
      [`/#/experiments/0/runs/${run}`, `/tracker/runs/${run}`],
      ["/#/experiments/0", "/tracker/experiments/0"],
      ["/#/experiments/0?searchFilter=x", "/tracker/experiments/0"],
      [`/#/models/${model}/versions/1`, `/tracker/models/${model}/versions/1`],
      ["/#/models", "/tracker/models"],
      ["/", "/tracker/"],
    ]) {
      await page.goto("about:blank");
      await page.goto(server.url + from);
      await expect.poll(() => new URL(page.url()).pathname).toBe(to);
      await expect.poll(() => page.locator("#root").textContent()).not.toBe("");
    }
  });
});
