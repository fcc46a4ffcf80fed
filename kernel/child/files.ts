/** URLs of imported files, with a version that changes with the file. */
import { readFileSync, statSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { fileURLToPath } from "node:url";

/** Whether a URL is a TypeScript file that loads as an ES module. */
export function isTypeScript(url: string): boolean {
  return /^file:.*\.m?tsx?(\?|$)/.test(url);
}

/**
 * Adds a version to the URL of a file. It changes when the file or a file that it imports is modified, so that importing
 * the file again loads the new content.
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
  // Files that import each other have the same set of times and thus the same version.
  let version = 0;
  for (const [path, time] of [...times].sort(([a], [b]) => (a < b ? -1 : 1))) version = mix(version, path, time);
  return `${bare}?v=${version.toString(36)}`;
}

interface CachedImports {
  time: number;
  imports: string[];
}

const importCache = new Map<string, CachedImports>();

function gather(path: string, times: Map<string, number>): void {
  if (times.has(path)) return;
  const time = statSync(path, { throwIfNoEntry: false })?.mtimeMs;
  if (time === undefined) return;
  times.set(path, time);
  if (!/\.m?tsx?$/.test(path)) return;
  let cached = importCache.get(path);
  if (cached?.time !== time) {
    cached = { time, imports: importsOf(readFileSync(path, "utf8")) };
    importCache.set(path, cached);
  }
  for (const specifier of cached.imports) gather(resolve(dirname(path), specifier), times);
}

/** Relative import specifiers in a file, including those in comments, which do no harm. */
function importsOf(source: string): string[] {
  return [...source.matchAll(/(?:from|import)\s*\(?\s*["'](\.{1,2}\/[^"'\n]+)["']/g)].map(([, path = ""]) => path);
}

// FNV-1a hash of path and time.
function mix(hash: number, path: string, time: number): number {
  let mixed = hash ^ 0x811c9dc5;
  for (const character of `${path}\0${time}`) mixed = Math.imul(mixed ^ (character.codePointAt(0) ?? 0), 0x01000193);
  return mixed >>> 0;
}
