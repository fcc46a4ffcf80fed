import { dirname } from "node:path/posix";
import { locate } from "./artifacts/locate.ts";
import type { Tracker } from "./tracker.ts";

/** What was taken away, or would be. */
export interface GarbageReport {
  runs: { id: string; name: string }[];
  /** Logged models. */
  models: string[];
  experiments: string[];
  /** Deleted runs that stay, because a registered model was made by them. */
  kept: { id: string; name: string }[];
  /** Files, and how many bytes they take. */
  files: number;
  bytes: number;
}

/** Options of {@link collectGarbage}. */
export interface GarbageOptions {
  /** What was deleted before this time goes (milliseconds since 1970). */
  before: number;
  /** Only say what would go. */
  dryRun?: boolean;
}

/**
 * Take what was deleted away for good: runs with their points and files, logged models, experiments that are empty then.
 * Files go before the rows that name them, so that one that is interrupted can be done again.
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
  const clear = async (artifactUri: string): Promise<void> => {
    // What lies elsewhere is not ours to take away.
    const folder = await locate(store, artifactUri).catch(() => undefined);
    if (folder === undefined) return;
    await count(folder);
    // A run's files lie in a folder of the run's: the run's goes.
    const whole = folder.endsWith("/artifacts") ? dirname(folder) : folder;
    if (!dryRun && (await artifacts.list(whole)).length > 0) await artifacts.remove(whole);
  };
  for (const { registered, artifactUri, ...run } of await store.garbage.deletedRuns(before)) {
    if (registered) {
      report.kept.push(run);
      continue;
    }
    await clear(artifactUri);
    if (!dryRun) await store.garbage.removeRun(run.id);
    report.runs.push(run);
  }
  for (const { id, artifactUri } of await store.garbage.deletedModels(before)) {
    await clear(artifactUri);
    if (!dryRun) await store.garbage.removeModel(id);
    report.models.push(id);
  }
  if (!dryRun) {
    report.experiments = await store.garbage.removeEmptyExperiments(before);
    // What is left in an experiment's own folder, such as its traces' files, nothing speaks of any more.
    for (const id of report.experiments) await clear(`mlflow-artifacts:/${id}`);
    if (report.runs.length + report.models.length + report.experiments.length > 0) await store.garbage.compact();
  }
  return report;
}
