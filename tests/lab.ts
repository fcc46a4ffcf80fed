// A studio with JupyterLab in a real browser, for tests.
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Browser, BrowserContext, Locator, Page } from "playwright-core";
import { openBrowser, size, watchPage } from "./pages.ts";
import { Server, until } from "./support.ts";

/** A studio and a browser. */
export class Lab {
  readonly studio: Server;
  readonly folder: string;
  /** Errors on pages. */
  readonly complaints: string[] = [];
  readonly #browser: Browser;
  readonly #context: BrowserContext;

  private constructor(studio: Server, folder: string, browser: Browser, context: BrowserContext) {
    this.studio = studio;
    this.folder = folder;
    this.#browser = browser;
    this.#context = context;
    context.setDefaultTimeout(20_000);
    context.on("page", (page) => watchPage(page, this.complaints));
  }

  static async start(folder: string, data: string): Promise<Lab> {
    mkdirSync(folder, { recursive: true });
    const studio = await Server.start("start", data, ["--root", folder]);
    const browser = await openBrowser();
    return new Lab(studio, folder, browser, await browser.newContext({ viewport: size }));
  }

  close(): Promise<void> {
    return this.#browser.close();
  }

  /** Creates a notebook with cells and opens it in a workspace of the same name. */
  async open(name: string, cells: readonly string[]): Promise<LabNotebook> {
    const notebook = {
      cells: cells.map((source, index) => ({
        cell_type: "code",
        id: `cell-${index}`,
        metadata: {},
        execution_count: null,
        outputs: [],
        source,
      })),
      metadata: { kernelspec: { name: "anneal", display_name: "TypeScript (Anneal)", language: "typescript" } },
      nbformat: 4,
      nbformat_minor: 5,
    };
    writeFileSync(join(this.folder, `${name}.ipynb`), JSON.stringify(notebook));
    return this.visit(name);
  }

  /** Opens an existing notebook. */
  async visit(name: string, workspace = name): Promise<LabNotebook> {
    const page = await this.#context.newPage();
    await page.goto(`${this.studio.url}/lab/workspaces/${workspace}/tree/${name}.ipynb?token=${this.studio.token}`);
    const notebook = new LabNotebook(page);
    await notebook.idle();
    return notebook;
  }
}

/** A notebook in its own page. */
export class LabNotebook {
  readonly page: Page;

  constructor(page: Page) {
    this.page = page;
  }

  /** Waits until the page shows that the kernel is idle. */
  async idle(): Promise<void> {
    await this.page.locator(".jp-StatusBar-Widget", { hasText: "TypeScript (Anneal) | Idle" }).waitFor();
  }

  cell(index: number): Locator {
    return this.page.locator(".jp-NotebookPanel:visible .jp-CodeCell").nth(index);
  }

  output(index: number): Locator {
    return this.cell(index).locator(".jp-OutputArea-output").last();
  }

  async text(index: number): Promise<string> {
    return (await this.cell(index).locator(".jp-OutputArea").first().textContent()) ?? "";
  }

  /** Runs a cell and waits until it is done. */
  async run(index: number): Promise<void> {
    await this.start(index);
    await this.done(index);
  }

  async start(index: number): Promise<void> {
    await this.cell(index).locator(".jp-InputArea-prompt").first().click();
    await this.page.keyboard.press("Control+Enter");
  }

  async done(index: number): Promise<void> {
    const prompt = () => this.cell(index).locator(".jp-InputArea-prompt").first().textContent();
    await until(`cell ${index} is done`, 30, async () => /^\[\d+\]:$/.test((await prompt()) ?? ""));
  }
}
