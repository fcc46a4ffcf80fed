export { dataFolder, findTracker, TrackerClient, TrackerError } from "./client.ts";
export type { DatasetInput } from "./journal.ts";
export { activeRun, Run, type RunOptions, type RunStatus, startRun } from "./run.ts";
export { recoverJournals } from "./shipper.ts";
