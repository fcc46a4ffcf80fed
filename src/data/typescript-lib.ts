import { readdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { DataError } from "./dataset.ts";

/**
 * TypeScript's own library declarations (`lib.*.d.ts`) as sample data that is on every machine with Anneal: name and
 * text of each file, sorted by name.
 */
export function typescriptLibFiles(): { name: string; text: string }[] {
  const require = createRequire(import.meta.url);
  // Since version 7 the files stand in the package of the platform, beside the compiler.
  const main = dirname(require.resolve("typescript/package.json"));
  const platform = `@typescript/typescript-${process.platform}-${process.arch}/package.json`;
  const folder = join(dirname(createRequire(join(main, "package.json")).resolve(platform)), "lib");
  const names = readdirSync(folder).filter((name) => /^lib\..*\.d\.ts$/.test(name));
  if (names.length === 0) throw new DataError(`There are no lib.*.d.ts files in ${folder}.`);
  return names.sort().map((name) => ({ name, text: readFileSync(join(folder, name), "utf8") }));
}
