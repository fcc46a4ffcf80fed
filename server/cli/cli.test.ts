import { execFile } from "node:child_process";
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";

const main = fileURLToPath(new URL("./main.js", import.meta.url));

interface Answer {
  status: number | string;
  stdout: string;
  stderr: string;
}

/** What `anneal <args>` prints, and its exit status. */
const anneal = (...args: string[]) => node(main, ...args);

const node = (...args: string[]) =>
  new Promise<Answer>((done) => {
    execFile(process.execPath, args, (error, stdout, stderr) => {
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

test("help loads no module of what the commands do", async () => {
  const tellLoads = "export function load(url, ...rest) { process._rawDebug(url); return rest[1](url, rest[0]) }";
  const hooks = `data:text/javascript,${encodeURIComponent(tellLoads)}`;
  const register = `import { register } from "node:module"; register(${JSON.stringify(hooks)})`;
  const { stderr } = await node(`--import=data:text/javascript,${encodeURIComponent(register)}`, main, "--help");
  const loaded = stderr.split("\n").filter((url) => url.startsWith("file:"));
  expect(loaded.length).toBeGreaterThan(5);
  expect(loaded.filter((url) => !/\/server\/(cli\/\w+|errors)\.js$/.test(url))).toEqual([]);
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

test("a notebook of another language is refused before anything of it runs", async () => {
  const folder = mkdtempSync(join(tmpdir(), "anneal-cli-"));
  const path = join(folder, "analysis.ipynb");
  const kernelspec = { name: "python3", display_name: "Python 3 (ipykernel)", language: "python" };
  const cell = { cell_type: "code", source: "print = console.log", metadata: {}, outputs: [], execution_count: null };
  writeFileSync(path, JSON.stringify({ nbformat: 4, nbformat_minor: 5, metadata: { kernelspec }, cells: [cell] }));
  expect(await anneal("run", path, "--data", join(folder, "data"))).toEqual({
    status: 2,
    stdout: "",
    stderr:
      `${path} is written for the kernel Python 3 (ipykernel), whose language is python. Anneal runs TypeScript and ` +
      "JavaScript: run the notebook with its own kernel (jupyter execute), or change its kernel to TypeScript (Anneal).",
  });
  expect(readdirSync(folder)).toEqual(["analysis.ipynb"]);
  rmSync(folder, { recursive: true });
});

test("a command that does not exist is answered with the list of those that do", async () => {
  const { status, stderr } = await anneal("frobnicate");
  expect(status).toBe(2);
  expect(stderr).toMatch(/^There is no command frobnicate\.\n\nanneal: TypeScript notebooks that train/);
});
