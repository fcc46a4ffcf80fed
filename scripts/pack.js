// npm run pack: builds the package, `anneal-<version>.tgz`, in the current folder or in `--to=<folder>`.
//
// The package bundles ONNX Runtime (`bundleDependencies`) without its install script. On Linux that script downloads CUDA
// libraries, and the whole installation fails if its server cannot be reached.
// `--platform=linux/x64` includes only one platform's libraries, for tests and images.
import { spawnSync } from "node:child_process";
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { build, fail, install, root } from "./prepare.js";

const flag = (name) => process.argv.find((each) => each.startsWith(`--${name}=`))?.slice(name.length + 3);
const to = resolve(flag("to") ?? ".");
const platform = flag("platform");
const bundled = ["onnxruntime-node", "onnxruntime-common"];

install();
build();

const staging = mkdtempSync(join(tmpdir(), "anneal-pack-"));
try {
  const manifest = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
  for (const each of manifest.files.filter((name) => !name.startsWith("!"))) {
    cpSync(join(root, each), join(staging, each), { recursive: true });
  }
  for (const name of bundled) bundle(name);
  const { version } = readManifest("onnxruntime-common");
  const { scripts: _scripts, devDependencies: _development, overrides: _overrides, ...rest } = manifest;
  writeManifest("", {
    ...rest,
    dependencies: { ...rest.dependencies, "onnxruntime-common": version },
    bundleDependencies: bundled,
  });
  const packed = spawnSync("npm", ["pack", "--ignore-scripts", "--loglevel=error", "--pack-destination", to], {
    cwd: staging,
    encoding: "utf8",
    shell: process.platform === "win32",
  });
  if (packed.status !== 0) fail(`npm pack failed: ${packed.stderr}`);
  console.log(join(to, packed.stdout.trim()));
} finally {
  rmSync(staging, { recursive: true, force: true });
}

/** Copies a package without the files that only its install script needs. */
function bundle(name) {
  const from = join(root, "node_modules", name);
  const into = join(staging, "node_modules", name);
  const skipped = new Set(["script", "__commit.txt", "lib"].map((each) => join(from, each)));
  const libraries = join(from, "bin/napi-v6");
  cpSync(from, into, {
    recursive: true,
    filter: (path) => {
      if (name === "onnxruntime-node" && skipped.has(path)) return false;
      const [, os, arch] = path.startsWith(libraries) ? path.slice(libraries.length).split(/[\\/]/) : [];
      if (platform === undefined || os === undefined) return true;
      const [wantedOs, wantedArch] = platform.split("/");
      return os === wantedOs && (arch === undefined || arch === wantedArch);
    },
  });
  const { scripts: _scripts, devDependencies: _development, dependencies = {}, ...manifest } = readManifest(name);
  const kept = Object.entries(dependencies).filter(([each]) => bundled.includes(each));
  writeManifest(join("node_modules", name), { ...manifest, dependencies: Object.fromEntries(kept) });
  if (platform !== undefined && name === "onnxruntime-node" && readdirSync(join(into, "bin/napi-v6")).length === 0) {
    fail(`ONNX Runtime has no libraries for ${platform}.`);
  }
}

function readManifest(name) {
  return JSON.parse(readFileSync(join(root, "node_modules", name, "package.json"), "utf8"));
}

function writeManifest(folder, manifest) {
  writeFileSync(join(staging, folder, "package.json"), `${JSON.stringify(manifest, null, 2)}\n`);
}
