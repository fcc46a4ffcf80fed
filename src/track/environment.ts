import { execFile } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { cpus, totalmem } from "node:os";
import { basename, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { notebook } from "../display/notebook.ts";

const run = promisify(execFile);

/** The environment of a run, for setting up the same one again, and for explaining differences. */
export interface Environment {
  node: string;
  platform: string;
  cpu: string;
  cores: number;
  /** Size in bytes. */
  memory: number;
  versions: Record<string, string>;
  git?: { commit: string; dirty: boolean };
}

/** Collects facts about this machine and process. */
export async function captureEnvironment(): Promise<Environment> {
  return {
    node: process.version,
    platform: `${process.platform}-${process.arch}`,
    cpu: cpus()[0]?.model ?? "unknown",
    cores: cpus().length,
    memory: totalmem(),
    versions: versions(),
    git: await captureGit(workingFolder()),
  };
}

/** Returns the notebook's folder, else the process's working folder. */
function workingFolder(): string {
  const path = notebook()?.path;
  return path ? dirname(path) : process.cwd();
}

/** Returns the file name of the notebook or script, without extension. */
export function sourceName(): string {
  const path = notebook()?.path ?? process.argv[1] ?? "node";
  return basename(path).replace(/\.[^.]+$/, "");
}

/** Returns the path of the nearest `package-lock.json` in the working folder or above. */
export function findLockfile(): string | undefined {
  for (let folder = workingFolder(); ; folder = dirname(folder)) {
    const path = join(folder, "package-lock.json");
    if (existsSync(path)) return path;
    if (dirname(folder) === folder) return undefined;
  }
}

function versions(): Record<string, string> {
  const require = createRequire(import.meta.url);
  const version = (path: string): string => JSON.parse(readFileSync(path, "utf8")).version;
  const packageRoot = (start: string): string =>
    existsSync(join(start, "package.json")) ? start : packageRoot(dirname(start));
  return {
    anneal: version(join(packageRoot(dirname(fileURLToPath(import.meta.url))), "package.json")),
    "onnxruntime-node": version(join(packageRoot(dirname(require.resolve("onnxruntime-node"))), "package.json")),
  };
}

async function captureGit(folder: string): Promise<Environment["git"]> {
  const git = async (...args: string[]) => (await run("git", args, { cwd: folder, timeout: 5000 })).stdout.trim();
  try {
    return { commit: await git("rev-parse", "HEAD"), dirty: (await git("status", "--porcelain")) !== "" };
  } catch {
    return undefined; // Not a repository, or git is not installed.
  }
}

/**
 * Returns the uncommitted changes of the working tree as a patch, preceded by the names of new files. Undefined when there are
 * none, or they are too large.
 */
export async function captureDiff(): Promise<string | undefined> {
  const options = { cwd: workingFolder(), timeout: 10_000, maxBuffer: 16 * 1024 ** 2 };
  try {
    const { stdout: diff } = await run("git", ["diff", "HEAD"], options);
    const { stdout: added } = await run("git", ["ls-files", "--others", "--exclude-standard"], options);
    const names = added.split("\n").filter(Boolean);
    return diff || names.length > 0 ? [...names.map((name) => `# new file: ${name}`), diff].join("\n") : undefined;
  } catch {
    return undefined;
  }
}

/**
 * Returns the executed cells as a notebook that can be run again. Failed cells get Jupyter's tag `raises-exception`, so that
 * a rerun continues after them.
 */
export function captureNotebook(): string | undefined {
  const book = notebook();
  if (!book || book.cells.length === 0) return undefined;
  const ids = new Set<string>();
  const cells = book.cells.map(({ id, source, executionCount, failed }, i) => ({
    cell_type: "code",
    id: uniqueId(id, i, ids),
    metadata: failed ? { tags: ["raises-exception"] } : {},
    execution_count: executionCount,
    source: source.split(/(?<=\n)/),
    outputs: [],
  }));
  const metadata = {
    kernelspec: { name: "anneal", display_name: "TypeScript (Anneal)", language: "typescript" },
    language_info: { name: "typescript" },
  };
  return JSON.stringify({ nbformat: 4, nbformat_minor: 5, metadata, cells }, null, 1);
}

/** Makes cell ids unique: a cell that was run twice occurs twice. */
function uniqueId(id: string | undefined, index: number, taken: Set<string>): string {
  const chosen = id === undefined || taken.has(id) ? `cell-${index}` : id;
  taken.add(chosen);
  return chosen;
}
