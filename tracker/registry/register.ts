import { currentPrincipal } from "../access/principal.ts";
import { subjectOf } from "../access/protect/checks.ts";
import { pathOf } from "../artifacts/locations.ts";
import { invalid, TrackerError } from "../errors.ts";
import { versionsIn } from "../json.ts";
import type { NewModelVersion, Store } from "../store/store.ts";
import type { ModelVersion } from "../store/types.ts";
import type { Tracker } from "../tracker.ts";
import { recordFiles } from "./files.ts";
import { checkClaims, isReference, type Origin, originOf, orNull } from "./origin.ts";
import { isPlaceholder, isPrompt } from "./prompts.ts";

/** A version as a client asks for it. */
export type VersionRequest = Omit<NewModelVersion, "root" | "originRun" | "location" | "files">;

/**
 * Registers a version. Its source is followed once, here, with the rights of the user who registers it: what the version
 * holds from now on are the files that are found, recorded by their digests. What does not exist is not found later either.
 */
export async function register(tracker: Tracker, request: VersionRequest): Promise<ModelVersion> {
  const { store } = tracker;
  const source =
    isReference(request.source) || (isPrompt(request.tags) && isPlaceholder(request.source))
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
  if (!isPrompt(request.tags) && request.modelId !== null) await tagModel(store, request.modelId, created);
  return created;
}

/** The tag of a logged model that lists its versions, for MLflow's clients. */
const VERSIONS_TAG = "mlflow.modelVersions";
/** Characters of the tag; the oldest versions are left out of a longer one. */
const MAX_VERSIONS_TAG = 5000;

/** Adds a version to the list of its logged model's, if the user may change the model. */
async function tagModel(store: Store, id: string, { name, version }: ModelVersion): Promise<void> {
  const model = await orNull(store.loggedModels.get(id));
  if (!model || !currentPrincipal().may("editor", { experiment: model.experimentId })) return;
  const before = model.tags.find(({ key }) => key === VERSIONS_TAG)?.value;
  const listed = versionsIn(before);
  if (listed.some((it) => it.name === name && String(it.version) === String(version))) return;
  listed.push({ name, version });
  // As Python writes JSON: clients compare the text.
  const text = (): string =>
    `[${listed.map((it) => `{"name": ${JSON.stringify(it.name)}, "version": ${JSON.stringify(it.version)}}`).join(", ")}]`;
  while (listed.length > 1 && text().length > MAX_VERSIONS_TAG) listed.shift();
  await store.loggedModels.setTags(id, [{ key: VERSIONS_TAG, value: text() }]);
}

type Files = Pick<NewModelVersion, "root" | "originRun" | "location" | "files">;

/** Records the files that a version will hold. */
async function withFiles({ store, artifacts }: Tracker, origin: Origin): Promise<Files> {
  const { root, run, loggedModel, version } = origin;
  const nothing: Files = { root: null, originRun: null, location: elsewhere(origin), files: [] };
  if (root === null) return nothing;
  const originRun = run?.id ?? null;
  const location = null;
  if (version) {
    const { of, path } = version;
    const all = await store.registry.files(of.name, of.version);
    if (path === "") return { root, originRun, location, files: all };
    const files = all.flatMap((file) =>
      file.path === path || file.path.startsWith(`${path}/`)
        ? [{ ...file, path: file.path.slice(path.length + 1) }]
        : [],
    );
    return { root, originRun, location, files };
  }
  const files = await recordFiles(artifacts, root);
  if (loggedModel?.status === "PENDING") {
    // A version of a model without files holds none, and does not keep them from being uploaded.
    if (files.length === 0) return nothing;
    throw new TrackerError(
      "INVALID_STATE",
      `Logged model ${loggedModel.id} is not ready: its files are still being uploaded. Register it when its status is READY.`,
    );
  }
  // Nothing is there: a reference to another tracking server.
  if (!run && !loggedModel && files.length === 0) return nothing;
  if (!currentPrincipal().may("editor", subjectOf(root))) refuseHolding(origin, root);
  if (!run && !loggedModel && (await store.registry.hasRuns(root))) {
    throw invalid(`The folder ${root} has the files of runs or logged models: register the folder of one model.`);
  }
  return { root, originRun, location, files };
}

/** Where clients find the files of a version that copies another one, whose files this tracker does not hold. */
function elsewhere({ version }: Origin): string | null {
  if (!version || version.of.root !== null) return null;
  const place = version.of.location ?? version.of.source;
  return version.path === "" ? place : `${place}/${version.path}`;
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
