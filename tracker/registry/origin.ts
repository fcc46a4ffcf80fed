import { isWithin, pathOf, uriOf } from "../artifacts/locations.ts";
import { safePath } from "../artifacts/paths.ts";
import { invalid, TrackerError } from "../errors.ts";
import type { Store } from "../store/store.ts";
import type { LoggedModel, ModelVersion, Run } from "../store/types.ts";

/** What a version's source refers to. */
export interface Origin {
  /** The path of the files below the artifact root; null if this tracker does not store them. */
  root: string | null;
  /** The run that made the files; null if it is not one of this tracker. */
  run: Run | null;
  loggedModel: LoggedModel | null;
  /** The version that the source names, and the files' path in it. */
  version: { of: ModelVersion; path: string } | null;
}

const UNKNOWN: Origin = { root: null, run: null, loggedModel: null, version: null };

/** Returns the object, or null if it does not exist. Other errors, such as a missing right, are thrown. */
export async function orNull<T>(work: Promise<T>): Promise<T | null> {
  try {
    return await work;
  } catch (error) {
    if (error instanceof TrackerError && error.code === "RESOURCE_DOES_NOT_EXIST") return null;
    throw error;
  }
}

const RUN = /^[0-9a-f]{32}$/;
const MODEL = /^m-[0-9a-f]{32}$/;

const isIn = (root: string, { artifactUri }: { artifactUri: string }): boolean => {
  const folder = pathOf(artifactUri);
  return folder !== undefined && isWithin(root, folder);
};

/** Finds the run or logged model whose folder a path is in: the innermost one. */
async function ownerOf(store: Store, root: string): Promise<Pick<Origin, "run" | "loggedModel">> {
  for (const part of root.split("/").reverse()) {
    const run = RUN.test(part) ? await orNull(store.runs.get(part)) : null;
    if (run && isIn(root, run)) return { run, loggedModel: null };
    const loggedModel = MODEL.test(part) ? await orNull(store.loggedModels.get(part)) : null;
    if (loggedModel && isIn(root, loggedModel)) return { run: await runOf(store, loggedModel), loggedModel };
  }
  return { run: null, loggedModel: null };
}

const runOf = async (store: Store, { sourceRunId }: LoggedModel): Promise<Run | null> =>
  sourceRunId === null ? null : orNull(store.runs.get(sourceRunId));

/** The place of `path` in the folder of a run or logged model; null if that lies elsewhere. */
function placeIn({ artifactUri }: { artifactUri: string }, path: string): string | null {
  const folder = pathOf(artifactUri);
  if (folder === undefined) return null;
  return path === "" ? folder : `${folder}/${path}`;
}

/**
 * Finds what a source refers to. What does not exist is unknown: it may be of another tracking server, and stays unknown
 * if it comes to exist here later.
 * @throws PERMISSION_DENIED if the store's user may not view it
 */
export async function originOf(store: Store, source: string): Promise<Origin> {
  const own = pathOf(source);
  if (own !== undefined) return { ...UNKNOWN, root: own, ...(await ownerOf(store, own)) };
  const [, scheme, first = "", rest = ""] = /^(runs|models):\/([^/]+)\/?(.*)$/s.exec(source) ?? [];
  const path = rest.replace(/\/+$/, "");
  if (scheme === "runs") {
    const run = await orNull(store.runs.get(first));
    return run ? { ...UNKNOWN, root: placeIn(run, path), run } : UNKNOWN;
  }
  if (scheme !== "models") return UNKNOWN;
  if (MODEL.test(first)) {
    const loggedModel = await orNull(store.loggedModels.get(first));
    if (!loggedModel) return UNKNOWN;
    return { ...UNKNOWN, root: placeIn(loggedModel, path), run: await runOf(store, loggedModel), loggedModel };
  }
  const named = await versionOf(store, first, path);
  if (!named) return UNKNOWN;
  const { root, originRun } = named.of;
  return {
    ...UNKNOWN,
    root: root === null ? null : named.path === "" ? root : `${root}/${named.path}`,
    run: originRun === null ? null : await orNull(store.runs.get(originRun)),
    version: named,
  };
}

/** Finds the version that `models:/<name>/<number>` or `models:/<name>@<alias>` names. */
async function versionOf(store: Store, name: string, rest: string): Promise<Origin["version"]> {
  const alias = /^(.+)@([\w-]+)$/.exec(name);
  if (alias) {
    const model = await orNull(store.registry.getModel(alias[1] ?? ""));
    const found = model?.aliases.find((it) => it.alias === alias[2]);
    return found && model ? { of: await store.registry.getVersion(model.name, found.version), path: rest } : null;
  }
  const [, number, path = ""] = /^(\d{1,9})(?:\/(.*))?$/s.exec(rest) ?? [];
  const of = number === undefined ? null : await orNull(store.registry.getVersion(name, Number(number)));
  return of && { of, path };
}

/**
 * Checks the form of a reference: `runs:/<run id>/<path>`, or `models:/` with a logged model's id, a version or an alias.
 * @returns whether a source is a reference, rather than a location
 */
export function isReference(source: string): boolean {
  const [, rest] = /^(?:runs|models):\/(.*)$/s.exec(source) ?? [];
  if (rest === undefined) return false;
  try {
    safePath(rest);
  } catch {
    throw invalid(
      `Invalid model version source '${source.slice(0, 500)}'. Use runs:/<run id>/<path>, models:/<logged model id>, models:/<name>/<version> or models:/<name>@<alias>.`,
    );
  }
  return true;
}

/** What a client says about a version. */
export interface Claims {
  source: string;
  runId: string | null;
  modelId: string | null;
}

/**
 * Checks that a version's run and logged model are those that its files are of: its gates and its card show that run's
 * metrics. Claims about other tracking servers are not checked, and count for nothing here.
 * @throws INVALID_PARAMETER_VALUE if they disagree
 */
export async function checkClaims(store: Store, origin: Origin, { source, runId, modelId }: Claims): Promise<void> {
  const { root, run, loggedModel, version } = origin;
  const claimedModel = modelId === null ? null : await orNull(store.loggedModels.get(modelId));
  if (claimedModel && claimedModel.id !== loggedModel?.id) {
    // A client may name the folder of the run that logged the model, too.
    const ofItsRun = run !== null && run.id === claimedModel.sourceRunId;
    if (!ofItsRun && !isExternalPart(source, claimedModel)) {
      throw invalid(
        `The source '${source}' is not of the logged model ${modelId}, whose files are at ${claimedModel.artifactUri}. Use models:/${modelId} as the source, or another model_id.`,
      );
    }
  }
  if (runId === null || runId === run?.id) return;
  const claimed = await orNull(store.runs.get(runId));
  if (run) {
    throw invalid(
      `The source '${source}' belongs to run ${run.id}, not to run ${runId}. A version's files and metrics must be of one run: use run_id ${run.id}, or a source of run ${runId}.`,
    );
  }
  // A copy of a version, as MLflow's client makes it, claims what the version claims.
  if (claimed && claimed.id !== version?.of.runId && !isExternalPart(source, claimed)) {
    const where = root === null ? "which this tracker does not know" : `which is ${uriOf(root)}`;
    throw invalid(
      `The source '${source}', ${where}, does not belong to run ${runId}, whose files are at ${claimed.artifactUri}. A version's files and metrics must be of one run: use a source of that run, or leave out run_id.`,
    );
  }
}

/** Whether a source outside the tracker is in the folder of a run or logged model that is outside, too. */
const isExternalPart = (source: string, { artifactUri }: { artifactUri: string }): boolean =>
  pathOf(artifactUri) === undefined && isWithin(source, artifactUri);
