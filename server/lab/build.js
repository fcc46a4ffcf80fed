// Bundles JupyterLab and collects its settings' schemas and its themes into dist/server/lab.
import { cpSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { rspack } from "@rspack/core";
import config from "./rspack.config.js";

const root = join(dirname(fileURLToPath(import.meta.url)), "../..");
const out = config.output.path;

const stats = await new Promise((resolve, reject) => {
  const compiler = rspack(config);
  compiler.run((error, result) => (error ? reject(error) : compiler.close(() => resolve(result))));
});
if (stats.hasErrors()) {
  console.error(stats.toString({ all: false, errors: true, errorDetails: true }));
  process.exit(1);
}

const modules = join(root, "node_modules");
const themes = [];
for (const name of ["@jupyter-widgets", "@jupyterlab"].flatMap((scope) =>
  readdirSync(join(modules, scope)).map((each) => `${scope}/${each}`),
)) {
  const folder = join(modules, name);
  const { jupyterlab, version } = JSON.parse(readFileSync(join(folder, "package.json"), "utf8"));
  if (!jupyterlab?.extension) continue;
  if (jupyterlab.schemaDir) {
    cpSync(join(folder, jupyterlab.schemaDir), join(out, "schemas", name), { recursive: true });
    writeFileSync(join(out, "schemas", name, "version.txt"), version);
  }
  if (jupyterlab.themePath) {
    const target = join(out, "themes", name);
    cpSync(join(folder, dirname(jupyterlab.themePath)), target, { recursive: true });
    // The front-end asks for index.css whatever the theme calls its own.
    cpSync(join(folder, jupyterlab.themePath), join(target, "index.css"));
    themes.push(name);
  }
}
mkdirSync(out, { recursive: true });
const main = readdirSync(out).find((name) => /^main\..*\.js$/.test(name));
const { version } = JSON.parse(readFileSync(join(modules, "@jupyterlab/application/package.json"), "utf8"));
writeFileSync(join(out, "build.json"), JSON.stringify({ main, version, themes }));
