// Installs missing packages and builds outdated targets, with a line of progress for each. Plain JavaScript without
// packages, because it runs before they are installed.
import { execFileSync, spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

export const root = join(dirname(fileURLToPath(import.meta.url)), "..");

const path = (...parts) => join(root, ...parts);

/** The build targets, with their sources and commands. */
const targets = [
  {
    name: "the library, kernel and servers",
    sources: ["src", "kernel", "tracker", "server", "tests", "bench", "tsconfig.json"],
    skip: ["tracker/ui", "server/lab", "tests/reference"],
    command: ["node_modules/typescript/bin/tsc"],
    made: "dist/server/cli/main.js",
  },
  {
    name: "the kernel's bundle",
    sources: ["src", "kernel", "scripts/bundle-kernel.js"],
    command: ["scripts/bundle-kernel.js"],
    made: "dist/kernel/bundle/host/main.js",
  },
  {
    name: "JupyterLab",
    forBrowsers: true,
    sources: ["server/lab"],
    command: ["server/lab/build.js"],
    made: "dist/server/lab/build.json",
  },
  {
    name: "the tracker's pages",
    forBrowsers: true,
    sources: ["tracker/ui"],
    command: ["node_modules/vite/bin/vite.js", "build", "tracker/ui", "--logLevel", "warn"],
    made: "dist/tracker/ui/index.html",
  },
];

/** Installs the packages in package-lock.json, unless they are installed. */
export function install() {
  // The versions that the build's packages require.
  const [major, minor] = process.versions.node.split(".").map(Number);
  if (major < 20 || major === 21 || (major === 20 && minor < 19) || (major === 22 && minor < 12)) {
    fail(`Anneal needs Node.js 20.19 or newer, or 22.12 or newer; this is ${process.version}.`);
  }
  if (isInstalled()) return;
  step("Installing packages (once, about a minute)", () => {
    // Install scripts are disabled, because all native packages contain prebuilt binaries.
    run("npm", ["ci", "--no-fund", "--no-audit", "--loglevel=error"]);
  });
  fetchCudaProvider();
}

/** Whether npm's record of installed packages matches the lockfile. */
function isInstalled() {
  const note = path("node_modules/.package-lock.json");
  if (!existsSync(note)) return false;
  const [locked, installed] = [path("package-lock.json"), note].map(
    (file) => JSON.parse(readFileSync(file, "utf8")).packages,
  );
  return Object.entries(locked).every(([name, { version, optional }]) => {
    const found = installed[name];
    return name === "" || (found ? found.version === version : optional);
  });
}

/** Downloads ONNX Runtime's CUDA provider on machines with an NVIDIA GPU. Without it, everything runs on the CPU. */
function fetchCudaProvider() {
  const card = spawnSync("nvidia-smi", ["-L"], { encoding: "utf8", timeout: 5000 });
  if (process.platform !== "linux" || card.status !== 0) return;
  step("Fetching ONNX Runtime's CUDA provider for the NVIDIA card", () => {
    const script = path("node_modules/onnxruntime-node/script/install.js");
    const result = spawnSync(process.execPath, [script, "--onnxruntime-node-install=cuda12"], {
      cwd: path("node_modules/onnxruntime-node"),
      encoding: "utf8",
      timeout: 600_000,
    });
    if (result.status !== 0) process.stdout.write(" (not reached: going on without it)");
  });
}

/** Builds each target whose sources have changed. `pages: false` skips targets for the browser. */
export function build({ force = false, pages = true } = {}) {
  for (const { name, sources, skip = [], command, made, forBrowsers = false } of targets) {
    if (forBrowsers && !pages) continue;
    const digest = hashFiles(sources, skip);
    const stamp = path("dist", `.built-${command[0].split("/").at(-1)}-${sources[0].replaceAll("/", "-")}`);
    const fresh = existsSync(path(made)) && existsSync(stamp) && readFileSync(stamp, "utf8") === digest;
    if (fresh && !force) continue;
    step(`Building ${name}`, () => run(process.execPath, command));
    if (made === targets[0].made) removeStale("dist");
    mkdirSync(dirname(stamp), { recursive: true });
    writeFileSync(stamp, digest);
  }
}

/** Deletes what tsc compiled from sources that are gone: a test among it would still run. */
function removeStale(folder) {
  for (const entry of readdirSync(path(folder), { withFileTypes: true })) {
    const name = `${folder}/${entry.name}`;
    if (["dist/server/lab", "dist/tracker/ui", "dist/kernel/bundle"].includes(name)) continue;
    if (entry.isDirectory()) removeStale(name);
    const compiled = /^dist\/(.+?)(\.d\.ts|\.js)(\.map)?$/.exec(name);
    if (compiled && ![".ts", ".tsx"].some((end) => existsSync(path(compiled[1] + end)))) rmSync(path(name));
  }
}

function step(title, work) {
  const start = Date.now();
  process.stdout.write(`  ${title} …`);
  work();
  process.stdout.write(` ${((Date.now() - start) / 1000).toFixed(1)} s\n`);
}

function run(command, args) {
  const windows = process.platform === "win32" && command === "npm";
  try {
    execFileSync(windows ? "npm.cmd" : command, args, { cwd: root, stdio: ["ignore", "pipe", "pipe"], shell: windows });
  } catch (error) {
    process.stdout.write("\n");
    fail(`${error.stdout ?? ""}${error.stderr ?? ""}\n${command} ${args.join(" ")} failed.`);
  }
}

export function fail(message) {
  process.stderr.write(`${message.trim()}\n`);
  process.exit(1);
}

/** SHA-256 over names, sizes and times, to detect changes without reading every file. */
function hashFiles(sources, skip = []) {
  const hash = createHash("sha256");
  const visit = (name) => {
    if (skip.includes(name) || name.endsWith("node_modules")) return;
    const facts = statSync(path(name), { throwIfNoEntry: false });
    if (!facts) return;
    if (facts.isDirectory()) for (const entry of readdirSync(path(name)).sort()) visit(`${name}/${entry}`);
    else hash.update(`${name} ${facts.size} ${facts.mtimeMs}\n`);
  };
  sources.forEach(visit);
  return hash.digest("hex");
}
