import { existsSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

/** The project's root folder. */
export const root = (() => {
  let folder = dirname(fileURLToPath(import.meta.url));
  while (!existsSync(join(folder, "package.json"))) folder = dirname(folder);
  return folder;
})();

const folder = process.env.REFERENCE_DIR ?? join(root, "tests/reference");

/** A path in the folder of reference numbers, which REFERENCE_DIR overrides. */
export const referencePath = (path: string) => join(folder, path);

/** Reads a JSON file of reference numbers. Its type depends on the file. */
export function referenceJson<T>(path: string): T {
  return JSON.parse(readFileSync(referencePath(path), "utf8")) as T;
}
