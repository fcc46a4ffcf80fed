import { resolve } from "node:path";
import { recoverJournals } from "../../src/track/index.ts";
import { UsageError } from "../errors.ts";
import { type StudioOptions, startStudio } from "../studio.ts";

/** Interval of checks for runs whose process is gone, in milliseconds. */
const recoveryInterval = 3000;

/**
 * Runs a studio, or only a tracker, until Ctrl-C or SIGTERM.
 * @param options.port a number as text
 * @param onReady receives the address of its page, with the token
 */
export async function serve(
  { port: text, ...options }: Omit<StudioOptions, "port"> & { port: string },
  onReady: (page: string) => void = () => undefined,
): Promise<number> {
  const port = Number(text);
  if (text.trim() === "" || !Number.isInteger(port) || port < 0 || port > 65_535) {
    throw new UsageError(`--port must be a number from 0 to 65535, not ${text}.`);
  }
  // Handlers are installed first, because the process may be stopped as soon as its address is known.
  const stopped = new Promise<void>((done) => {
    for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => done());
  });
  const studio = await startStudio({ ...options, port });
  const page = `${studio.url}${options.trackerOnly ? "/tracker/" : "/lab"}${studio.token && `?token=${studio.token}`}`;
  if (!studio.token && !["127.0.0.1", "localhost", "::1"].includes(options.host)) {
    process.stderr.write(
      "\n  Authentication is off (--no-auth): everyone who can reach this machine has full access.\n",
    );
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

/** Sends journals that kernels and scripts on this data folder left when they were killed, or while no tracker responded. */
function recoverRegularly(dataDir: string): NodeJS.Timeout {
  void recoverJournals(dataDir);
  return setInterval(() => void recoverJournals(dataDir), recoveryInterval);
}
