export type { Experiments } from "./api/experiments.ts";
export type { LoggedModels, Models } from "./api/models.ts";
export type { RunBatch, RunPoint, Runs } from "./api/runs.ts";
/** Types of the tracker's responses: `api.Experiment`, `api.RunInfo`, `api.ModelVersion` and so on. */
export type * as api from "./api/types.ts";
export { findTracker, type TrackerAddress, TrackerClient } from "./client.ts";
export { TrackerError } from "./error.ts";
export { dataFolder } from "./folder.ts";
export type { DatasetInput } from "./records.ts";
export {
  activeRun,
  addToRun,
  type ModelOptions,
  Run,
  type RunOptions,
  type RunStatus,
  startRun,
  waitForRun,
} from "./run.ts";
export { recoverJournals } from "./shipper.ts";
