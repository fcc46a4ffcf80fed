/** Imports in cells: resolved from the notebook's folder, with support for TypeScript files. `anneal` always resolves. */
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

/** The import functions that transformed cells call. */
export interface Modules {
  import(specifier: unknown, options?: ImportCallOptions): Promise<Record<string, unknown>>;
  /** `import { a as b } from "m"`: defines live bindings in the scope. */
  bind(specifier: string, bindings: [imported: string, local: string][], options?: ImportCallOptions): Promise<void>;
  /** The value of `import.meta` in a cell. */
  meta: { url: string; dirname: string; filename: string; resolve(specifier: string): string };
  require: NodeJS.Require;
}

/** The missing package, for each error about one. */
export const missingPackages = new WeakMap<object, string>();

let isLoaderRegistered = false;

/** Registers the loader hooks. Called for the first TypeScript file, because the hooks start a thread. */
async function registerLoader(settings: ChildSettings): Promise<void> {
  if (isLoaderRegistered) return;
  isLoaderRegistered = true;
  register("./loader.js", import.meta.url, { data: settings });
  const { transformFile } = await import("./typescript.ts");
  setFileTransform((source, path) => transformFile(source, path, settings.emit));
}

/** Creates the import functions of a notebook. */
export function modulesFor(settings: ChildSettings): Modules {
  const filename = settings.notebookPath ?? join(settings.folder, "cell.ts");
  const url = pathToFileURL(filename).href;

  const require = createRequire(url);
  const resolveAlias = pathMapper(settings.folder, settings.paths);

  function resolve(specifier: string): string {
    const alias = resolveAlias(specifier);
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

  async function load(target: unknown, options?: ImportCallOptions): Promise<Record<string, unknown>> {
    const specifier = String(target);
    let resolved = resolve(specifier);
    if (options?.with?.type === "text") return { default: await readFile(fileURLToPath(resolved), "utf8") };
    if (isTypeScript(resolved)) {
      await registerLoader(settings);
      resolved = withVersion(resolved);
    } else if (resolved.startsWith("file:") && new URL(resolved).pathname.endsWith(".json")) {
      const namespace = await import(withVersion(resolved), { with: { type: "json" } });
      return namespaceOf(namespace, namespace.default);
    }
    try {
      const namespace = options ? await import(resolved, options) : await import(resolved);
      const commonJs = resolved.startsWith("file:") ? require.cache[fileURLToPath(resolved)] : undefined;
      return commonJs && commonJs.exports === namespace.default ? namespaceOf(namespace, commonJs.exports) : namespace;
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

// A missing export may be a type that was imported without `type`, so only its use as a value throws.
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
      ? `cannot import "${specifier}": the file does not exist (relative to ${folder})`
      : `cannot import "${specifier}": the package ${name} is not installed in ${folder} or above it. Try: %npm install ${name}`,
  );
  if (!isFile && isInstallable(name)) missingPackages.set(error, name);
  return Object.assign(error, { code: (cause as NodeJS.ErrnoException).code ?? "ERR_MODULE_NOT_FOUND" });
}
