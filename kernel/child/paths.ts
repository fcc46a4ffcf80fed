/** `paths` of a tsconfig.json: aliases such as `@/utils`. */
import { statSync } from "node:fs";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";

/** Returns what finds the file that an alias stands for, as a URL; undefined for what is no alias. */
export function pathMapper(
  folder: string,
  paths: Readonly<Record<string, readonly string[]>>,
): (specifier: string) => string | undefined {
  // The longest prefix first, as the compiler has it.
  const patterns = Object.entries(paths).sort(([a], [b]) => b.length - a.length);
  return (specifier) => {
    for (const [pattern, targets] of patterns) {
      const [before = "", after] = pattern.split("*");
      const fits =
        after === undefined
          ? specifier === pattern
          : specifier.length >= before.length + after.length &&
            specifier.startsWith(before) &&
            specifier.endsWith(after);
      if (!fits) continue;
      const star = after === undefined ? "" : specifier.slice(before.length, specifier.length - after.length);
      for (const target of targets) {
        const found = fileAt(
          resolve(
            folder,
            target.replace("*", () => star),
          ),
        );
        if (found !== undefined) return pathToFileURL(found).href;
      }
    }
    return undefined;
  };
}

/** The file that a path means, with the ending that the compiler would add. */
function fileAt(path: string): string | undefined {
  const endings = ["", ".ts", ".mts", ".tsx", ".js", ".mjs", ".json"];
  const candidates = [
    ...endings.map((ending) => path + ending),
    ...endings.slice(1).map((end) => join(path, `index${end}`)),
  ];
  return candidates.find((each) => statSync(each, { throwIfNoEntry: false })?.isFile());
}
