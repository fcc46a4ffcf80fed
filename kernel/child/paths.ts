/** Aliases such as `@/utils` from `paths` of a tsconfig.json. */
import { statSync } from "node:fs";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";

/** Returns a function that resolves an alias to the URL of a file, or to undefined if the specifier is no alias. */
export function pathMapper(
  folder: string,
  paths: Readonly<Record<string, readonly string[]>>,
): (specifier: string) => string | undefined {
  // The longest pattern first, as in the compiler.
  const patterns = Object.entries(paths).sort(([a], [b]) => b.length - a.length);
  return (specifier) => {
    for (const [pattern, targets] of patterns) {
      const [prefix = "", suffix] = pattern.split("*");
      const matches =
        suffix === undefined
          ? specifier === pattern
          : specifier.length >= prefix.length + suffix.length &&
            specifier.startsWith(prefix) &&
            specifier.endsWith(suffix);
      if (!matches) continue;
      const wildcard = suffix === undefined ? "" : specifier.slice(prefix.length, specifier.length - suffix.length);
      for (const target of targets) {
        const file = findFile(
          resolve(
            folder,
            target.replace("*", () => wildcard),
          ),
        );
        if (file !== undefined) return pathToFileURL(file).href;
      }
    }
    return undefined;
  };
}

/** Finds the file for a path, which may lack its extension or be a folder with an index file. */
function findFile(path: string): string | undefined {
  const extensions = ["", ".ts", ".mts", ".tsx", ".js", ".mjs", ".json"];
  const candidates = [
    ...extensions.map((extension) => path + extension),
    ...extensions.slice(1).map((extension) => join(path, `index${extension}`)),
  ];
  return candidates.find((each) => statSync(each, { throwIfNoEntry: false })?.isFile());
}
