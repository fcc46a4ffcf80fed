// npm test: installs missing packages, builds outdated targets and runs the tests. Arguments are passed to vitest.
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { build, fail, install, root } from "./prepare.js";

install();
build();
const places = [
  process.env.CHROMIUM,
  "/usr/bin/chromium",
  "/usr/bin/chromium-browser",
  "/usr/bin/google-chrome",
  "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
];
const chromium = places.find((place) => place && existsSync(place));
if (!chromium) {
  fail("The browser tests need Chromium: `apt-get install chromium` (or set CHROMIUM to the path of one you have).");
}
const { status } = spawnSync(process.execPath, ["node_modules/vitest/vitest.mjs", "run", ...process.argv.slice(2)], {
  cwd: root,
  stdio: "inherit",
  env: { ...process.env, CHROMIUM: chromium },
});
process.exit(status ?? 1);
