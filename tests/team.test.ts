// A team's tracker in real browsers: an admin adds a viewer, both see what they may, and pages update live.
import { once } from "node:events";
import { createServer, type IncomingHttpHeaders, type Server as Receiver } from "node:http";
import type { AddressInfo } from "node:net";
import { userInfo } from "node:os";
import type { Browser, BrowserContext, Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { openBrowser, picture, size, watchPage } from "./pages.ts";
import { cleanUp, Server, scratch, until } from "./support.ts";

const MLFLOW = "/api/2.0/mlflow";
const SECOND = 1_000_000_000n;

/** Requests to a webhook. */
interface Delivery {
  headers: IncomingHttpHeaders;
  body: { entity: string; action: string; data: Record<string, unknown> };
}

describe("a team's tracker", () => {
  let tracker: Server;
  let browser: Browser;
  let owner: Page;
  let viewer: Page;
  let receiver: Receiver;
  let run: string;
  let token: string;
  const deliveries: Delivery[] = [];
  const complaints: string[] = [];

  const context = async (): Promise<BrowserContext> => {
    const context = await browser.newContext({ viewport: size });
    context.setDefaultTimeout(15_000);
    context.on("page", (page) => watchPage(page, complaints));
    await context.grantPermissions(["clipboard-read", "clipboard-write"], { origin: tracker.url });
    return context;
  };
  const link = (page: Page, name: string) => page.getByRole("link", { name, exact: true });
  const button = (page: Page, name: string) => page.getByRole("button", { name, exact: true });
  const tab = (page: Page, name: string) => page.getByRole("tab", { name, exact: true });
  const choose = async (page: Page, field: string, option: string) => {
    await page.getByRole("combobox", { name: field }).click();
    await page.getByRole("option", { name: option, exact: true }).click();
  };
  /** Expected errors in a page's console: refused requests. There must be no others. */
  const refused = (status: number) => {
    const errors = complaints.splice(0);
    expect(errors.length).toBeGreaterThan(0);
    expect(errors.filter((line) => !line.includes(String(status)))).toEqual([]);
  };
  /** A marker in the page that a reload would remove. */
  const mark = (page: Page) => page.evaluate(() => Object.assign(globalThis, { marked: true }));
  const isMarked = (page: Page) => page.evaluate(() => "marked" in globalThis);

  beforeAll(async () => {
    tracker = await Server.start("tracker", scratch("team"), ["--allow-private-webhooks"]);
    browser = await openBrowser();
    owner = await (await context()).newPage();
    viewer = await (await context()).newPage();
    receiver = createServer((request, response) => {
      let text = "";
      request.on("data", (piece) => {
        text += piece;
      });
      request.on("end", () => {
        deliveries.push({ headers: request.headers, body: JSON.parse(text) });
        response.end("thanks");
      });
    });
    receiver.listen(0, "127.0.0.1");
    await once(receiver, "listening");
  });

  afterAll(async () => {
    await browser?.close();
    receiver?.close();
    await cleanUp();
  });

  test("the login page requires a valid token", async () => {
    await owner.goto(`${tracker.url}/tracker/`);
    await owner.getByLabel("Token").fill("x".repeat(43));
    await button(owner, "Open").click();
    await owner.getByText("That token is invalid or has expired").waitFor();
    refused(401);
    await owner.getByLabel("Token").fill(tracker.token);
    await button(owner, "Open").click();
    await owner.getByText("No runs yet").waitFor();
    expect(owner.url()).not.toContain(tracker.token);
  });

  test("new runs and models appear on an open page", async () => {
    await owner.getByRole("status").getByText("Live").waitFor();
    await mark(owner);
    const { experiment_id } = await tracker.ask<{ experiment_id: string }>("POST", `${MLFLOW}/experiments/create`, {
      name: "answers",
    });
    const created = await tracker.ask<{ run: { info: { run_id: string } } }>("POST", `${MLFLOW}/runs/create`, {
      experiment_id,
      run_name: "answers, first try",
      start_time: Date.now(),
    });
    run = created.run.info.run_id;
    await link(owner, "answers, first try").waitFor();
    await tracker.ask("POST", `${MLFLOW}/runs/log-batch`, {
      run_id: run,
      metrics: [{ key: "test/loss", value: 1.25, timestamp: Date.now(), step: 0 }],
    });
    await owner
      .getByRole("row", { name: /answers, first try/ })
      .getByText("1.25")
      .waitFor();

    await link(owner, "Models").click();
    await owner.getByText("No registered models yet").waitFor();
    await tracker.ask("POST", `${MLFLOW}/registered-models/create`, { name: "summaries" });
    await link(owner, "summaries").waitFor();
    await tracker.ask("POST", `${MLFLOW}/model-versions/create`, { name: "summaries", source: `runs:/${run}/model` });
    await link(owner, "Version 1").waitFor();
    expect(await isMarked(owner)).toBe(true);
  });

  test("a model that a run logged is registered on the run's page, under a new name", async () => {
    const { info } = (
      await tracker.ask<{ run: { info: { experiment_id: string } } }>("GET", `${MLFLOW}/runs/get?run_id=${run}`)
    ).run;
    const { model } = await tracker.ask<{ model: { info: { model_id: string } } }>("POST", `${MLFLOW}/logged-models`, {
      experiment_id: info.experiment_id,
      source_run_id: run,
      name: "model",
    });
    const { model_id } = model.info;
    await tracker.ask("PATCH", `${MLFLOW}/logged-models/${model_id}`, { model_id, status: "LOGGED_MODEL_READY" });
    await link(owner, "Runs").click();
    await link(owner, "answers, first try").click();
    await button(owner, "Register").click();
    const dialog = owner.getByRole("dialog");
    await dialog.getByLabel("Registered model").fill("assistant");
    await button(owner, "Register as a new model").click();
    await dialog.getByRole("link", { name: "assistant, version 1" }).click();
    await owner.getByRole("heading", { name: "assistant, version 1" }).first().waitFor();
    const { model_version } = await tracker.ask<{ model_version: object }>(
      "GET",
      `${MLFLOW}/model-versions/get?name=assistant&version=1`,
    );
    expect(model_version).toMatchObject({ source: `models:/${model_id}`, run_id: run, model_id });
  });

  test("a run is renamed", async () => {
    await link(owner, "Runs").click();
    await link(owner, "answers, first try").click();
    await button(owner, "Rename").click();
    await owner.getByRole("dialog").getByLabel("Name").fill("answers, base");
    await owner.getByRole("dialog").getByRole("button", { name: "Rename" }).click();
    await owner.getByRole("heading", { name: "answers, base" }).waitFor();
  });

  test("the owner adds a user, creates a token, and grants rights on one model", async () => {
    for (const [name, role] of [
      ["ada@example.org", "editor"],
      ["nightly-training", "editor"],
    ]) {
      await tracker.ask("POST", "/api/anneal/users", { name, role });
    }
    await link(owner, "Settings").click();
    await owner.getByText(`${userInfo().username} (owner)`).waitFor();
    await owner.getByLabel("Name").fill("vera");
    await button(owner, "Add user").click();
    const dialog = owner.getByRole("dialog");
    await dialog.getByLabel("Name").fill("laptop");
    await dialog.getByRole("combobox", { name: "Access" }).first().click();
    await owner.getByRole("option", { name: "Full access of the user" }).click();
    await dialog.getByRole("button", { name: "Create token" }).click();
    await dialog.getByText("Copy it now: it is not shown again.").waitFor();
    await dialog.getByRole("alert").getByRole("button").click();
    token = await owner.evaluate("navigator.clipboard.readText()");
    expect(token).toMatch(/^[\w-]{30,}$/);
    await choose(owner, "Experiment or model", "assistant");
    await dialog.getByRole("button", { name: "Grant" }).click();
    await dialog.getByRole("row", { name: /Model assistant Editor/ }).waitFor();
    await owner.keyboard.press("Escape");
    await dialog.waitFor({ state: "hidden" });
    await owner.getByRole("row", { name: /vera/ }).waitFor();
    await picture(owner, "tracker-settings", 434);
  });

  test("a webhook is added and tested", async () => {
    await tab(owner, "Webhooks").click();
    await owner.getByText("No webhooks yet").waitFor();
    await owner.getByLabel("Name").fill("deploy");
    const { port } = receiver.address() as AddressInfo;
    await owner.getByLabel("Address").fill(`http://127.0.0.1:${port}/hook`);
    await owner.getByLabel("Secret").fill("between us");
    await button(owner, "Add webhook").click();
    await owner
      .getByRole("row", { name: /deploy/ })
      .getByRole("button", { name: "Test" })
      .click();
    await owner.getByText(/^answered 200 in \d+ ms$/).waitFor();
    expect(deliveries).toHaveLength(1);
    expect(deliveries[0]?.headers["x-mlflow-signature"]).toMatch(/^v1,/);
    expect(deliveries[0]?.body).toMatchObject({ entity: "model_version_stage", action: "set" });
  });

  test("the viewer signs in with their token and sees the runs, but no admin pages", async () => {
    await viewer.goto(`${tracker.url}/tracker/`);
    await viewer.getByLabel("Token").fill(token);
    await button(viewer, "Open").click();
    await link(viewer, "answers, base").waitFor();
    refused(401);
    await button(viewer, "Signed in as vera").waitFor();
    await link(viewer, "Settings").click();
    await viewer.getByText("vera, viewer").waitFor();
    await viewer.getByRole("row", { name: /laptop/ }).waitFor();
    expect(await viewer.getByRole("tab").allTextContents()).toEqual(["Your tokens"]);
  });

  test("and sees why they cannot change what they may only read", async () => {
    await link(viewer, "Runs").click();
    await viewer.getByRole("checkbox").last().check();
    await expectRefused("Delete", "vera has the role viewer for any experiment; editor is required.");
    await link(viewer, "answers, base").click();
    for (const name of ["Rename", "Delete"]) {
      await expectRefused(name, "vera has the role viewer for experiment 1; editor is required.");
    }
    await viewer.goto(`${tracker.url}/tracker/models/summaries/versions/1`);
    for (const name of ["Promote to Production", "Other stage", "Edit card"]) {
      await expectRefused(name, "vera has the role viewer for model summaries; editor is required.");
    }
    await link(viewer, "summaries").click();
    await viewer
      .getByText(
        "vera has the role viewer for model summaries; admin is required. An admin of the tracker can grant it.",
      )
      .waitFor();
    expect(await button(viewer, "Add gate").count()).toBe(0);
    expect(complaints).toEqual([]);
  });

  async function expectRefused(name: string, why: string): Promise<void> {
    const target = button(viewer, name);
    await until(`${name} is refused`, 10, () => target.isDisabled());
    expect(await target.getAttribute("title")).toContain(why);
  }

  test("and sees the tracker's error if the page cannot know that in advance", async () => {
    await viewer.goto(`${tracker.url}/tracker/runs/${run}`);
    await button(viewer, "Register").click();
    await viewer.getByRole("dialog").getByLabel("Registered model").fill("mine");
    await button(viewer, "Register as a new model").click();
    const alert = viewer.getByRole("dialog").getByRole("alert");
    expect(await alert.textContent()).toBe(
      "vera has the role viewer for the tracker; editor is required. An admin of the tracker can grant it.",
    );
    refused(403);
    await viewer.keyboard.press("Escape");
  });

  test("but may promote the granted model, and the webhook is called", async () => {
    await link(viewer, "assistant, version 1").click();
    await button(viewer, "Promote to Production").click();
    const dialog = viewer.getByRole("dialog");
    await dialog.getByText("This model has no gates").waitFor();
    await dialog.getByRole("button", { name: "Promote" }).click();
    await button(viewer, "In Production").waitFor();
    await until("the webhook is told", 10, () => deliveries.length === 2);
    expect(deliveries[1]?.body.data).toMatchObject({ name: "assistant", version: "1", from: "None", to: "Production" });
  });

  test("a trace is inspected span by span", async () => {
    const begin = BigInt(Date.now()) * 1_000_000n;
    const at = (seconds: number) => String(begin + (BigInt(Math.round(1000 * seconds)) * SECOND) / 1000n);
    const text = (key: string, stringValue: string) => ({ key, value: { stringValue } });
    const span = (
      spanId: string,
      parentSpanId: string,
      name: string,
      from: number,
      to: number,
      attributes: object[],
    ) => ({
      traceId: "0af7651916cd43dd8448eb211c80319c",
      spanId,
      ...(parentSpanId ? { parentSpanId } : {}),
      name,
      kind: 1,
      startTimeUnixNano: at(from),
      endTimeUnixNano: at(to),
      attributes,
    });
    const question = "How do I write a file?";
    const answer = "With fs.writeFile(path, text).";
    const spans = [
      span("00f067aa0ba902b0", "", "answer question", 0, 2.1, [
        text("mlflow.spanInputs", JSON.stringify({ question })),
        text("mlflow.spanOutputs", answer),
      ]),
      span("00f067aa0ba902b1", "00f067aa0ba902b0", "retrieve", 0.02, 0.46, [
        text("mlflow.spanOutputs", JSON.stringify(["fs.writeFile", "fs.createWriteStream"])),
      ]),
      span("00f067aa0ba902b2", "00f067aa0ba902b1", "embed query", 0.03, 0.14, []),
      span("00f067aa0ba902b3", "00f067aa0ba902b1", "search index", 0.15, 0.45, []),
      span("00f067aa0ba902b4", "00f067aa0ba902b0", "generate", 0.48, 2.06, [
        text("mlflow.spanInputs", JSON.stringify({ prompt: `Answer: ${question}` })),
        text("mlflow.spanOutputs", answer),
        text("gen_ai.request.model", "assistant"),
        { key: "gen_ai.usage.output_tokens", value: { intValue: "12" } },
      ]),
    ];
    await link(owner, "Traces").click();
    await owner.getByText("No traces yet").waitFor();
    await tracker.ask("POST", "/v1/traces", { resourceSpans: [{ scopeSpans: [{ spans }] }] });
    await link(owner, "answer question").click();
    await owner.getByRole("heading", { name: "answer question" }).first().waitFor();
    await owner.getByRole("heading", { name: "Steps, 5" }).waitFor();
    await owner.getByRole("button", { name: /^generate/ }).click();
    await owner.getByRole("heading", { name: "generate" }).waitFor();
    await owner.getByText("gen_ai.usage.output_tokens").waitFor();
    await owner.getByText(`Answer: ${question}`).waitFor();
    await picture(owner, "tracker-trace", 560);
  });

  test("the audit log shows actions, users and refusals", async () => {
    await link(owner, "Settings").click();
    await tab(owner, "Activity").click();
    await owner.getByRole("row", { name: /vera POST registered-models\/create name=mine refused, 403/ }).waitFor();
    await owner.getByRole("row", { name: /vera POST model-versions\/promote name=assistant/ }).waitFor();
    await owner.getByRole("row", { name: /POST users name=vera role=viewer/ }).waitFor();
    await owner.getByLabel("Target").fill("name=summaries");
    await owner.getByText("vera").first().waitFor({ state: "hidden" });
    await owner.getByRole("row", { name: /POST registered-models\/create name=summaries/ }).waitFor();
    const log = await owner.locator("main").textContent();
    expect(log).not.toContain(token);
    await owner.getByLabel("Target").fill("");
    await owner.getByText("vera").first().waitFor();
    expect(await owner.locator("main").textContent()).not.toContain("runs/table");
  });

  test("and the viewer signs out", async () => {
    await button(viewer, "Signed in as vera").click();
    await viewer.getByRole("menuitem", { name: "Sign out" }).click();
    await viewer.getByLabel("Token").waitFor();
    refused(401);
  });

  test("and no page has thrown, logged an error or received a server error", () => {
    expect(complaints).toEqual([]);
    expect(tracker.command.stderr.split("\n").filter((line) => /Error|^ {4}at /.test(line))).toEqual([]);
  });
});
