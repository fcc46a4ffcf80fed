/** Running the TypeScript compiler. */
import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { createRequire } from "node:module";
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
  if (!existsSync(join(folder, "tsconfig.json"))) return undefined;
  const runWith = (flag: string): Promise<string> =>
    new Promise((resolve) => {
      const [program, ...args] = compilerProgram();
      const options = { cwd: folder, encoding: "utf8", maxBuffer: 64 * 2 ** 20, windowsHide: true } as const;
      execFile(program, [...args, flag, "-p", "tsconfig.json"], options, (error, stdout) => {
        // The compiler reports errors in its output; without an exit code it did not run to its end.
        resolve(error && typeof error.code !== "number" ? `error TS0: ${error.message}` : stdout);
      });
    });
  // --showConfig omits errors, so --listFilesOnly reports them. A project without files (TS18003) is no error here.
  const [files, config] = await Promise.all([runWith("--listFilesOnly"), runWith("--showConfig")]);
  const problems = files.match(/^.*error TS(?!18003).*$/gm);
  if (problems) throw new Error(`tsconfig.json in ${folder} is ignored:\n${problems.join("\n")}`);
  return (JSON.parse(config) as { compilerOptions?: Record<string, unknown> }).compilerOptions ?? {};
}
