/** The magics that run in the child: `%npm`, shell commands, `%env` and `%reset`. */
import { type SpawnOptions, spawn } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { StringDecoder } from "node:string_decoder";
import type { Command } from "../host/protocol.ts";
import { packageName } from "../language/packages.ts";
import { currentCell } from "./cells.ts";
import { resetScope } from "./scope.ts";
import { print } from "./streams.ts";

/**
 * Executes the command of a magic as part of the running cell.
 * @throws Error when a program fails
 */
export async function runCommand(command: Command, folder: string): Promise<void> {
  switch (command.name) {
    case "npm":
      return npm(command.args, folder);
    case "env":
      return environment(command.variable, command.value);
    case "reset":
      return resetScope();
    case "shell": {
      const code = await run(command.program, ["-c", command.script], { cwd: process.cwd() });
      if (code !== 0) throw new Error(`${command.program} exited with ${code}`);
    }
  }
}

/** Runs a program. Its output belongs to the running cell, and an interrupt stops it. */
async function run(program: string, args: string[], options: SpawnOptions): Promise<number | string> {
  const signal = currentCell()?.signal;
  const child = spawn(program, args, { ...options, stdio: ["ignore", "pipe", "pipe"] });
  // Like Ctrl+C in a terminal, the signal reaches the whole process group. This process ignores it.
  const stop = () => (process.platform === "win32" ? child.kill() : process.kill(-process.pid, "SIGINT"));
  signal?.addEventListener("abort", stop);
  for (const name of ["stdout", "stderr"] as const) {
    const decoder = new StringDecoder("utf8");
    child[name]?.on("data", (chunk: Buffer) => print(name, decoder.write(chunk)));
  }
  try {
    return await new Promise((resolve, reject) => {
      child.once("error", (error) => reject(new Error(`cannot start ${program}: ${error.message}`)));
      child.once("close", (code, by) => resolve(code ?? `signal ${by}`));
    });
  } finally {
    signal?.removeEventListener("abort", stop);
  }
}

const quiet = ["--no-fund", "--no-audit", "--no-update-notifier"];

async function npm(args: string[], folder: string): Promise<void> {
  const program = process.platform === "win32" ? "npm.cmd" : "npm";
  const code = await run(program, [...args, ...quiet], { cwd: folder, shell: process.platform === "win32" });
  if (code !== 0) throw new Error(`npm ${args.join(" ")} exited with ${code}`);
  if (!["i", "install", "add"].includes(args[0] ?? "")) return;
  const untyped = args
    .slice(1)
    .filter((each) => !each.startsWith("-"))
    .map((each) => packageName(each).replace(/(.)@.*$/, "$1"))
    .filter((name) => hasTypes(name, folder) === false);
  for (const name of untyped) await installTypes(name, folder);
}

/** Installs the `@types` package of a package. It is no error if there is none. */
async function installTypes(name: string, folder: string): Promise<void> {
  const types = `@types/${name.replace(/^@([^/]+)\//, "$1__")}`;
  const code = await new Promise((resolve) => {
    const child = spawn("npm", ["install", "--save-dev", types, ...quiet], { cwd: folder, stdio: "ignore" });
    child.once("error", () => resolve(undefined));
    child.once("close", resolve);
  });
  print("stdout", code === 0 ? `${name} has no types; installed ${types}\n` : `${name} has no types\n`);
}

/** Whether an installed package includes type declarations; undefined if it is not installed. */
function hasTypes(name: string, from: string): boolean | undefined {
  for (let folder = from; ; folder = dirname(folder)) {
    const root = join(folder, "node_modules", name);
    if (existsSync(join(root, "package.json"))) {
      const manifest = readFileSync(join(root, "package.json"), "utf8");
      return /"(types|typings)"\s*:/.test(manifest) || existsSync(join(root, "index.d.ts"));
    }
    if (folder === dirname(folder)) return undefined;
  }
}

const secret = /key|token|secret|passw|credential/i;

function environment(variable: string | undefined, value: string | undefined): void {
  if (variable === undefined) {
    for (const name of Object.keys(process.env).sort()) {
      print("stdout", `${name}=${secret.test(name) ? "<hidden>" : process.env[name]}\n`);
    }
    return;
  }
  if (value === undefined) {
    const current = process.env[variable];
    if (current === undefined)
      throw new Error(`environment variable ${variable} is not set; use %env ${variable}=value`);
    print("stdout", `${current}\n`);
    return;
  }
  process.env[variable] = value;
  print("stdout", `env: ${variable}=${secret.test(variable) ? "<hidden>" : value}\n`);
}
