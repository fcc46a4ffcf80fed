/** The kernelspec, which tells Jupyter servers how to start this kernel. */
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { logo } from "./logo.ts";

/** The content of `kernel.json`. */
export interface KernelSpec {
  argv: string[];
  display_name: string;
  language: string;
  interrupt_mode: "message" | "signal";
  env: Record<string, string>;
  metadata: Record<string, unknown>;
}

/** The kernel's name: the kernelspec's folder, and the kernel name in notebooks. */
export const kernelName = "anneal";

/** The kernelspec of this installation. */
export function kernelSpec(): KernelSpec {
  return {
    argv: [process.execPath, fileURLToPath(new URL("./bundle/host/main.js", import.meta.url)), "{connection_file}"],
    display_name: "TypeScript (Anneal)",
    language: "typescript",
    interrupt_mode: "message",
    env: {},
    metadata: { debugger: true },
  };
}

/** The version of the TypeScript that checks cells. */
export function typescriptVersion(): string {
  const file = createRequire(import.meta.url).resolve("typescript/package.json");
  return (JSON.parse(readFileSync(file, "utf8")) as { version: string }).version;
}

/** The `language_info` of kernel_info_reply, which notebooks store. */
export function languageInfo(): Record<string, string> {
  return {
    name: "typescript",
    version: typescriptVersion(),
    // The MIME type that JupyterLab's editor recognizes.
    mimetype: "application/typescript",
    file_extension: ".ts",
    pygments_lexer: "typescript",
    codemirror_mode: "typescript",
    nbconvert_exporter: "script",
  };
}

/**
 * Installs the kernelspec where Jupyter looks for it.
 *
 * @param prefix such as `/usr/local`, or `~/.local` for one user
 * @returns the folder it was written to
 * @throws Error when the folder cannot be written
 */
export function installKernelSpec(prefix: string): string {
  const folder = join(prefix, "share", "jupyter", "kernels", kernelName);
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, "kernel.json"), `${JSON.stringify(kernelSpec(), null, 2)}\n`);
  writeFileSync(join(folder, "logo-svg.svg"), logo);
  return folder;
}
