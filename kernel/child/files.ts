/** The addresses of files that cells import. */
import { statSync } from "node:fs";
import { fileURLToPath } from "node:url";

/** Whether a file is TypeScript that is loaded as a module. */
export function isTypeScript(url: string): boolean {
  return /^file:.*\.m?tsx?(\?|$)/.test(url);
}

/** A file's address changes with the file, so that importing it again loads what it says now. */
export function withVersion(url: string): string {
  try {
    const { mtimeMs } = statSync(fileURLToPath(url));
    return `${url.replace(/\?.*$/, "")}?v=${mtimeMs}`;
  } catch {
    return url;
  }
}
