// npm run test:nodes: runs all tests on each supported release of Node.js. The first arguments can name releases
// (`npm run test:nodes -- 24 26`); the others are passed to vitest. Releases come from npm's registry.
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, dirname, join } from "node:path";
import { fail, install, root } from "./prepare.js";

const supported = ["20", "22", "24", "26"];
const given = process.argv.slice(2);
const count = given.findIndex((each) => !/^\d+$/.test(each));
const releases = count === 0 || given.length === 0 ? supported : given.slice(0, count < 0 ? undefined : count);
const rest = count < 0 ? [] : given.slice(count);

/** The path of a release's executable, which is downloaded if necessary. */
function fetchNode(major) {
  const name = `node-${process.platform === "win32" ? "win" : process.platform}-${process.arch}`;
  const folder = join(tmpdir(), "anneal-nodes", major);
  const program = join(folder, "node_modules", name, "bin", process.platform === "win32" ? "node.exe" : "node");
  if (existsSync(program)) return program;
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, "package.json"), "{}");
  const { status } = spawnSync("npm", ["install", "--no-audit", "--no-fund", `${name}@${major}`], {
    cwd: folder,
    stdio: "inherit",
    shell: process.platform === "win32",
  });
  if (status !== 0) fail(`Node.js ${major} could not be fetched (package ${name}).`);
  return program;
}

install();
const results = releases.map((major) => {
  const program = fetchNode(major);
  console.log(`\n== Node.js ${major} ==`);
  const { status } = spawnSync(program, [join(root, "scripts/test.js"), ...rest], {
    cwd: root,
    stdio: "inherit",
    env: { ...process.env, PATH: `${dirname(program)}${delimiter}${process.env.PATH}` },
  });
  return { major, passed: status === 0 };
});
console.log("");
for (const { major, passed } of results) console.log(`Node.js ${major}: ${passed ? "passed" : "failed"}`);
process.exit(results.every(({ passed }) => passed) ? 0 : 1);
