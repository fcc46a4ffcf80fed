import { invalid } from "../errors.ts";

/** On Windows, a letter and a colon are a drive, and a backslash is a separator. */
const FORBIDDEN = /^[A-Za-z]:|\\|\p{Cc}/u;

/** Most systems reject longer ones, with a less helpful error. */
const MAX_PATH = 1024;
const MAX_NAME = 255;

/**
 * Checks an artifact path from a client, relative to a folder of artifacts.
 * @returns the path without a trailing slash
 * @throws INVALID_PARAMETER_VALUE for paths that could lead out of the folder, in any encoding
 */
export function safePath(path: string): string {
  const trimmed = path.replace(/\/+$/, "");
  let decoded = trimmed;
  for (let depth = 0; depth < 5; depth++) {
    const segments = decoded.split("/");
    if (FORBIDDEN.test(decoded) || segments.some((part) => part === ".." || part === "." || part === "")) {
      throw invalid(
        `Invalid path '${path}': it must be relative, with names joined by single slashes, and no '.', '..', backslash or control character.`,
      );
    }
    const again = decodeOnce(decoded);
    if (again === decoded) break;
    decoded = again;
  }
  if (trimmed.length > MAX_PATH || trimmed.split("/").some((part) => Buffer.byteLength(part) > MAX_NAME)) {
    throw invalid(
      `Invalid path '${path.slice(0, 80)}...': longer than ${MAX_PATH}, or a name in it than ${MAX_NAME} bytes.`,
    );
  }
  return trimmed;
}

/** Folders for incomplete uploads, which no artifact path may use. */
const OWN = [".incoming", ".uploads"];

/** Checks a path like {@link safePath}, and that it is not one of the tracker's internal folders. */
export function ownPath(path: string): string {
  const safe = safePath(path);
  const [first = ""] = safe.split("/");
  if (OWN.includes(first)) throw invalid(`Invalid path '${path}': ${first} is the tracker's own.`);
  return safe;
}

function decodeOnce(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/** Media types of files that training creates; others are application/octet-stream. */
const TYPES: ReadonlyMap<string, string> = new Map([
  ["json", "application/json"],
  ["ipynb", "application/json"],
  ["jsonl", "text/plain; charset=utf-8"],
  ["txt", "text/plain; charset=utf-8"],
  ["log", "text/plain; charset=utf-8"],
  ["md", "text/markdown; charset=utf-8"],
  ["csv", "text/csv; charset=utf-8"],
  ["yaml", "text/plain; charset=utf-8"],
  ["yml", "text/plain; charset=utf-8"],
  ["ts", "text/plain; charset=utf-8"],
  ["js", "text/plain; charset=utf-8"],
  ["py", "text/plain; charset=utf-8"],
  ["html", "text/html; charset=utf-8"],
  ["svg", "image/svg+xml"],
  ["png", "image/png"],
  ["jpg", "image/jpeg"],
  ["jpeg", "image/jpeg"],
  ["gif", "image/gif"],
  ["webp", "image/webp"],
  ["pdf", "application/pdf"],
]);

export function mediaType(path: string): string {
  const extension = path.slice(path.lastIndexOf(".") + 1).toLowerCase();
  return TYPES.get(extension) ?? "application/octet-stream";
}
