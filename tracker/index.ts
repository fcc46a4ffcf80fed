/** The tracking server: runs, metrics, artifacts, the model registry and its pages. */
export { type GuardOptions, guard } from "./access/guard.ts";
export type { OidcOptions } from "./access/oidc.ts";
export { loadToken } from "./access/tokens.ts";
export { type TrackerPluginOptions, trackerPlugin } from "./api/plugin.ts";
export { openArtifacts } from "./artifacts/open.ts";
export type { TrackerEvent } from "./events.ts";
export { collectGarbage, type GarbageReport } from "./garbage.ts";
export { type ServedTracker, type ServeOptions, serveTracker } from "./serve.ts";
export type { Role } from "./store/types.ts";
export { openTracker, type Tracker, type TrackerOptions } from "./tracker.ts";
export {
  type Address,
  exportMlflow,
  importMlflow,
  type TransferOptions,
  type TransferReport,
} from "./transfer/index.ts";
