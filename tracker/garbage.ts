import { dirname } from "node:path/posix";
import { pathOf } from "./artifacts/locations.ts";
import type { Tracker } from "./tracker.ts";

/** What was removed, or would be in a dry run. */
export interface GarbageReport {
  runs: { id: string; name: string }[];
  /** Ids of logged models. */
  models: string[];
  experiments: string[];
  /** Deleted runs and logged models that are not removed, because a registered version has their files. */
  kept: { what: "run" | "logged model"; id: string; name: string }[];
  /** The number of files and their total bytes. */
  files: number;
  bytes: number;
}

/** Options of {@link collectGarbage}. */
export interface GarbageOptions {
  /** Removes what was deleted before this time (milliseconds since 1970). */
  before: number;
  /** Only reports what would be removed. */
  dryRun?: boolean;
}

/**
 * Permanently removes what was deleted: runs with their points and files, logged models, and experiments that are then
 * empty. Files are removed before their rows, so that an interrupted collection can be repeated.
 */
export async function collectGarbage(
  { store, artifacts }: Pick<Tracker, "store" | "artifacts">,
  { before, dryRun = false }: GarbageOptions,
): Promise<GarbageReport> {
  const report: GarbageReport = { runs: [], models: [], experiments: [], kept: [], files: 0, bytes: 0 };
  const count = async (folder: string): Promise<void> => {
    for (const { path, isDir, size = 0 } of await artifacts.list(folder)) {
      if (isDir) await count(path);
      else {
        report.files++;
        report.bytes += size;
      }
    }
  };
  /** The folder of a run or logged model; undefined if its files are outside the tracker's artifact store. */
  const folderOf = (artifactUri: string): string | undefined => {
    const folder = pathOf(artifactUri);
    return folder?.endsWith("/artifacts") ? dirname(folder) : folder;
  };
  /** Whether a registered version has its files there. */
  const isHeld = async (artifactUri: string): Promise<boolean> => {
    const folder = folderOf(artifactUri);
    return folder !== undefined && (await store.registered.holders(folder)).length > 0;
  };
  const clear = async (artifactUri: string): Promise<void> => {
    const whole = folderOf(artifactUri);
    if (whole === undefined) return;
    await count(whole);
    if (!dryRun && (await artifacts.list(whole)).length > 0) await artifacts.remove(whole);
  };
  for (const { registered, artifactUri, ...run } of await store.garbage.deletedRuns(before)) {
    if (registered || (await isHeld(artifactUri))) {
      report.kept.push({ what: "run", ...run });
      continue;
    }
    await clear(artifactUri);
    if (!dryRun) await store.garbage.removeRun(run.id);
    report.runs.push(run);
  }
  for (const { id, name, artifactUri } of await store.garbage.deletedModels(before)) {
    if (await isHeld(artifactUri)) {
      report.kept.push({ what: "logged model", id, name });
      continue;
    }
    await clear(artifactUri);
    if (!dryRun) await store.garbage.removeModel(id);
    report.models.push(id);
  }
  if (!dryRun) {
    report.experiments = await store.garbage.removeEmptyExperiments(before);
    // The rest of an experiment's folder, such as the files of traces, is no longer referenced.
    for (const id of report.experiments) await clear(`mlflow-artifacts:/${id}`);
    if (report.runs.length + report.models.length + report.experiments.length > 0) await store.garbage.compact();
  }
  return report;
}
