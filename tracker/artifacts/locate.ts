import { invalid } from "../errors.ts";
import type { Store } from "../store/store.ts";
import { safePath } from "./paths.ts";

/**
 * The path of an artifact URI below the tracker's artifact root.
 * Supports mlflow-artifacts:/, runs:/<run id>/..., models:/<logged model id> and models:/<name>/<version or alias>.
 * @throws INVALID_PARAMETER_VALUE for URIs that are not in this tracker, such as s3://
 */
export async function locate(store: Store, uri: string, depth = 0): Promise<string> {
  if (depth > 5) throw invalid(`The source '${uri}' leads in a circle.`);
  const match = /^([a-z][a-z0-9+-]*):(?:\/\/[^/]*)?\/*(.*?)\/*$/i.exec(uri);
  const scheme = match?.[1]?.toLowerCase();
  const rest = match?.[2] ?? "";
  if (scheme === "mlflow-artifacts") return safePath(rest);
  if (scheme === "runs") {
    const [id, ...path] = rest.split("/");
    const run = await store.runs.get(id ?? "");
    return join(await locate(store, run.artifactUri, depth + 1), path.join("/"));
  }
  if (scheme === "models") {
    const [name, version, ...path] = rest.split("/");
    if (name !== undefined && version === undefined) {
      const at = /^(.*)@([\w-]+)$/.exec(name);
      const source = at
        ? (await store.registry.getByAlias(at[1] ?? "", at[2] ?? "")).source
        : (await store.loggedModels.get(name)).artifactUri;
      return locate(store, source, depth + 1);
    }
    if (name !== undefined && /^\d+$/.test(version ?? "")) {
      const { source } = await store.registry.getVersion(name, Number(version));
      return join(await locate(store, source, depth + 1), path.join("/"));
    }
  }
  throw invalid(`The files at '${uri}' are not held by this tracker; fetch them from there directly.`);
}

/** Joins a folder and a checked path within it; either may be empty. */
export function join(folder: string, path: string | undefined): string {
  if (path === undefined || path === "") return folder;
  return folder === "" ? safePath(path) : `${folder}/${safePath(path)}`;
}
