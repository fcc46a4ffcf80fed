import { existsSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

/** The project's root folder, found from wherever this file was compiled to. */
export const root = (() => {
  let folder = dirname(fileURLToPath(import.meta.url));
  while (!existsSync(join(folder, "package.json"))) folder = dirname(folder);
  return folder;
})();

const folder = process.env.REFERENCE_DIR ?? join(root, "tests/reference");

/** A path inside the folder of reference numbers, or of the set that REFERENCE_DIR names. */
export const referencePath = (path: string) => join(folder, path);

/** A JSON file of reference numbers. Its shape is the file's own: tests read it as they need it. */
export function referenceJson<T>(path: string): T {
  return JSON.parse(readFileSync(referencePath(path), "utf8")) as T;
}
