// Installs the packed package with npm into an empty folder, with install scripts and a CUDA compiler in PATH, and runs a
// notebook there. Takes minutes and needs a registry: `npm run test:all`.
import { execFileSync } from "node:child_process";
import { chmodSync, cpSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { delimiter, join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { root } from "./reference.ts";
import { cleanUp, scratch } from "./support.ts";

const minutes = 60_000;

afterAll(cleanUp);

describe.runIf(process.env.ANNEAL_TEST_ALL === "1")("the packed package in an empty folder", () => {
  const folder = scratch("packed");
  const app = join(folder, "app");
  const tools = join(folder, "tools");

  test(
    "installs with the registry alone, also where nvcc is",
    () => {
      for (const each of [app, tools]) mkdirSync(each, { recursive: true });
      const platform = `${process.platform}/${process.arch}`;
      execFileSync(process.execPath, [join(root, "scripts/pack.js"), `--to=${folder}`, `--platform=${platform}`]);
      const [file] = readdirSync(folder).filter((name) => name.endsWith(".tgz"));
      // ONNX Runtime's install script looks for it before it downloads CUDA libraries.
      writeFileSync(join(tools, "nvcc"), '#!/bin/sh\necho "Cuda compilation tools, release 12.4, V12.4.131"\n');
      chmodSync(join(tools, "nvcc"), 0o755);
      writeFileSync(join(app, "package.json"), "{}");
      execFileSync("npm", ["install", "--no-audit", "--no-fund", "--foreground-scripts", join(folder, file)], {
        cwd: app,
        env: {
          ...process.env,
          PATH: `${tools}${delimiter}${process.env.PATH}`,
          npm_config_ignore_scripts: "false",
          npm_config_dangerously_allow_all_scripts: "true",
        },
      });
      const runtime = [app, join(app, "node_modules/anneal")].map((each) =>
        join(each, "node_modules/onnxruntime-node"),
      );
      const installed = runtime.filter(existsSync);
      expect(installed).toHaveLength(1);
      const manifest = JSON.parse(readFileSync(join(installed[0], "package.json"), "utf8")) as object;
      expect(manifest).not.toHaveProperty("scripts");
    },
    10 * minutes,
  );

  test(
    "runs a notebook there",
    () => {
      cpSync(join(app, "node_modules/anneal/notebooks/02-primitives.ipynb"), join(app, "primitives.ipynb"));
      const output = execFileSync("npx", ["anneal", "run", "primitives.ipynb"], { cwd: app, encoding: "utf8" });
      expect(output).toMatch(/Run \w+ {2}finished {2}plain network/);
      expect(existsSync(join(app, "primitives.executed.ipynb"))).toBe(true);
    },
    10 * minutes,
  );
});
