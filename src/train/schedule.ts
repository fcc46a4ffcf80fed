/** Learning rate schedules. */
export type LearningRateSchedule = "linear" | "cosine" | "constant";

/**
 * Returns the factor on the learning rate at an optimizer step: linear warmup from 0, then linear to 0, cosine, or
 * constant, as transformers' schedules of the same names.
 * @param step from 0
 * @param numCycles cosine cycles; 0.5 decays to 0 once
 */
export function scheduleMultiplier(
  schedule: LearningRateSchedule,
  step: number,
  totalSteps: number,
  warmupSteps: number,
  numCycles = 0.5,
): number {
  if (step < warmupSteps) return step / Math.max(1, warmupSteps);
  if (schedule === "constant") return 1;
  const rest = Math.max(1, totalSteps - warmupSteps);
  if (schedule === "linear") return Math.max(0, (totalSteps - step) / rest);
  const progress = (step - warmupSteps) / rest;
  return Math.max(0, 0.5 * (1 + Math.cos(Math.PI * numCycles * 2 * progress)));
}
