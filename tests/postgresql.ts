// A PostgreSQL server for tests, on a socket in a temporary folder.
import { execFileSync, spawn } from "node:child_process";
import { chmodSync, chownSync, existsSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import pg from "pg";
import type { TestProject } from "vitest/node";

/** The folder of PostgreSQL's programs: from PATH, or that of Debian or Homebrew; undefined if there is none. */
export function findPostgresql(): string | undefined {
  const list = (folder: string) => (existsSync(folder) ? readdirSync(folder).map((name) => join(folder, name)) : []);
  const places = [
    ...list("/usr/lib/postgresql").map((version) => join(version, "bin")),
    ...(process.env.PATH ?? "").split(delimiter),
    ...list("/opt/homebrew/opt")
      .filter((path) => path.includes("/postgresql"))
      .map((path) => join(path, "bin")),
  ];
  return places.find((place) => existsSync(join(place, "initdb")) && existsSync(join(place, "postgres")));
}

/** The user to run as, because PostgreSQL refuses to run as root: postgres, or else nobody. */
function otherUser(): { uid: number; gid: number } | undefined {
  if (process.getuid?.() !== 0) return undefined;
  for (const name of ["postgres", "nobody"]) {
    try {
      const [uid, gid] = ["-u", "-g"].map((flag) => Number(execFileSync("id", [flag, name], { encoding: "utf8" })));
      return { uid, gid };
    } catch {
      // The user does not exist.
    }
  }
  return undefined;
}

/** A PostgreSQL server. */
export interface Postgresql {
  address: string;
  /** Kills it like a crash; its data is kept. */
  kill(): Promise<void>;
  /** Starts it again with its data. */
  start(): Promise<void>;
  /** Stops it and removes its data. */
  stop(): Promise<void>;
}

/** Starts a server. @param options.durable enable fsync, as in production */
export async function startPostgresql(programs: string, { durable = false } = {}): Promise<Postgresql> {
  const home = mkdtempSync(join(tmpdir(), "anneal-pg-"));
  const user = otherUser();
  chmodSync(home, 0o700);
  if (user) chownSync(home, user.uid, user.gid);
  const data = join(home, "data");
  const run = { ...user, cwd: home, stdio: "ignore" } as const;
  const how = ["-U", "anneal", "-A", "trust", "-E", "UTF8", "--locale=C", "-N"];
  execFileSync(join(programs, "initdb"), ["-D", data, ...how], run);
  const settings = ["max_connections=200", "listen_addresses="];
  if (!durable) settings.push("fsync=off", "full_page_writes=off");
  const address = `postgresql://anneal@localhost/postgres?host=${encodeURIComponent(home)}`;
  let end = async (_signal: NodeJS.Signals): Promise<void> => undefined;

  async function start(): Promise<void> {
    const args = ["-D", data, "-k", home, ...settings.flatMap((it) => ["-c", it])];
    const server = spawn(join(programs, "postgres"), args, run);
    const ended = new Promise<void>((resolve) => server.on("exit", () => resolve()));
    end = async (signal) => {
      server.kill(signal);
      await ended;
    };
    const deadline = Date.now() + 30_000;
    while (!(await answers(address))) {
      if (Date.now() > deadline || server.exitCode !== null) {
        server.kill("SIGKILL");
        throw new Error(`PostgreSQL of ${programs} does not start.`);
      }
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }
  await start();
  return {
    address,
    start,
    kill: () => end("SIGQUIT"),
    async stop() {
      await end("SIGINT");
      rmSync(home, { recursive: true, force: true });
    },
  };
}

async function answers(address: string): Promise<boolean> {
  const client = new pg.Client(address);
  client.on("error", () => undefined);
  try {
    await client.connect();
    await client.end();
    return true;
  } catch {
    return false;
  }
}

/** For vitest's `globalSetup`. */
export default async function setup(project: TestProject): Promise<(() => Promise<void>) | undefined> {
  const programs = findPostgresql();
  if (programs === undefined) throw new Error("PostgreSQL is not installed: `apt-get install postgresql`.");
  const { address, stop } = await startPostgresql(programs);
  project.provide("postgresql", address);
  return stop;
}
