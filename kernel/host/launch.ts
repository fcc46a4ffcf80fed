/** Starts the kernel's subprocesses: the one that runs cells and the TypeScript compiler. */
import { randomUUID } from "node:crypto";
import { existsSync } from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { folderOptions } from "../language/compiler.ts";
import { CompilerSession } from "../language/session.ts";
import type { EmitOptions } from "../transform/lower.ts";
import type { ChildSettings } from "./protocol.ts";
import { Runtime } from "./runtime.ts";

/** The started subprocesses and their settings. */
export interface Launched {
  settings: ChildSettings;
  runtime: Runtime;
  session: CompilerSession;
  /** Why the folder's tsconfig.json is ignored; undefined if it is not. */
  problem: string | undefined;
}

/**
 * Starts both subprocesses. Called before the rest of the kernel is imported, so that all load at the same time. The first
 * cell waits for them.
 */
export async function launch(): Promise<Launched> {
  const { folder, notebookPath } = notebookFolder();
  const { options, problem } = await optionsOf(folder);
  const { experimentalDecorators, emitDecoratorMetadata, useDefineForClassFields } = options as EmitOptions;
  const settings: ChildSettings = {
    folder,
    notebookPath,
    sessionId: randomUUID(),
    packageRoot: packageRoot(),
    emit: { experimentalDecorators, emitDecoratorMetadata, useDefineForClassFields },
    paths: (options.paths ?? {}) as Record<string, string[]>,
  };
  // The compiler starts first, because it takes longest. The first check reports a failure.
  const session = new CompilerSession(folder, settings.packageRoot, options);
  session.start().catch(() => {});
  const runtime = new Runtime(settings);
  return { settings, runtime, session, problem };
}

/** The root of the package that this file belongs to. */
export function packageRoot(): string {
  let folder = dirname(fileURLToPath(import.meta.url));
  while (!existsSync(join(folder, "package.json"))) {
    const parent = dirname(folder);
    if (parent === folder) throw new Error(`no package.json in any folder above ${fileURLToPath(import.meta.url)}`);
    folder = parent;
  }
  return folder;
}

/** The folder that cells run in: the notebook's if the server sent its path, else the kernel's working directory. */
function notebookFolder(): Pick<ChildSettings, "folder" | "notebookPath"> {
  const name = process.env.JPY_SESSION_NAME;
  const path = name ? resolve(name) : undefined;
  const isNotebook = path !== undefined && existsSync(dirname(path)) && basename(path).includes(".");
  return isNotebook
    ? { folder: dirname(path), notebookPath: path }
    : { folder: process.cwd(), notebookPath: undefined };
}

/** The compiler options of the tsconfig.json in the notebook's folder. */
async function optionsOf(folder: string): Promise<{ options: Record<string, unknown>; problem: string | undefined }> {
  try {
    return { options: (await folderOptions(folder)) ?? {}, problem: undefined };
  } catch (error) {
    return { options: {}, problem: error instanceof Error ? error.message : String(error) };
  }
}
