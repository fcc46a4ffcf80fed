/** Running the TypeScript compiler. */
import { execFile } from "node:child_process";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";

/** The command that runs the compiler: the native executable if it is found, else the package's script. */
export function compilerProgram(): [string, ...string[]] {
  const require = createRequire(import.meta.url);
  const root = dirname(require.resolve("typescript/package.json"));
  const platform = `@typescript/typescript-${process.platform}-${process.arch}`;
  try {
    const folder = dirname(createRequire(join(root, "package.json")).resolve(`${platform}/package.json`));
    const program = join(folder, "lib", process.platform === "win32" ? "tsc.exe" : "tsc");
    if (existsSync(program)) return [program];
  } catch {
    // The package's script locates the executable itself.
  }
  return [process.execPath, join(root, "bin/tsc")];
}

/**
 * The compiler options of the tsconfig.json in a folder, including those it extends; undefined if there is none.
 * Paths in it are relative to the folder.
 * @throws Error with the compiler's messages when the file is invalid
 */
export async function folderOptions(folder: string): Promise<Record<string, unknown> | undefined> {
  const file = join(folder, "tsconfig.json");
  if (!existsSync(file)) return undefined;
  const [errors, config] = await Promise.all([errorsIn(file), run(folder, "--showConfig", "-p", file)]);
  if (errors.length > 0) throw new Error(`tsconfig.json in ${folder} is ignored:\n${errors.join("\n")}`);
  return (JSON.parse(config) as { compilerOptions?: Record<string, unknown> }).compilerOptions ?? {};
}

/**
 * The compiler's messages about a configuration. --showConfig omits them, so a program reports them: one with a single empty
 * file, because the folder's own may take seconds to load.
 */
async function errorsIn(file: string): Promise<string[]> {
  const folder = mkdtempSync(join(tmpdir(), "anneal-tsconfig-"));
  try {
    writeFileSync(join(folder, "empty.ts"), "");
    // Packages with types are not found from there.
    const config = { extends: file, files: ["empty.ts"], include: [], compilerOptions: { types: [] } };
    writeFileSync(join(folder, "tsconfig.json"), JSON.stringify(config));
    const output = await run(dirname(file), "--listFilesOnly", "-p", folder);
    // What is said of the empty file, such as that it is outside of rootDir, is no error of the configuration.
    return (output.match(/^.*error TS.*$/gm) ?? []).filter(
      (line) => !line.includes(folder) && !line.includes("empty.ts"),
    );
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Runs the compiler in a folder. @returns its output, with errors */
function run(cwd: string, ...flags: string[]): Promise<string> {
  const [program, ...args] = compilerProgram();
  return new Promise((resolve) => {
    const options = { cwd, encoding: "utf8", maxBuffer: 64 * 2 ** 20, windowsHide: true } as const;
    execFile(program, [...args, ...flags], options, (error, stdout) => {
      // The compiler reports errors in its output; without an exit code it did not run to its end.
      resolve(error && typeof error.code !== "number" ? `error TS0: ${error.message}` : stdout);
    });
  });
}
