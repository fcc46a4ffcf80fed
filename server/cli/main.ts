#!/usr/bin/env node
import { readFileSync } from "node:fs";
import { UsageError } from "../errors.ts";
import type { Command } from "./command.ts";
import { doctor } from "./doctor.ts";
import { gc } from "./gc.ts";
import { install } from "./install.ts";
import { rerun } from "./rerun.ts";
import { run } from "./run.ts";
import { start } from "./start.ts";
import { tracker } from "./tracker.ts";
import { exportRuns, importRuns } from "./transfer.ts";

const commands: readonly Command[] = [start, tracker, run, rerun, importRuns, exportRuns, gc, install, doctor];

const help = `anneal: TypeScript notebooks that train

${commands.map((command) => command.help).join("")}  anneal --version, anneal --help
`;

async function main([first = "start", ...rest]: readonly string[]): Promise<number> {
  if (first === "--help" || first === "-h" || first === "help") {
    process.stdout.write(help);
    return 0;
  }
  if (first === "--version") {
    const manifest = new URL("../../../package.json", import.meta.url);
    process.stdout.write(`${JSON.parse(readFileSync(manifest, "utf8")).version}\n`);
    return 0;
  }
  // Flags without a command start the studio.
  if (first.startsWith("-")) return start.run([first, ...rest]);
  const command = commands.find(({ name }) => name === first);
  if (!command) throw new UsageError(`There is no command ${first}.\n\n${help}`);
  return command.run(rest);
}

main(process.argv.slice(2)).then(
  (code) => process.exit(code),
  (error: unknown) => {
    // Errors of the file system (a read-only folder, a full disk) need no stack.
    const expected =
      error instanceof Error && (error instanceof UsageError || error.name === "TrackerError" || "syscall" in error);
    process.stderr.write(`${expected ? error.message : error instanceof Error ? error.stack : String(error)}\n`);
    process.exit(2);
  },
);
