// npm run bench -- <name>: measure, print ratios, and end with one line of JSON.
import { existsSync, readdirSync } from "node:fs";
import { build, fail, install, root } from "./prepare.js";

install();
build();
const [name = "train", ...rest] = process.argv.slice(2);
const file = `${root}/dist/bench/${name}.js`;
if (!existsSync(file)) {
  const known = readdirSync(`${root}/dist/bench`).filter((f) => f.endsWith(".js"));
  fail(`There is no bench ${name}; there are ${known.map((f) => f.slice(0, -3)).join(", ")}.`);
}
process.argv = [process.argv[0], file, ...rest];
await import(file);
