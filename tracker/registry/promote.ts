import { actingAs, currentPrincipal, Principal } from "../access/principal.ts";
import { TrackerError } from "../errors.ts";
import { isGuarded } from "../store/aliases.ts";
import type { Alias, GateResult, ModelVersion, Stage } from "../store/types.ts";
import type { Tracker } from "../tracker.ts";
import { verifyFiles } from "./files.ts";
import { evaluateGates, type Verdict } from "./gates.ts";

export interface Promotion {
  name: string;
  version: number;
  stage: Stage;
  comment: string | null;
  archiveExisting: boolean;
  who: string;
}

/**
 * Evaluates the gates of a version that is to be used.
 * @param goal what it is to become, for the error
 * @throws RESOURCE_CONFLICT with each gate's result in `details.gates` when one does not pass
 */
async function pass({ store }: Tracker, candidate: ModelVersion, goal: string): Promise<Verdict> {
  const verdict = await evaluateGates(store, candidate);
  if (verdict.passed) return verdict;
  const failed = verdict.results.filter(({ passed }) => !passed).map(({ why }) => why);
  throw new TrackerError(
    "RESOURCE_CONFLICT",
    `Version ${candidate.version} of ${candidate.name} does not pass the gates for ${goal}: ${failed.join(" ")}`,
    { gates: verdict.results },
  );
}

/** Checks that a version's files are those that were registered. Who may promote a version need not be able to read them. */
async function verify({ store, artifacts }: Tracker, version: ModelVersion): Promise<void> {
  const files = await store.registry.files(version.name, version.version);
  const reader = new Principal({ name: currentPrincipal().name, role: "viewer" });
  await actingAs(reader, () => verifyFiles(artifacts, version, files));
}

/**
 * Moves a version to a stage; to Production only through the model's gates, and only with the files that were registered.
 * Every way to a stage goes through here, so that no client gets round the gates.
 * @throws RESOURCE_CONFLICT with each gate's result in `details.gates` when one does not pass
 */
export async function promote(
  tracker: Tracker,
  promotion: Promotion,
): Promise<{ version: ModelVersion; gates: GateResult[] }> {
  const { store, events } = tracker;
  const { name, version, stage } = promotion;
  let verified = false;
  for (;;) {
    const candidate = await store.registry.getVersion(name, version);
    const toProduction = stage === "Production" && candidate.stage !== "Production";
    if (toProduction) currentPrincipal().need("editor", { model: name });
    const verdict = toProduction ? await pass(tracker, candidate, "Production") : undefined;
    if (toProduction && !verified) await verify(tracker, candidate);
    verified = true;
    const gates = verdict?.results ?? [];
    const moved = await store.registry.transition({
      ...promotion,
      gates,
      ...(verdict ? { judged: verdict } : {}),
    });
    // Undefined: meanwhile another version was promoted, this one was moved, or the gates were changed.
    if (moved) {
      events.publish({ type: "model", name, version, change: "stage" });
      return { version: moved, gates };
    }
  }
}

/**
 * Sets an alias; a guarded one only through the model's gates, like Production.
 * @throws RESOURCE_CONFLICT as {@link promote}
 */
export async function setAlias(tracker: Tracker, name: string, { alias, version }: Alias): Promise<void> {
  const { registry } = tracker.store;
  currentPrincipal().need("editor", { model: name });
  if (!isGuarded(alias)) {
    await registry.setAlias(name, { alias, version });
    return;
  }
  let verified = false;
  for (;;) {
    const candidate = await registry.getVersion(name, version);
    const verdict = await pass(tracker, candidate, `the alias ${alias}`);
    if (!verified) await verify(tracker, candidate);
    verified = true;
    if (await registry.setAlias(name, { alias, version }, verdict)) return;
  }
}
