import { TrackerError } from "../errors.ts";
import type { GateResult, ModelVersion, Stage } from "../store/types.ts";
import type { Tracker } from "../tracker.ts";
import { evaluateGates } from "./gates.ts";

export interface Promotion {
  name: string;
  version: number;
  stage: Stage;
  comment: string | null;
  archiveExisting: boolean;
  who: string;
}

/**
 * Moves a version to a stage; to Production only through the model's gates. Every way to a stage goes through here,
 * so that no client gets round the gates.
 * @throws RESOURCE_CONFLICT with each gate's result in `details.gates` when one does not pass
 */
export async function promote(
  { store, events }: Tracker,
  promotion: Promotion,
): Promise<{ version: ModelVersion; gates: GateResult[] }> {
  const { name, version, stage } = promotion;
  for (;;) {
    const candidate = await store.registry.getVersion(name, version);
    const toProduction = stage === "Production" && candidate.stage !== "Production";
    const verdict = toProduction ? await evaluateGates(store, candidate) : undefined;
    if (verdict && !verdict.passed) {
      const failed = verdict.results.filter(({ passed }) => !passed).map(({ why }) => why);
      throw new TrackerError(
        "RESOURCE_CONFLICT",
        `Version ${version} of ${name} does not pass the gates for Production: ${failed.join(" ")}`,
        { gates: verdict.results },
      );
    }
    const gates = verdict?.results ?? [];
    const moved = await store.registry.transition({
      ...promotion,
      gates,
      ...(verdict ? { expectedProduction: verdict.production } : {}),
    });
    // Undefined: another version was promoted meanwhile, and the gates have to be evaluated against it.
    if (moved) {
      events.publish({ type: "model", name, version, change: "stage" });
      return { version: moved, gates };
    }
  }
}
