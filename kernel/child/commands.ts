/** What magics do in the process of the cells: npm, the shell, the environment, forgetting. */
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
 * Does what a magic asks for, in the name of the running cell.
 * @throws Error when a program that it starts fails
 */
export async function doCommand(command: Command, folder: string): Promise<void> {
  switch (command.name) {
    case "npm":
      return npm(command.args, folder);
    case "env":
      return environment(command.variable, command.value);
    case "reset":
      return resetScope();
    case "shell": {
      const code = await run(command.program, ["-c", command.script], { cwd: process.cwd() });
      if (code !== 0) throw new Error(`${command.program} ended with ${code}`);
    }
  }
}

/** Runs a program; what it prints is the cell's, and it ends with the cell. */
async function run(program: string, args: string[], options: SpawnOptions): Promise<number | string> {
  const signal = currentCell()?.signal;
  const child = spawn(program, args, { ...options, stdio: ["ignore", "pipe", "pipe"] });
  // As Ctrl+C in a terminal: what the program started hears it too. This process itself leaves the signal unheard.
  const stop = () => (process.platform === "win32" ? child.kill() : process.kill(-process.pid, "SIGINT"));
  signal?.addEventListener("abort", stop);
  for (const name of ["stdout", "stderr"] as const) {
    const decoder = new StringDecoder("utf8");
    child[name]?.on("data", (chunk: Buffer) => print(name, decoder.write(chunk)));
  }
  try {
    return await new Promise((resolve, reject) => {
      child.once("error", (error) => reject(new Error(`${program} did not start: ${error.message}`)));
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
  if (code !== 0) throw new Error(`npm ${args.join(" ")} ended with ${code}`);
  if (!["i", "install", "add"].includes(args[0] ?? "")) return;
  const untyped = args
    .slice(1)
    .filter((each) => !each.startsWith("-"))
    .map((each) => packageName(each).replace(/(.)@.*$/, "$1"))
    .filter((name) => hasTypes(name, folder) === false);
  for (const name of untyped) await installTypes(name, folder);
}

/** Types that others wrote are a package of their own. That there are none is no failure. */
async function installTypes(name: string, folder: string): Promise<void> {
  const types = `@types/${name.replace(/^@([^/]+)\//, "$1__")}`;
  const code = await new Promise((resolve) => {
    const child = spawn("npm", ["install", "--save-dev", types, ...quiet], { cwd: folder, stdio: "ignore" });
    child.once("error", () => resolve(undefined));
    child.once("close", resolve);
  });
  print("stdout", code === 0 ? `${name} brings no types; installed ${types}\n` : `${name} brings no types\n`);
}

/** Whether an installed package says what types it has; undefined where it is not found. */
function hasTypes(name: string, from: string): boolean | undefined {
  for (let folder = from; ; folder = dirname(folder)) {
    const root = join(folder, "node_modules", name);
    if (existsSync(join(root, "package.json"))) {
      const told = readFileSync(join(root, "package.json"), "utf8");
      return /"(types|typings)"\s*:/.test(told) || existsSync(join(root, "index.d.ts"));
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
    const found = process.env[variable];
    if (found === undefined) throw new Error(`the environment has no ${variable}; set it with %env ${variable}=value`);
    print("stdout", `${found}\n`);
    return;
  }
  process.env[variable] = value;
  print("stdout", `env: ${variable}=${secret.test(variable) ? "<hidden>" : value}\n`);
}
