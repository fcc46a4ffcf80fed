/** How the learning rate moves over training. */
export type LearningRateSchedule = "linear" | "cosine" | "constant";

/**
 * Factor on the learning rate at an optimizer step (transformers' schedules of the same names): linear warmup from 0,
 * then linear to 0, cosine, or constant.
 * @param step from 0
 * @param numCycles waves of the cosine; 0.5 goes down to 0 once
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
