import { existsSync, linkSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { UsageError } from "./errors.ts";

/** What a running studio leaves in its data folder, so that others find it. */
export interface RunningStudio {
  url: string;
  token: string;
  pid: number;
  /** Without JupyterLab. */
  trackerOnly?: boolean;
}

const fileOf = (dataDir: string) => join(dataDir, "studio.json");

/** The studio that runs on a data folder, if one does and answers. */
export async function findRunningStudio(dataDir: string): Promise<RunningStudio | undefined> {
  if (!existsSync(fileOf(dataDir))) return undefined;
  try {
    const running = JSON.parse(readFileSync(fileOf(dataDir), "utf8")) as RunningStudio;
    process.kill(running.pid, 0);
    const response = await fetch(`${running.url}/health`, { signal: AbortSignal.timeout(2000) });
    return response.ok ? running : undefined;
  } catch {
    return undefined; // Left by one that was killed: its process is gone, or another program's now.
  }
}

/** Longest that a start takes, in milliseconds: a note older than this was left by one that was killed. */
const startPatience = 30_000;

/** Whether the process that left a note was killed. A note without a number is just being written. */
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
 * Keep others from starting on a data folder while we do; the function given back lets them again.
 * @throws UsageError when another start is under way
 */
export function lockStart(dataDir: string): () => void {
  const file = join(dataDir, "starting");
  const age = Date.now() - (statSync(file, { throwIfNoEntry: false })?.mtimeMs ?? Date.now());
  if (age > startPatience || isGone(file)) rmSync(file, { force: true });
  try {
    claim(file);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
    throw new UsageError(`Another studio is just starting on ${dataDir}. Try again in a moment.`);
  }
  return () => rmSync(file, { force: true });
}

/**
 * Makes a file with our number, whole from the first moment on: one that was killed between making it and writing to it
 * would leave a file that says of nobody whether they are gone.
 * @throws EEXIST when it is there
 */
function claim(file: string): void {
  const own = `${file}.${process.pid}`;
  writeFileSync(own, String(process.pid));
  try {
    linkSync(own, file);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EEXIST") throw error;
    // A disk without links, such as a memory stick.
    writeFileSync(file, String(process.pid), { flag: "wx" });
  } finally {
    rmSync(own, { force: true });
  }
}

/** Make a studio known; the function given back takes that back. */
export function announceStudio(dataDir: string, running: RunningStudio): () => void {
  mkdirSync(dataDir, { recursive: true });
  writeFileSync(fileOf(dataDir), JSON.stringify(running), { mode: 0o600 });
  return () => {
    // Only our own note: a studio that started after us has written another.
    const current = existsSync(fileOf(dataDir)) && (JSON.parse(readFileSync(fileOf(dataDir), "utf8")) as RunningStudio);
    if (current && current.pid === running.pid) rmSync(fileOf(dataDir), { force: true });
  };
}
