import { currentPrincipal } from "../access/principal.ts";
import { subjectOf } from "../access/protect/checks.ts";
import { invalid, TrackerError } from "../errors.ts";
import type { NewModelVersion } from "../store/store.ts";
import type { ModelVersion } from "../store/types.ts";
import type { Tracker } from "../tracker.ts";
import { recordFiles } from "./files.ts";
import { checkClaims, isReference, type Origin, originOf } from "./origin.ts";

/** A version as a client asks for it. */
export type VersionRequest = Omit<NewModelVersion, "root" | "originRun" | "files">;

/**
 * Registers a version. Its source is followed once, here, with the rights of the user who registers it: what the version
 * holds from now on are the files that are found, recorded by their digests. What does not exist is not found later either.
 */
export async function register(tracker: Tracker, request: VersionRequest): Promise<ModelVersion> {
  const { store } = tracker;
  const source = isReference(request.source)
    ? request.source
    : tracker.locations.check(request.source, "model version source");
  currentPrincipal().need("editor", { model: request.name });
  const found = await originOf(store, source);
  await checkClaims(store, found, { ...request, source });
  const version = await withFiles(tracker, found);
  const created = await store.registry.createVersion({
    ...request,
    source,
    runId: request.runId ?? found.run?.id ?? found.loggedModel?.sourceRunId ?? null,
    ...version,
  });
  await checkUnchanged(tracker, created, version);
  return created;
}

type Files = Pick<NewModelVersion, "root" | "originRun" | "files">;

/** Records the files that a version will hold. */
async function withFiles({ store, artifacts }: Tracker, origin: Origin): Promise<Files> {
  const { root, run, loggedModel, version } = origin;
  const nothing: Files = { root: null, originRun: null, files: [] };
  if (root === null) return nothing;
  const originRun = run?.id ?? null;
  if (version) {
    const { of, path } = version;
    const all = await store.registry.files(of.name, of.version);
    if (path === "") return { root, originRun, files: all };
    const files = all.flatMap((file) =>
      file.path === path || file.path.startsWith(`${path}/`)
        ? [{ ...file, path: file.path.slice(path.length + 1) }]
        : [],
    );
    return { root, originRun, files };
  }
  if (loggedModel?.status === "PENDING") {
    throw new TrackerError(
      "INVALID_STATE",
      `Logged model ${loggedModel.id} is not ready: its files are still being uploaded. Register it when its status is READY.`,
    );
  }
  const files = await recordFiles(artifacts, root);
  // Nothing is there: a reference to another tracking server.
  if (!run && !loggedModel && files.length === 0) return nothing;
  // From now on nobody can change the files, which must not keep others from their work.
  const mayChange = currentPrincipal().may("editor", subjectOf(root));
  if (run && !mayChange && (run.status === "RUNNING" || run.status === "SCHEDULED")) {
    throw new TrackerError(
      "INVALID_STATE",
      `Run ${run.id} has not ended. Registering a model makes its files immutable, so until then only an editor of the run's experiment can do it.`,
    );
  }
  if (!run && !loggedModel) {
    currentPrincipal().need("editor", subjectOf(root));
    if (await store.registry.hasRuns(root)) {
      throw invalid(`The folder ${root} has the files of runs or logged models: register the folder of one model.`);
    }
  }
  return { root, originRun, files };
}

/** A file may have been replaced after its digest was recorded, but before the version protected it. */
async function checkUnchanged({ store, artifacts }: Tracker, created: ModelVersion, before: Files): Promise<void> {
  if (before.root === null) return;
  const text = (files: Files["files"]): string =>
    JSON.stringify(files.map(({ path, size, sha256 }) => [path, size, sha256]).sort());
  if (text(await recordFiles(artifacts, before.root)) === text(before.files)) return;
  await store.registry.deleteVersion(created.name, created.version, currentPrincipal().name);
  throw new TrackerError(
    "RESOURCE_CONFLICT",
    `The files at ${before.root} changed while the version was registered. Register it again when they have all arrived.`,
  );
}
