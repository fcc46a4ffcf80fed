import type { Artifacts } from "../artifacts/artifacts.ts";
import { TrackerError } from "../errors.ts";
import type { NewModelVersion, Store } from "../store/store.ts";
import type { ModelVersion } from "../store/types.ts";
import { recordFiles } from "./files.ts";
import { originOf } from "./origin.ts";

/**
 * Records the files of versions that an earlier release registered without doing so. Their files are those of now, and
 * their references count as they would have when the version was registered: what may have come to exist later is unknown.
 */
export async function sealVersions(store: Store, artifacts: Artifacts): Promise<void> {
  for (const version of await store.registered.unsealed()) {
    await store.registered.seal(version, await factsOf(store, artifacts, version));
  }
}

/** An earlier release accepted sources that name no place here. */
function unlessInvalid(error: unknown): undefined {
  if (!(error instanceof TrackerError)) throw error;
}

type Facts = Pick<NewModelVersion, "root" | "originRun" | "files">;

async function factsOf(store: Store, artifacts: Artifacts, version: ModelVersion): Promise<Facts> {
  const nothing: Facts = { root: null, originRun: null, files: [] };
  // Aliases have no date.
  if (/^models:\/[^/]*@/.test(version.source)) return nothing;
  const origin = await originOf(store, version.source).catch(unlessInvalid);
  const root = origin?.root ?? null;
  if (!origin || root === null) return nothing;
  const named = origin.version?.of;
  if (named && named.createdAt > version.createdAt) return nothing;
  const files = await recordFiles(artifacts, root);
  if (!origin.run && !origin.loggedModel && (files.length === 0 || (await store.registry.hasRuns(root))))
    return nothing;
  const agrees = version.runId === null || version.runId === origin.run?.id;
  return { root, originRun: agrees ? (origin.run?.id ?? null) : null, files };
}
