/** The addresses of files that cells import. */
import { readFileSync, statSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { fileURLToPath } from "node:url";

/** Whether a file is TypeScript that is loaded as a module. */
export function isTypeScript(url: string): boolean {
  return /^file:.*\.m?tsx?(\?|$)/.test(url);
}

/**
 * A file's address changes with the file and with the files that it imports, so that importing it again loads what they
 * say now.
 */
export function withVersion(url: string): string {
  const bare = url.replace(/\?.*$/, "");
  const times = new Map<string, number>();
  try {
    gather(fileURLToPath(bare), times);
  } catch {
    return url;
  }
  if (times.size === 0) return url;
  // Files that import each other have the same set of times, and so the same version.
  let version = 0;
  for (const [path, time] of [...times].sort(([a], [b]) => (a < b ? -1 : 1))) version = mix(version, path, time);
  return `${bare}?v=${version.toString(36)}`;
}

interface Seen {
  time: number;
  imports: string[];
}

const seen = new Map<string, Seen>();

function gather(path: string, times: Map<string, number>): void {
  if (times.has(path)) return;
  const time = statSync(path, { throwIfNoEntry: false })?.mtimeMs;
  if (time === undefined) return;
  times.set(path, time);
  if (!/\.m?tsx?$/.test(path)) return;
  let known = seen.get(path);
  if (known?.time !== time) {
    known = { time, imports: importsOf(readFileSync(path, "utf8")) };
    seen.set(path, known);
  }
  for (const specifier of known.imports) gather(resolve(dirname(path), specifier), times);
}

/** Relative specifiers that a file names, be it in a comment: one too many costs nothing. */
function importsOf(source: string): string[] {
  return [...source.matchAll(/(?:from|import)\s*\(?\s*["'](\.{1,2}\/[^"'\n]+)["']/g)].map(([, path = ""]) => path);
}

// FNV-1a, over the text of both.
function mix(hash: number, path: string, time: number): number {
  let mixed = hash ^ 0x811c9dc5;
  for (const character of `${path}\0${time}`) mixed = Math.imul(mixed ^ (character.codePointAt(0) ?? 0), 0x01000193);
  return mixed >>> 0;
}
