import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { root } from "./reference.ts";

interface LockEntry {
  version?: string;
  optionalDependencies?: Record<string, string>;
}

// npm omits packages from the lockfile that the current registry lacks, and then never installs them on any machine.
test("the lockfile contains the binary packages of all platforms", () => {
  const { packages } = JSON.parse(readFileSync(join(root, "package-lock.json"), "utf8")) as {
    packages: Record<string, LockEntry>;
  };
  const locked = new Set(Object.keys(packages).map((path) => path.slice(path.lastIndexOf("node_modules/"))));
  const missing = Object.entries(packages).flatMap(([path, { optionalDependencies = {} }]) =>
    Object.keys(optionalDependencies)
      .filter((name) => !locked.has(`node_modules/${name}`))
      .map((name) => `${name} of ${path}`),
  );
  expect(missing).toEqual([]);
});
