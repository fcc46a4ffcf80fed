/** How cells import: from the notebook's folder, with TypeScript files, and with `anneal` always at hand. */
import { statSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { createRequire, register } from "node:module";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import type { ChildSettings } from "../host/protocol.ts";
import { isInstallable, packageName } from "../language/packages.ts";
import { namespaceOf } from "./commonjs.ts";
import { isTypeScript, withVersion } from "./files.ts";
import { pathMapper } from "./paths.ts";
import { scope } from "./scope.ts";
import { setFileTransform } from "./stacks.ts";

/** Import, as the code of cells reaches it. */
export interface Modules {
  import(specifier: unknown, options?: ImportCallOptions): Promise<Record<string, unknown>>;
  /** `import { a as b } from "m"`: binds names of a module to names of the scope, and keeps them live. */
  bind(specifier: string, bindings: [imported: string, local: string][], options?: ImportCallOptions): Promise<void>;
  /** What `import.meta` is in a cell. */
  meta: { url: string; dirname: string; filename: string; resolve(specifier: string): string };
  require: NodeJS.Require;
}

/** The package that each error of a missing one is about. */
export const missingPackages = new WeakMap<object, string>();

let loaderReady = false;

/** Lets Node load TypeScript files. It starts a thread of its own, so it waits for the first such file. */
async function readyLoader(settings: ChildSettings): Promise<void> {
  if (loaderReady) return;
  loaderReady = true;
  register("./loader.js", import.meta.url, { data: settings });
  const { transformFile } = await import("./typescript.ts");
  setFileTransform((source, path) => transformFile(source, path, settings.emit));
}

/** Makes import for cells of one notebook. */
export function modulesFor(settings: ChildSettings): Modules {
  const filename = settings.notebookPath ?? join(settings.folder, "cell.ts");
  const url = pathToFileURL(filename).href;

  const require = createRequire(url);
  const mapped = pathMapper(settings.folder, settings.paths);

  function resolve(specifier: string): string {
    const alias = mapped(specifier);
    if (alias !== undefined) return alias;
    try {
      return import.meta.resolve(specifier, url);
    } catch (error) {
      if (!isMissing(error)) throw error;
      if (specifier === "tslab") return new URL("./tslab.js", import.meta.url).href;
      if (specifier === "anneal" || specifier.startsWith("anneal/")) {
        return import.meta.resolve(specifier, pathToFileURL(join(settings.packageRoot, "package.json")).href);
      }
      throw missing(specifier, settings.folder, error);
    }
  }

  async function load(given: unknown, options?: ImportCallOptions): Promise<Record<string, unknown>> {
    const specifier = String(given);
    let resolved = resolve(specifier);
    if (options?.with?.type === "text") return { default: await readFile(fileURLToPath(resolved), "utf8") };
    if (isTypeScript(resolved)) {
      await readyLoader(settings);
      resolved = withVersion(resolved);
    } else if (resolved.startsWith("file:") && new URL(resolved).pathname.endsWith(".json")) {
      const found = await import(withVersion(resolved), { with: { type: "json" } });
      return namespaceOf(found, found.default);
    }
    try {
      const found = options ? await import(resolved, options) : await import(resolved);
      const loaded = resolved.startsWith("file:") ? require.cache[fileURLToPath(resolved)] : undefined;
      return loaded && loaded.exports === found.default ? namespaceOf(found, loaded.exports) : found;
    } catch (error) {
      if (isMissing(error) && resolved.startsWith("file:") && !exists(resolved)) {
        throw missing(specifier, settings.folder, error);
      }
      throw error;
    }
  }

  return {
    import: load,
    async bind(specifier, bindings, options) {
      const module = await load(specifier, options);
      for (const [imported, local] of bindings) {
        Object.defineProperty(scope, local, {
          ...(imported === "*" ? { value: module, writable: false } : { get: getter(module, imported, specifier) }),
          enumerable: true,
          configurable: true,
        });
      }
    },
    meta: { url, dirname: settings.folder, filename, resolve },
    require,
  };
}

// A name that the module lacks may be a type, imported without saying so; only its use as a value is a mistake.
function getter(module: Record<string, unknown>, name: string, specifier: string): () => unknown {
  if (name in module) return () => module[name];
  return () => {
    throw new SyntaxError(`The requested module '${specifier}' does not provide an export named '${name}'`);
  };
}

function exists(url: string): boolean {
  return statSync(fileURLToPath(url), { throwIfNoEntry: false }) !== undefined;
}

function isMissing(error: unknown): boolean {
  return error instanceof Error && (error as NodeJS.ErrnoException).code === "ERR_MODULE_NOT_FOUND";
}

function missing(specifier: string, folder: string, cause: unknown): Error {
  const isFile = /^(\.|\/|file:)/.test(specifier);
  const name = packageName(specifier);
  const error = new Error(
    isFile
      ? `cannot import "${specifier}": there is no such file, seen from ${folder}`
      : `cannot import "${specifier}": the package ${name} is not installed in ${folder} or above it. Try: %npm install ${name}`,
  );
  if (!isFile && isInstallable(name)) missingPackages.set(error, name);
  return Object.assign(error, { code: (cause as NodeJS.ErrnoException).code ?? "ERR_MODULE_NOT_FOUND" });
}
