import { resolve } from "node:path";
import { recoverJournals } from "../../src/track/index.ts";
import { UsageError } from "../errors.ts";
import { type StudioOptions, startStudio } from "../studio.ts";

/** Milliseconds between two looks for runs whose process is gone. */
const recoveryInterval = 3000;

/**
 * Run a studio, or a tracker alone, until Ctrl-C or SIGTERM.
 * @param options.port a number as text
 * @param onReady is given the address of its page, with the token
 */
export async function serve(
  { port: text, ...options }: Omit<StudioOptions, "port"> & { port: string },
  onReady: (page: string) => void = () => undefined,
): Promise<number> {
  const port = Number(text);
  if (text.trim() === "" || !Number.isInteger(port) || port < 0 || port > 65_535) {
    throw new UsageError(`--port must be a number from 0 to 65535, not ${text}.`);
  }
  // Listened to from the start: whoever is told the address may stop it at once.
  const stopped = new Promise<void>((done) => {
    for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => done());
  });
  const studio = await startStudio({ ...options, port });
  const page = `${studio.url}${options.trackerOnly ? "/tracker/" : "/lab"}${studio.token && `?token=${studio.token}`}`;
  if (!studio.token && !["127.0.0.1", "localhost", "::1"].includes(options.host)) {
    process.stderr.write("\n  Everyone who reaches this machine may read and change everything (--no-auth).\n");
  }
  process.stdout.write(`\n  Anneal is up: ${page}\n  Stop it with Ctrl-C.\n\n`);
  onReady(page);
  const recovery = recoverRegularly(resolve(options.dataDir));
  await stopped;
  clearInterval(recovery);
  const kernels = options.trackerOnly ? "" : "kernels are shut down, ";
  process.stdout.write(`\n  Stopping: ${kernels}everything logged is stored.\n`);
  await studio.close();
  return 0;
}

/** Send what kernels and scripts on this data folder left when they were killed, or while no tracker answered. */
function recoverRegularly(dataDir: string): NodeJS.Timeout {
  void recoverJournals(dataDir);
  return setInterval(() => void recoverJournals(dataDir), recoveryInterval);
}
