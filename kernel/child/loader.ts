/** Module customization hooks, which Node.js runs on a separate thread: they load TypeScript, JSON and text files. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import type { ChildSettings } from "../host/protocol.ts";
import type { EmitOptions } from "../transform/lower.ts";
import { isTypeScript, withVersion } from "./files.ts";
import { pathMapper } from "./paths.ts";
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

interface LoaderSettings {
  emit: EmitOptions;
  resolveAlias: (specifier: string) => string | undefined;
  /** Parent URL for `anneal` if the importing file's folders do not have it. */
  packageUrl: string;
}

let settings: LoaderSettings = { emit: {}, resolveAlias: () => undefined, packageUrl: import.meta.url };

/** The `initialize` hook: stores the settings. */
export function initialize({ folder, paths, emit, packageRoot }: ChildSettings): void {
  settings = {
    emit,
    resolveAlias: pathMapper(folder, paths),
    packageUrl: pathToFileURL(join(packageRoot, "package.json")).href,
  };
}

/** The `resolve` hook: applies aliases and adds versions to the URLs of TypeScript files. */
export async function resolve(
  specifier: string,
  context: { parentURL?: string },
  next: (specifier: string, context: object) => Promise<Resolved>,
): Promise<Resolved> {
  const inProject = context.parentURL !== undefined && isTypeScript(context.parentURL);
  const target = (inProject ? settings.resolveAlias(specifier) : undefined) ?? specifier;
  const resolved = await next(target, context).catch((error: unknown) => {
    if (!/^anneal(\/|$)/.test(target)) throw error;
    return next(target, { ...context, parentURL: settings.packageUrl });
  });
  if (!isTypeScript(resolved.url) || resolved.url.includes("?")) return resolved;
  return { ...resolved, url: withVersion(resolved.url), format: "module" };
}

/** The `load` hook: transforms TypeScript files, and turns imported JSON and text into modules. */
export async function load(
  url: string,
  context: { importAttributes?: Record<string, string> },
  next: (url: string, context: object) => Promise<Loaded>,
): Promise<Loaded> {
  const path = () => fileURLToPath(url.replace(/\?.*$/, ""));
  if (url.startsWith("file:") && context.importAttributes?.type === "text") {
    const source = `export default ${JSON.stringify(readFileSync(path(), "utf8"))}`;
    return { format: "module", source, shortCircuit: true };
  }
  if (/^file:.*\.json(\?|$)/.test(url) && context.importAttributes?.type === undefined) {
    const source = `export default ${readFileSync(path(), "utf8").trim()}`;
    return { format: "module", source, shortCircuit: true };
  }
  if (!isTypeScript(url)) return next(url, context);
  const { code } = transformFile(readFileSync(path(), "utf8"), path(), settings.emit);
  return { format: "module", source: code, shortCircuit: true };
}
