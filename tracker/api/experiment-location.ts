import type { Tracker } from "../tracker.ts";

/**
 * Checks the location of an experiment before something is created in it whose files clients put there. It may have been
 * recorded while other locations were allowed.
 * @throws INVALID_PARAMETER_VALUE
 */
export async function checkLocationOf(
  experimentId: string,
  { store, locations }: Pick<Tracker, "store" | "locations">,
): Promise<void> {
  const { artifactLocation } = await store.experiments.get(experimentId);
  locations.check(artifactLocation, "artifact_location");
}
