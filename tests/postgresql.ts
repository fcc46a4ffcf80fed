// A PostgreSQL server for the tests that ask for one, on a socket in a folder of its own.
import { execFileSync, spawn } from "node:child_process";
import { chmodSync, chownSync, existsSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import pg from "pg";
import type { TestProject } from "vitest/node";

/** The folder of PostgreSQL's programs: on the PATH, or where Debian and Homebrew put them; undefined where there are none. */
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

/** PostgreSQL refuses to run as root: its own user does where there is one, else the least of all. */
function otherUser(): { uid: number; gid: number } | undefined {
  if (process.getuid?.() !== 0) return undefined;
  for (const name of ["postgres", "nobody"]) {
    try {
      const [uid, gid] = ["-u", "-g"].map((flag) => Number(execFileSync("id", [flag, name], { encoding: "utf8" })));
      return { uid, gid };
    } catch {
      // No such user: the next.
    }
  }
  return undefined;
}

/** A server of one's own. */
export interface Postgresql {
  address: string;
  /** Ends it at once, as a crash would; what it holds stays. */
  kill(): Promise<void>;
  /** Starts it again on what it held. */
  start(): Promise<void>;
  /** Ends it and removes what it held. */
  stop(): Promise<void>;
}

/** @param options.durable lets it wait for the disk, as one does that is in earnest */
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
