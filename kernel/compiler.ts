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
  const [program, ...args] = compilerProgram();
  const { stdout, error } = spawnSync(program, [...args, "--showConfig", "-p", "tsconfig.json"], {
    cwd: folder,
    encoding: "utf8",
  });
  try {
    return (JSON.parse(stdout) as { compilerOptions?: Record<string, unknown> }).compilerOptions ?? {};
  } catch {
    throw new Error(`tsconfig.json in ${folder} is left out: ${error?.message ?? stdout.trim()}`);
  }
}
