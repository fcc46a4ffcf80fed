import { currentPrincipal } from "../access/principal.ts";
import { subjectOf } from "../access/protect/checks.ts";
import { pathOf } from "../artifacts/locations.ts";
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
  if (!currentPrincipal().may("editor", subjectOf(root))) refuseHolding(origin, root);
  if (!run && !loggedModel && (await store.registry.hasRuns(root))) {
    throw invalid(`The folder ${root} has the files of runs or logged models: register the folder of one model.`);
  }
  return { root, originRun, files };
}

/**
 * Checks that a user who may only view files may register them. Nobody can change the files from then on, which must not
 * keep the editors of the experiment from their work.
 * @throws PERMISSION_DENIED
 */
function refuseHolding({ run, loggedModel }: Origin, root: string): void {
  // Its files have all arrived.
  if (loggedModel) return;
  const why = !run
    ? "they are of no run"
    : run.status === "RUNNING" || run.status === "SCHEDULED"
      ? `run ${run.id} has not ended`
      : root === pathOf(run.artifactUri)
        ? `they are the whole folder of run ${run.id}`
        : undefined;
  if (why === undefined) return;
  throw new TrackerError(
    "PERMISSION_DENIED",
    `The files at ${root} cannot change any more when they are registered, and ${why}: only an editor of the experiment can register them.`,
  );
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
