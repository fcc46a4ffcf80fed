import { readdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { DataError } from "./dataset.ts";

/**
 * Returns TypeScript's library declarations (`lib.*.d.ts`) as sample data that is part of every Anneal installation: name
 * and text of each file, sorted by name.
 */
export function typescriptLibFiles(): { name: string; text: string }[] {
  const require = createRequire(import.meta.url);
  // Since version 7, the files are in the platform's package.
  const main = dirname(require.resolve("typescript/package.json"));
  const platform = `@typescript/typescript-${process.platform}-${process.arch}/package.json`;
  const folder = join(dirname(createRequire(join(main, "package.json")).resolve(platform)), "lib");
  const names = readdirSync(folder).filter((name) => /^lib\..*\.d\.ts$/.test(name));
  if (names.length === 0) throw new DataError(`There are no lib.*.d.ts files in ${folder}.`);
  return names.sort().map((name) => ({ name, text: readFileSync(join(folder, name), "utf8") }));
}
