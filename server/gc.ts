import { existsSync } from "node:fs";
import { join, resolve } from "node:path";
import { collectGarbage, type GarbageReport, openTracker, type TrackerOptions } from "../tracker/index.ts";
import { UsageError } from "./errors.ts";
import { findRunningStudio } from "./running-studio.ts";

const units: Record<string, number> = { m: 60_000, h: 3_600_000, d: 86_400_000 };

/**
 * Parses a duration such as `30d`, `12h` or `1d12h` to milliseconds.
 * @throws UsageError for anything else
 */
function parseDuration(text: string): number {
  const parts = [...text.matchAll(/(\d+)([mhd])/g)];
  if (parts.length === 0 || parts.map(([part]) => part).join("") !== text) {
    throw new UsageError(`--older-than ${text} is not a duration; write 30d, 12h or 1d12h (0d for everything).`);
  }
  return parts.reduce((sum, [, count, unit]) => sum + Number(count) * units[unit], 0);
}

/**
 * Permanently removes what was deleted in a data folder.
 * @throws UsageError when there is no tracker, or one is running on the folder
 */
export async function gc(places: TrackerOptions, olderThan: string, dryRun: boolean): Promise<GarbageReport> {
  const before = Date.now() - parseDuration(olderThan);
  const data = resolve(places.dataDir);
  if (!places.store && !existsSync(join(data, "tracker.db")))
    throw new UsageError(`There is no tracker data in ${data}.`);
  const running = await findRunningStudio(data);
  if (running)
    throw new UsageError(
      `A studio is running on ${data} (${running.url}). Stop it first: nothing may write to it during gc.`,
    );
  const tracker = await openTracker({ ...places, dataDir: data });
  try {
    return await collectGarbage(tracker, { before, dryRun });
  } finally {
    await tracker.close();
  }
}

/** Formats the report. */
export function showGarbage(report: GarbageReport, olderThan: string, dryRun: boolean): string {
  const { runs, models, experiments, kept, files, bytes } = report;
  const lines = [
    ...runs.map(({ id, name }) => `run ${id}  ${name}`),
    ...models.map((id) => `logged model ${id}`),
    ...experiments.map((id) => `experiment ${id}`),
  ];
  const keeps = kept.map(({ what, id, name }) => `kept: ${what} ${id}  ${name}, the source of a registered model`);
  const size = bytes >= 1e9 ? `${(bytes / 1e9).toFixed(1)} GB` : `${(bytes / 1e6).toFixed(1)} MB`;
  if (lines.length === 0) return [...keeps, `Nothing was deleted more than ${olderThan} ago.`].join("\n");
  const verb = dryRun ? "would be removed" : "removed";
  return [...lines, ...keeps, `${lines.length} ${verb}, with ${files} files of ${size}.`].join("\n");
}
