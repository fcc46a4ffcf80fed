/** Hooks of Node's module loader, in a thread of their own: TypeScript files load as what they mean. */
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { isTypeScript, withVersion } from "./files.ts";
import { transformFile } from "./typescript.ts";

interface Resolved {
  url: string;
  format?: string | null;
  shortCircuit?: boolean;
}

interface Loaded {
  format: string;
  source: string;
  shortCircuit?: boolean;
}

/** Gives a TypeScript file that another one imports its version, as the cell's own imports have it. */
export async function resolve(
  specifier: string,
  context: { parentURL?: string },
  next: (specifier: string, context: object) => Promise<Resolved>,
): Promise<Resolved> {
  const resolved = await next(specifier, context);
  if (!isTypeScript(resolved.url) || resolved.url.includes("?")) return resolved;
  return { ...resolved, url: withVersion(resolved.url), format: "module" };
}

/** Reads and strips a TypeScript file. */
export async function load(
  url: string,
  context: object,
  next: (url: string, context: object) => Promise<Loaded>,
): Promise<Loaded> {
  if (!isTypeScript(url)) return next(url, context);
  const path = fileURLToPath(url.replace(/\?.*$/, ""));
  const { code } = transformFile(readFileSync(path, "utf8"), path);
  return { format: "module", source: code, shortCircuit: true };
}
