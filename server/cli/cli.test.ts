import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";

const main = fileURLToPath(new URL("./main.js", import.meta.url));

/** What `anneal <args>` prints, and its exit status. */
const anneal = (...args: string[]) =>
  new Promise<{ status: number | string; stdout: string; stderr: string }>((done) => {
    execFile(process.execPath, [main, ...args], (error, stdout, stderr) => {
      done({ status: error?.code ?? 0, stdout, stderr: stderr.trim() });
    });
  });

test("help lists every command, and each command's help is its part of it", async () => {
  const { stdout: all } = await anneal("--help");
  const names = [...all.matchAll(/^ {2}anneal (\w+)/gm)].map(([, name]) => name);
  expect(names).toEqual(["start", "tracker", "run", "rerun", "import", "export", "gc", "install", "doctor"]);
  for (const name of ["tracker", "gc"]) {
    const { status, stdout } = await anneal(name, "--help");
    expect(status).toBe(0);
    expect(stdout).toContain(`anneal ${name} `);
    expect(all).toContain(stdout);
  }
});

test("a mistake in the call is one line that says what to do, and status 2", async () => {
  const mistakes: [args: string[], said: string][] = [
    [["run", "--foo"], "anneal run has no flag --foo. `anneal run --help` lists the flags."],
    [["--bogus"], "anneal start has no flag --bogus. `anneal start --help` lists the flags."],
    [["gc", "extra"], "anneal gc does not accept the argument extra."],
    [["rerun"], "Missing argument: anneal rerun <run id>"],
    [["export", "mlflow"], "Missing arguments: anneal export mlflow <uri>"],
    [["tracker", "--rate-limit", "0"], "--rate-limit must be a number of requests per minute, not 0."],
    [["tracker", "--port", ""], "--port must be a number from 0 to 65535, not ."],
  ];
  for (const [args, said] of mistakes) expect(await anneal(...args)).toEqual({ status: 2, stdout: "", stderr: said });
});

test("a command that does not exist is answered with the list of those that do", async () => {
  const { status, stderr } = await anneal("frobnicate");
  expect(status).toBe(2);
  expect(stderr).toMatch(/^There is no command frobnicate\.\n\nanneal: TypeScript notebooks that train/);
});
