import { existsSync, linkSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { UsageError } from "./errors.ts";

/** Content of the file by which a running studio is found in its data folder. */
export interface RunningStudio {
  url: string;
  token: string;
  pid: number;
  /** Whether it runs without JupyterLab. */
  trackerOnly?: boolean;
}

const fileOf = (dataDir: string) => join(dataDir, "studio.json");

/** Returns the studio that runs on a data folder, if one does and responds. */
export async function findRunningStudio(dataDir: string): Promise<RunningStudio | undefined> {
  if (!existsSync(fileOf(dataDir))) return undefined;
  try {
    const running = JSON.parse(readFileSync(fileOf(dataDir), "utf8")) as RunningStudio;
    process.kill(running.pid, 0);
    const response = await fetch(`${running.url}/health`, { signal: AbortSignal.timeout(2000) });
    return response.ok ? running : undefined;
  } catch {
    return undefined; // A killed studio left the file: its process is gone, or its id was reused.
  }
}

/** Maximum duration of a start in milliseconds; older lock files are from killed processes. */
const startPatience = 30_000;

/** Whether the process that wrote a lock file is gone. A file without a process id is just being written. */
function isGone(file: string): boolean {
  try {
    const pid = Number(readFileSync(file, "utf8"));
    if (pid > 0) process.kill(pid, 0);
    return false;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "ESRCH";
  }
}

/**
 * Locks a data folder while a studio starts. Returns a function that releases the lock.
 * @throws UsageError when another studio is starting
 */
export function lockStart(dataDir: string): () => void {
  const file = join(dataDir, "starting");
  const age = Date.now() - (statSync(file, { throwIfNoEntry: false })?.mtimeMs ?? Date.now());
  if (age > startPatience || isGone(file)) rmSync(file, { force: true });
  try {
    claim(file);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
    throw new UsageError(`Another studio is starting on ${dataDir}. Try again in a moment.`);
  }
  return () => rmSync(file, { force: true });
}

/**
 * Creates a file with our process id atomically, so that it is never empty: from an empty file, one could not tell whether
 * its process is gone.
 * @throws EEXIST when it exists
 */
function claim(file: string): void {
  const temporary = `${file}.${process.pid}`;
  writeFileSync(temporary, String(process.pid));
  try {
    linkSync(temporary, file);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EEXIST") throw error;
    // The file system has no hard links, for example on a memory stick.
    writeFileSync(file, String(process.pid), { flag: "wx" });
  } finally {
    rmSync(temporary, { force: true });
  }
}

/** Writes the file by which a studio is found. Returns a function that removes it. */
export function announceStudio(dataDir: string, running: RunningStudio): () => void {
  mkdirSync(dataDir, { recursive: true });
  writeFileSync(fileOf(dataDir), JSON.stringify(running), { mode: 0o600 });
  return () => {
    // Only our own file: a studio that started later has replaced it.
    const current = existsSync(fileOf(dataDir)) && (JSON.parse(readFileSync(fileOf(dataDir), "utf8")) as RunningStudio);
    if (current && current.pid === running.pid) rmSync(fileOf(dataDir), { force: true });
  };
}
