// npm run pack:gpu: creates dist/gpu-pack, a folder with everything that test:gpu needs on a Linux machine without Node.js,
// packages or a network. Copy it there and start ./run.sh.
import { execFileSync } from "node:child_process";
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { createRequire } from "node:module";
import { dirname, join, relative } from "node:path";
import { build, fail, install, root } from "./prepare.js";

const limit = 60e6;
const pack = join(root, "dist/gpu-pack");
const staged = join(pack, "anneal");

if (process.platform !== "linux" || process.arch !== "x64") {
  fail(
    `The pack is for Linux on x64, and takes Node.js from the machine that makes it; this is ${process.platform} on ${process.arch}.`,
  );
}
install();
build({ pages: false });

/** A package with its runtime dependencies. */
function withDependencies(name, from, found = new Map()) {
  const require = createRequire(join(from, "package.json"));
  const folder = findPackage(require, name);
  if (found.has(folder)) return found;
  const { dependencies = {} } = JSON.parse(readFileSync(join(folder, "package.json"), "utf8"));
  found.set(folder, name);
  // Packages that only download files during installation are not needed.
  const skipped = name === "onnxruntime-node" ? ["adm-zip", "global-agent"] : [];
  for (const next of Object.keys(dependencies)) if (!skipped.includes(next)) withDependencies(next, folder, found);
  return found;
}

function findPackage(require, name) {
  const places = require.resolve.paths(name) ?? [];
  const place = places.map((folder) => join(folder, name)).find((folder) => existsSync(join(folder, "package.json")));
  return place ?? fail(`The package ${name} is not installed.`);
}

/** The packages that a compiled file needs, including those of files that it imports or starts as threads. */
function packagesOf(entry, seen = new Set(), names = new Set()) {
  if (seen.has(entry)) return { seen, names };
  seen.add(entry);
  const source = readFileSync(entry, "utf8");
  for (const [, name] of source.matchAll(/^(?:import|export)\b(?:[^;"]*\bfrom)?\s*"([^"]+)"/gm)) {
    if (name.startsWith(".")) packagesOf(join(dirname(entry), name), seen, names);
    else if (!name.startsWith("node:"))
      names.add(
        name
          .split("/")
          .slice(0, name.startsWith("@") ? 2 : 1)
          .join("/"),
      );
  }
  for (const [, name] of source.matchAll(/new Worker\(new URL\("([^"]+)", import\.meta\.url\)/g)) {
    packagesOf(join(dirname(entry), name), seen, names);
  }
  return { seen, names };
}

rmSync(pack, { recursive: true, force: true });
mkdirSync(staged, { recursive: true });
const { seen: files, names } = packagesOf(join(root, "dist/bench/gpu.js"));
for (const file of files) cpSync(file, join(staged, relative(root, file)));
cpSync(join(root, "bench/peers"), join(staged, "bench/peers"), { recursive: true });
cpSync(join(root, "package.json"), join(staged, "package.json"));
const packages = new Map();
for (const name of names) withDependencies(name, root, packages);
const unwanted =
  /(\.map|\.d\.ts|\.d\.mts|\.d\.cts|\.md|\.ts)$|\/(bin\/napi-v6\/(darwin|win32|linux\/arm64)|lib\/esm|test|tests|docs|script|cli)(\/|$)/;
for (const folder of packages.keys()) {
  cpSync(folder, join(staged, relative(root, folder)), {
    recursive: true,
    filter: (path) => !unwanted.test(path.slice(folder.length)) && !path.slice(folder.length).includes("/node_modules"),
  });
}

const loader = [
  process.env.VULKAN_LOADER,
  "/usr/lib/x86_64-linux-gnu/libvulkan.so.1",
  "/usr/lib/chromium/libvulkan.so.1",
].find((path) => path && existsSync(path));
if (!loader)
  fail("There is no libvulkan.so.1 to pack: apt-get install libvulkan1 (or chromium), or set VULKAN_LOADER.");
mkdirSync(join(staged, "lib"));
cpSync(realpathSync(loader), join(staged, "lib/libvulkan.so.1"));
mkdirSync(join(staged, "bin"));
cpSync(realpathSync(process.execPath), join(staged, "bin/node"));

process.stdout.write("  Compressing (a minute) …\n");
execFileSync("tar", ["-cf", join(pack, "anneal.tar"), "-C", pack, "anneal"]);
execFileSync("xz", ["-T0", "-6", join(pack, "anneal.tar")]);
rmSync(staged, { recursive: true });
cpSync(join(root, "scripts/run-gpu.sh"), join(pack, "run.sh"));
chmodSync(join(pack, "run.sh"), 0o755);
const size = readdirSync(pack).reduce((sum, file) => sum + statSync(join(pack, file)).size, 0);
if (size > limit) fail(`The pack has ${(size / 1e6).toFixed(1)} MB, more than ${limit / 1e6}.`);
writeFileSync(join(pack, "README.txt"), "Copy this folder to a Linux machine with a GPU and start ./run.sh there.\n");
process.stdout.write(
  `  dist/gpu-pack: ${(size / 1e6).toFixed(1)} MB, ${packages.size} packages; ./run.sh in it checks and measures\n`,
);
