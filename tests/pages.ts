// Helpers for tests in a real browser.
import { existsSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import { type Browser, chromium, type Page } from "playwright-core";
import { root } from "./reference.ts";

export const size = { width: 1400, height: 900 };

const flags = [
  "--headless",
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];

/** Chromium: the system's, or the one that `CHROMIUM` names. */
export function openBrowser(): Promise<Browser> {
  return chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: flags });
}

/** Records exceptions, console errors and server errors of a page. */
export function watchPage(page: Page, complaints: string[]): void {
  page.on("pageerror", (error) => complaints.push(`${page.url()}: ${error.stack}`));
  page.on("console", (line) => {
    if (line.type() === "error") complaints.push(`${page.url()}: ${line.text()}`);
  });
  page.on("response", (response) => {
    if (response.status() >= 400) complaints.push(`${response.status()} ${response.url()}`);
  });
}

/** Takes a screenshot for the documentation if it is missing or in `npm run screenshots`, so that tests leave no changes. */
export async function picture(page: Page, name: string, height = size.height): Promise<void> {
  const path = join(root, "docs/images", `${name}.png`);
  if (process.env.UPDATE_SCREENSHOTS !== "1" && existsSync(path)) return;
  mkdirSync(join(root, "docs/images"), { recursive: true });
  await page.mouse.move(size.width - 1, size.height - 1);
  await page.screenshot({ path, animations: "disabled", clip: { x: 0, y: 0, width: size.width, height } });
}
