/** The TypeScript compiler's own program. */
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";

/** The command that runs the compiler: the native program, or Node.js where the package keeps it elsewhere. */
export function compilerProgram(): [string, ...string[]] {
  const require = createRequire(import.meta.url);
  const root = dirname(require.resolve("typescript/package.json"));
  const platform = `@typescript/typescript-${process.platform}-${process.arch}`;
  try {
    const folder = dirname(createRequire(join(root, "package.json")).resolve(`${platform}/package.json`));
    const program = join(folder, "lib", process.platform === "win32" ? "tsc.exe" : "tsc");
    if (existsSync(program)) return [program];
  } catch {
    // The package's own script finds it, wherever it is.
  }
  return [process.execPath, join(root, "bin/tsc")];
}

/**
 * The compiler options of the tsconfig.json in a folder, with what it extends; undefined where there is none.
 * Paths in it are relative to the folder.
 * @throws Error with the compiler's words when the file is wrong
 */
export function folderOptions(folder: string): Record<string, unknown> | undefined {
  if (!existsSync(join(folder, "tsconfig.json"))) return undefined;
  const ask = (flag: string): string => {
    const [program, ...args] = compilerProgram();
    const answer = spawnSync(program, [...args, flag, "-p", "tsconfig.json"], { cwd: folder, encoding: "utf8" });
    return answer.error ? `error TS0: ${answer.error.message}` : answer.stdout;
  };
  // The one answer leaves out what is wrong, the other says what it is. That there are no files (TS18003) is nobody's fault.
  const problems = ask("--listFilesOnly").match(/^.*error TS(?!18003).*$/gm);
  if (problems) throw new Error(`tsconfig.json in ${folder} is left out:\n${problems.join("\n")}`);
  return (JSON.parse(ask("--showConfig")) as { compilerOptions?: Record<string, unknown> }).compilerOptions ?? {};
}
