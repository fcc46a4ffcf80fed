/** Hooks of Node's module loader, in a thread of their own: TypeScript files load as what they mean. */
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
  mapped: (specifier: string) => string | undefined;
  /** Where `anneal` is found when it is not installed nearer. */
  packageUrl: string;
}

let settings: LoaderSettings = { emit: {}, mapped: () => undefined, packageUrl: import.meta.url };

/** Takes what the notebook's folder asks for, before anything is loaded. */
export function initialize({ folder, paths, emit, packageRoot }: ChildSettings): void {
  settings = {
    emit,
    mapped: pathMapper(folder, paths),
    packageUrl: pathToFileURL(join(packageRoot, "package.json")).href,
  };
}

/** Gives a TypeScript file that another one imports its version, as the cell's own imports have it. */
export async function resolve(
  specifier: string,
  context: { parentURL?: string },
  next: (specifier: string, context: object) => Promise<Resolved>,
): Promise<Resolved> {
  const inProject = context.parentURL !== undefined && isTypeScript(context.parentURL);
  const wanted = (inProject ? settings.mapped(specifier) : undefined) ?? specifier;
  const resolved = await next(wanted, context).catch((error: unknown) => {
    if (!/^anneal(\/|$)/.test(wanted)) throw error;
    return next(wanted, { ...context, parentURL: settings.packageUrl });
  });
  if (!isTypeScript(resolved.url) || resolved.url.includes("?")) return resolved;
  return { ...resolved, url: withVersion(resolved.url), format: "module" };
}

/** Reads and strips a TypeScript file; JSON and text become modules where such a file imports them. */
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
