import { invalid, TrackerError } from "../errors.ts";
import { safePath } from "./paths.ts";

/** A location in the tracker's own artifact store. A host would be another server, so there is none. */
const OWN = /^mlflow-artifacts:(?:\/\/)?\/(?!\/)(.+)$/s;
/** Any other location: scheme, host and path. */
const OTHER = /^([a-z][a-z0-9+.-]*:\/\/[^/]*)\/(.*)$/s;

/** The URI of a path below the artifact root. */
export const uriOf = (path: string): string => `mlflow-artifacts:/${path}`;

/**
 * Returns the path below the artifact root that a URI names, or undefined for a location elsewhere.
 * @throws INVALID_PARAMETER_VALUE if the path leads out of the root, in any encoding
 */
export function pathOf(uri: string): string | undefined {
  const path = OWN.exec(uri)?.[1];
  return path === undefined ? undefined : safePath(path);
}

/** @throws INVALID_PARAMETER_VALUE for a location that the tracker does not hold, such as s3://bucket */
export function locate(uri: string): string {
  const path = pathOf(uri);
  if (path === undefined) {
    throw invalid(`The files at '${uri}' are not held by this tracker; fetch them from there directly.`);
  }
  return path;
}

/** Joins a folder and a checked path within it; either may be empty. */
export function join(folder: string, path: string | undefined): string {
  if (path === undefined || path === "") return folder;
  return folder === "" ? safePath(path) : `${folder}/${safePath(path)}`;
}

/** Whether a path is a folder or in it. */
export const isWithin = (path: string, folder: string): boolean => path === folder || path.startsWith(`${folder}/`);

/**
 * The locations that users may record. Clients read and write at recorded locations, and send their tokens to
 * `mlflow-artifacts://<host>` and `https://<host>`. So a location is the tracker's own, or below a prefix that the server's
 * administrator allowed.
 */
export class Locations {
  readonly #allowed: readonly string[];

  /**
   * @param allowed URI prefixes such as `s3://bucket/folder`
   * @throws Error for one that is no location
   */
  constructor(allowed: readonly string[] = []) {
    this.#allowed = allowed.map((prefix) => {
      const uri = plain(prefix);
      if (uri === undefined || /^[^:]+:\/\/$/.test(uri)) {
        throw new Error(
          `The allowed location '${prefix}' is not the beginning of a URI. Write a scheme, a host and perhaps a folder: s3://bucket/folder`,
        );
      }
      return uri;
    });
  }

  /**
   * Checks a location that a user wants to record.
   * @param what such as "artifact_location", for the error
   * @returns the location in its one spelling
   * @throws INVALID_PARAMETER_VALUE if it is not allowed
   */
  check(uri: string, what: string): string {
    const allowed = this.#find(uri);
    if (allowed !== undefined) return allowed;
    throw invalid(
      `Invalid ${what} '${uri.slice(0, 500)}': clients would send their data, and perhaps their tokens, there. ` +
        `Allowed are mlflow-artifacts:/<folder> without a host${this.#allowed.map((prefix) => `, ${prefix}/...`).join("")}. ` +
        "The administrator of the server can allow more with --allow-location.",
    );
  }

  allows(uri: string): boolean {
    return this.#find(uri) !== undefined;
  }

  #find(uri: string): string | undefined {
    const own = unlessInvalid(() => pathOf(uri));
    if (own !== undefined) return uriOf(own);
    const other = plain(uri);
    return other !== undefined && this.#allowed.some((prefix) => isWithin(other, prefix)) ? other : undefined;
  }
}

/** Returns a location without slashes at its end; undefined if its parts could be read in more than one way. */
function plain(uri: string): string | undefined {
  if (/[?#]|^\s|\s$/.test(uri)) return undefined;
  const [, start, path] = OTHER.exec(`${uri}/`) ?? [];
  if (start === undefined || path === undefined || /[\\%\s\p{Cc}]/u.test(start)) return undefined;
  const folder = path.replace(/\/+$/, "");
  if (folder === "") return start;
  return unlessInvalid(() => `${start}/${safePath(folder)}`);
}

function unlessInvalid<T>(work: () => T): T | undefined {
  try {
    return work();
  } catch (error) {
    if (error instanceof TrackerError) return undefined;
    throw error;
  }
}

/**
 * Checks the source of a data set, which is text or JSON of any form. Clients may read data anywhere, but they send the
 * tracker's token to `mlflow-artifacts:`, which must be this tracker.
 * @throws INVALID_PARAMETER_VALUE if it names another server
 */
export function checkDatasetSource(source: string): string {
  const check = (value: unknown): void => {
    if (typeof value === "object" && value !== null) Object.values(value).forEach(check);
    if (typeof value !== "string" || !/^\s*mlflow-artifacts:/i.test(value)) return;
    if (unlessInvalid(() => pathOf(value)) === undefined) {
      throw invalid(
        `Invalid data set source '${value.slice(0, 500)}': clients would send their tokens there. Use mlflow-artifacts:/<path> without a host.`,
      );
    }
  };
  check(source);
  let json: unknown;
  try {
    json = JSON.parse(source);
  } catch {
    return source;
  }
  check(json);
  return source;
}
