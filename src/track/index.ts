export { dataFolder, findTracker, TrackerClient, TrackerError } from "./client.ts";
export type { DatasetInput } from "./records.ts";
export { activeRun, addToRun, Run, type RunOptions, type RunStatus, startRun, waitForRun } from "./run.ts";
export { recoverJournals } from "./shipper.ts";
